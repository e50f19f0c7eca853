"""A command in a process of its own: its time, and what everything that it starts takes."""

import re
import resource
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import psutil

LOOK_SECONDS = 0.05
UNITS = {"MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


@dataclass(frozen=True)
class Finished:
    """A command that has ended well.

    Attributes
    ----------
    seconds : float
        From its start to its end, imports included.
    processor_seconds : float
        User and system time of it and its descendants together.
    driver_seconds : float
        The same of the process itself, as last looked at.
    peak_bytes : int
        Largest resident memory of it and its descendants together, looked at every 50 ms; pages
        that processes share count in each of them.
    """

    seconds: float
    processor_seconds: float
    driver_seconds: float
    peak_bytes: int
    out: str
    err: str

    @property
    def figures(self) -> dict[str, float]:
        """What every run records."""
        return {
            "seconds": round(self.seconds, 3),
            "processor_seconds": round(self.processor_seconds, 3),
            "driver_seconds": round(self.driver_seconds, 3),
            "peak_bytes": self.peak_bytes,
        }


def measured(argv: Sequence[str], environment: Mapping[str, str] | None = None) -> Finished:
    """Run a command to its end.

    Without an environment it has that of this process.

    Raises
    ------
    RuntimeError
        If it fails, with what it said.
    """
    # Files, not pipes: nobody reads while memory is looked at.
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        start, before = time.perf_counter(), _of_ended_children()
        process = psutil.Popen(list(argv), stdout=out, stderr=err, env=environment)
        try:
            peak, own = _watched(process)
        except KeyboardInterrupt:
            process.terminate()
            raise
        seconds = time.perf_counter() - start
        taken = _of_ended_children() - before
        out.seek(0)
        err.seek(0)
        said = Finished(seconds, taken, own, peak, out.read(), err.read())
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)} failed with {process.returncode}: {said.err}")
    return said


def balans(*arguments: object, environment: Mapping[str, str] | None = None) -> Finished:
    """Run the installed ``balans`` of this Python."""
    argv = [sys.executable, "-m", "balans_dask", *map(str, arguments)]
    return measured(argv, environment)


def planned_bytes(plan: str) -> int:
    """Memory of all processes in the plan that ``balans check`` and ``correct --verbose`` print."""
    found = re.search(r"all processes.*at most ([\d.]+) ([MGT]iB)", plan)
    assert found is not None, plan
    return int(float(found[1]) * UNITS[found[2]])


def _of_ended_children() -> float:
    """Processor seconds of all children that have ended, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _watched(process: psutil.Popen) -> tuple[int, float]:
    """Wait for the end, looking at memory and the driver's time again and again."""
    peak, own = 0, 0.0
    while True:
        peak = max(peak, _resident_bytes(process))
        with suppress(psutil.Error):
            times = process.cpu_times()
            own = max(own, times.user + times.system)
        try:
            process.wait(LOOK_SECONDS)
        except psutil.TimeoutExpired:
            continue
        return peak, own


def _resident_bytes(process: psutil.Process) -> int:
    try:
        family = [process, *process.children(recursive=True)]
    except psutil.Error:
        return 0
    total = 0
    for member in family:
        try:
            total += member.memory_info().rss
        except psutil.Error:
            continue
    return total
