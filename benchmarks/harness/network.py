"""Hosts on one machine: Linux network namespaces, joined by a switch, with cables that can be cut.

Needs root, and `ip` and `tc` (iproute2). The switch is a namespace too, so that nothing of it is
seen in the machine's own network, and no address can be one that is taken.
"""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

PREFIX = "balans"
SWITCH = "switch"
CABLE = "eth0"
BURST = ["burst", "128kb", "latency", "50ms"]
"""Of a limited cable: larger than what the kernel hands over at once."""
ENVIRONMENT = os.environ | {
    # The least that Dask takes; a cut cable is noticed after so long.
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "11s",
    "OMP_NUM_THREADS": "1",
}
DASK = [sys.executable, "-m", "dask"]


class Host:
    """A host with an address of its own, on the file system of all."""

    def __init__(self, network: str, number: int) -> None:
        self.address = f"10.77.0.{number}"
        self._space = f"{network}-h{number}"
        self._switch = f"{network}-{SWITCH}"
        self._port = f"port{number}"
        _ip("netns", "add", self._space)
        _ip("-n", self._switch, "link", "add", self._port, "type", "veth",
            "peer", "name", CABLE, "netns", self._space)  # fmt: skip
        _ip("-n", self._switch, "link", "set", self._port, "master", SWITCH, "up")
        _ip("-n", self._space, "address", "add", f"{self.address}/24", "dev", CABLE)
        for link in ("lo", CABLE):
            _ip("-n", self._space, "link", "set", link, "up")

    def start(self, argv: Sequence[str], **options: Any) -> psutil.Popen:
        """Start a program here; options are those of ``subprocess.Popen``."""
        return psutil.Popen(["ip", "netns", "exec", self._space, *argv], **options)

    def cut(self) -> None:
        """Cut the cable: packets vanish, and nobody is told."""
        _ip("-n", self._switch, "link", "set", self._port, "down")

    def mend(self) -> None:
        """Plug the cable in again."""
        _ip("-n", self._switch, "link", "set", self._port, "up")

    def limit(self, rate: str | None) -> None:
        """Limit the cable in both directions, as in ``1gbit``; ``None`` takes the limit away."""
        for space, link in ((self._space, CABLE), (self._switch, self._port)):
            shaped = ["tc", "-n", space, "qdisc", "replace", "dev", link, "root"]
            _run([*shaped, *(["tbf", "rate", rate, *BURST] if rate else ["pfifo"])])

    def bytes(self) -> tuple[int, int]:
        """Bytes that it has sent and received so far, with all headers."""
        (found,) = json.loads(_ip("-n", self._space, "-s", "-j", "link", "show", CABLE))
        return found["stats64"]["tx"]["bytes"], found["stats64"]["rx"]["bytes"]


@contextmanager
def hosts(n_hosts: int) -> Iterator[list[Host]]:
    """Make hosts, and end them with everything that runs on them."""
    for pid in _networks():
        if not psutil.pid_exists(pid):
            _remove(pid)
    network = f"{PREFIX}{os.getpid()}"
    try:
        _ip("netns", "add", f"{network}-{SWITCH}")
        _ip("-n", f"{network}-{SWITCH}", "link", "add", SWITCH, "type", "bridge")
        _ip("-n", f"{network}-{SWITCH}", "link", "set", SWITCH, "up")
        yield [Host(network, number) for number in range(1, n_hosts + 1)]
    finally:
        _remove(os.getpid())


def can_make_hosts() -> str:
    """Say why hosts cannot be made here; nothing if they can."""
    try:
        with hosts(1) as [host]:
            host.limit("1gbit")
    except (OSError, RuntimeError) as error:
        return f"no hosts can be made on this machine: {error}"
    return ""


def _networks() -> set[int]:
    """Find processes that have made hosts; one that was killed has left them behind."""
    names = " ".join(path.name for path in Path("/run/netns").glob(f"{PREFIX}*"))
    return {int(pid) for pid in re.findall(rf"\b{PREFIX}(\d+)-", names)}


def _remove(pid: int) -> None:
    for path in Path("/run/netns").glob(f"{PREFIX}{pid}-*"):
        for process in _ip("netns", "pids", path.name).split():
            _run(["kill", "-9", process], tolerant=True)
        _ip("netns", "delete", path.name)


def _ip(*arguments: str) -> str:
    return _run(["ip", *arguments])


def _run(command: Sequence[str], tolerant: bool = False) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode and not tolerant:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


class NetworkCluster:
    """A scheduler, and workers that can be added.

    Attributes
    ----------
    address : str
        Of the scheduler.
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

    ``scratch`` is for the logs and temporary files of both.
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
