"""Where the tasks of an srun find their scheduler, or are told that there will be none: a file."""

import os
import time
from pathlib import Path

from balans_dask.errors import InvalidInputError, RunError
from balans_dask.io.atomic import read_json, write_json

__all__ = ["SCHEDULER_SECONDS", "RefusedTasks", "refuse", "scheduler_address", "scheduler_file"]

SCHEDULER_SECONDS = 120
"""How long tasks look for the scheduler: Python starts slowly on a busy file system."""
ASKING_SECONDS = 15
"""How long a refusal stays, for tasks whose Python starts later."""
LOOK_SECONDS = 0.2
REFUSED = "refused"
SHARED_FOLDER = "start srun in a folder that all nodes share and you may write"


class RefusedTasks(InvalidInputError):
    """What ends all tasks, said by the one that does the run."""


def scheduler_file() -> Path:
    """Return a path that all tasks share, and no other srun nor a requeued job ever has.

    Raises
    ------
    RefusedTasks
        If nothing can be written in the working directory.
    """
    names = ("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT")
    numbers = "-".join(os.environ.get(name, "0") for name in names)
    folder = Path.cwd()
    if not os.access(folder, os.W_OK):
        raise RefusedTasks(f"{folder} cannot be written: {SHARED_FOLDER}")
    return folder / f".balans-scheduler-{numbers}.json"


def scheduler_address(path: Path) -> str:
    """Wait for what task 0 writes.

    Raises
    ------
    RefusedTasks
        If task 0 cannot be a scheduler.
    RunError
        If it writes nothing.
    """
    end = time.monotonic() + SCHEDULER_SECONDS
    while (record := read_json(path)) is None:
        if time.monotonic() > end:
            raise RunError(f"task 0 did not write {path} in {SCHEDULER_SECONDS} s: {SHARED_FOLDER}")
        time.sleep(LOOK_SECONDS)
    if REFUSED in record:
        raise RefusedTasks(record[REFUSED])
    return str(record["address"])


def refuse(path: Path, reason: str) -> None:
    """Tell the other tasks that there will be no scheduler, and wait until they have asked."""
    write_json(path, {REFUSED: reason})
    time.sleep(ASKING_SECONDS)
    path.unlink()
