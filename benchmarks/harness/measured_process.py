"""A command in a process of its own: its time, and the memory of everything that it starts."""

import re
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psutil

SMOOTH = ("--operator", "smooth")
"""The operator of which the tables of time and memory are; an option that comes later wins."""
LOOK_SECONDS = 0.05
UNITS = {"MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


@dataclass(frozen=True)
class Finished:
    """A command that has ended well.

    Attributes
    ----------
    seconds : float
        From its start to its end, imports included.
    peak_bytes : int
        Largest resident memory of it and its descendants together, looked at every 50 ms; pages
        that processes share count in each of them.
    """

    seconds: float
    peak_bytes: int
    out: str
    err: str


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
        start = time.perf_counter()
        process = psutil.Popen(list(argv), stdout=out, stderr=err, env=environment)
        try:
            peak = _peak_bytes(process)
        except KeyboardInterrupt:
            process.terminate()
            raise
        seconds = time.perf_counter() - start
        out.seek(0)
        err.seek(0)
        said = Finished(seconds, peak, out.read(), err.read())
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)} failed with {process.returncode}: {said.err}")
    return said


def balans(*arguments: object, environment: Mapping[str, str] | None = None) -> Finished:
    """Run the installed ``balans`` of this Python."""
    argv = [sys.executable, "-m", "balans_dask", *map(str, arguments)]
    return measured(argv, environment)


def planned_bytes(plan: str) -> int:
    """Memory of all processes in the plan that ``balans check`` and ``correct`` print."""
    found = re.search(r"all processes.*at most ([\d.]+) ([MGT]iB)", plan)
    assert found is not None, plan
    return int(float(found[1]) * UNITS[found[2]])


def _peak_bytes(process: psutil.Popen) -> int:
    """Wait for the end, looking at the memory again and again."""
    peak = 0
    while True:
        peak = max(peak, _resident_bytes(process))
        try:
            process.wait(LOOK_SECONDS)
        except psutil.TimeoutExpired:
            continue
        return peak


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
