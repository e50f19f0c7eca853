"""A Dask scheduler and workers, each on a host of its own."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from benchmarks.harness.network import Host

__all__ = ["ENVIRONMENT", "NetworkCluster", "network_cluster"]

ENVIRONMENT = os.environ | {
    # The least that Dask takes; a cut cable is noticed after so long.
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "11s",
    "OMP_NUM_THREADS": "1",
}
DASK = [sys.executable, "-m", "dask"]


class NetworkCluster:
    """A scheduler, and workers that can be added.

    Attributes
    ----------
    address : str
        Of the scheduler.
    workers : list of psutil.Popen
    """

    def __init__(self, host: Host, scratch: Path) -> None:
        self._scratch = scratch
        self.workers: list[psutil.Popen] = []
        place = scratch / "scheduler.json"
        self.scheduler = self._start(
            host, "scheduler", "--host", host.address, "--port", "8786", "--no-dashboard",
            "--dashboard-address", "127.0.0.1:0", "--scheduler-file", place,
        )  # fmt: skip
        while not (place.exists() and place.read_text()):
            if self.scheduler.poll() is not None:
                raise RuntimeError(f"no scheduler: {(scratch / 'scheduler.log').read_text()}")
            time.sleep(0.05)
        self.address = f"tcp://{host.address}:8786"

    def worker(self, host: Host) -> None:
        """Start a worker; it is there a moment later."""
        self.workers.append(self._start(
            host, "worker", self.address, "--host", host.address, "--nthreads", "1",
            "--memory-limit", "2GB", "--no-nanny", "--no-dashboard",
            "--dashboard-address", "127.0.0.1:0", "--local-directory", self._scratch,
        ))  # fmt: skip

    def _start(self, host: Host, kind: str, *arguments: object) -> psutil.Popen:
        with (self._scratch / f"{kind}.log").open("a") as log:
            return host.start(
                [*DASK, kind, *map(str, arguments)],
                env=ENVIRONMENT, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip


@contextmanager
def network_cluster(
    scheduler: Host, workers: Sequence[Host], scratch: Path
) -> Iterator[NetworkCluster]:
    """Start a scheduler and a worker on each of some hosts.

    Parameters
    ----------
    scheduler : Host
    workers : sequence of Host
    scratch : Path
        For the logs and temporary files of both.
    """
    cluster = NetworkCluster(scheduler, scratch)
    try:
        for host in workers:
            cluster.worker(host)
        yield cluster
    finally:
        for process in (cluster.scheduler, *cluster.workers):
            # One that was cut off has ended by itself.
            if process.poll() is None:
                process.kill()
            process.wait()
