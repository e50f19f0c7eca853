"""The installed command, and a Dask cluster, in processes of their own, which tests may kill."""

import io
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path

import psutil

from balans_dask.cli import app


class Command:
    """A running ``balans``, in a session of its own."""

    def __init__(self, *arguments: object, start=psutil.Popen) -> None:
        argv = [sys.executable, "-m", "balans_dask", *map(str, arguments)]
        self.process = start(
            argv,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def finish(self, timeout: float = 120) -> tuple[int, str, str]:
        """Exit code, standard output and standard error."""
        out, err = self.process.communicate(timeout=timeout)
        return self.process.returncode, out, err

    def wait_for(self, condition, timeout: float = 60) -> bool:
        """Wait until something is true; False if the command ended before."""
        end = time.monotonic() + timeout
        while self.process.poll() is None:
            if condition():
                return True
            assert time.monotonic() < end, "it never came so far"
            time.sleep(0.01)
        return False

    def send(self, number: signal.Signals) -> None:
        """A signal to the driver alone."""
        self.process.send_signal(number)

    def kill_all(self) -> None:
        """SIGKILL to the driver and everything that it started."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()

    def kill_driver(self) -> None:
        """SIGKILL to the driver alone; its workers find out."""
        orphans = self.process.children(recursive=True)
        self.process.kill()
        psutil.wait_procs(orphans, timeout=30)
        self.process.communicate()

    def workers(self) -> list[psutil.Process]:
        """Worker processes of a local cluster."""
        try:
            children = self.process.children(recursive=True)
            return [child for child in children if "spawn_main" in " ".join(child.cmdline())]
        except psutil.Error:
            return []


def run(*arguments: object, code: int = 0) -> str:
    """Standard error of a command that nobody kills, run in this process."""
    return streams(*arguments, code=code)[1]


def streams(*arguments: object, code: int = 0) -> tuple[str, str]:
    """Standard output and error of a command that nobody kills, run in this process."""
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        found = app.run([str(argument) for argument in arguments])
    assert found == code, err.getvalue()
    return out.getvalue(), err.getvalue()


def begun(target: Path):
    """Whether a run has saved its first checkpoint."""
    return lambda: (target.with_name(target.name + ".partial") / "checkpoint.npz").exists()


def writing(target: Path, n_units: int):
    """Whether a run has recorded some of its output."""
    folder = target.with_name(target.name + ".partial") / "units"
    return lambda: folder.exists() and len(list(folder.glob("*.json"))) >= n_units


def listening(processes: Iterable[psutil.Process]) -> set[tuple[int, str, int]]:
    """Process, address and port of every socket of some processes that listens."""
    found = set()
    for process in processes:
        # It may have ended.
        with suppress(psutil.NoSuchProcess):
            for connection in process.net_connections("inet"):
                if connection.status == psutil.CONN_LISTEN:
                    found.add((process.pid, *connection.laddr))
    return found


@contextmanager
def dask_cluster(
    protocol: str = "tcp", **environment: str
) -> Iterator[tuple[str, list[psutil.Process]]]:
    """A scheduler and two workers, each a process as on a real cluster."""
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch) / "scheduler.json"
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        quiet["env"] = os.environ | environment
        dask = [sys.executable, "-m", "dask"]
        here = ["--host", "127.0.0.1"]
        processes = [
            psutil.Popen(
                [*dask, "scheduler", *here, "--port", "0", "--no-dashboard", "--protocol", protocol,
                 "--dashboard-address", "127.0.0.1:0", "--scheduler-file", str(place)],
                **quiet,
            )
        ]  # fmt: skip
        try:
            while not place.exists() or not place.read_text():
                assert processes[0].poll() is None
                time.sleep(0.05)
            worker = [*dask, "worker", "--scheduler-file", str(place), *here, "--nthreads", "1",
                      "--no-nanny", "--no-dashboard", "--dashboard-address", "127.0.0.1:0",
                      "--local-directory", scratch]  # fmt: skip
            processes += [psutil.Popen(worker, **quiet) for _ in range(2)]
            address = place.read_text().split('"address": "')[1].split('"')[0]
            yield address, processes
        finally:
            for process in processes:
                process.kill()
                process.wait()
