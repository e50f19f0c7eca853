"""Which jobs a batch system still has; dask-jobqueue does not ask."""

import asyncio
from collections.abc import Collection

__all__ = ["LISTINGS", "jobs_in", "queued_jobs"]

LISTINGS = {
    "slurm": ["squeue", "--me", "--noheader", "--format=%A %t"],
    "pbs": ["qstat"],
    "lsf": ["bjobs", "-noheader", "-o", "jobid stat"],
    "sge": ["qstat"],
}
STATE_COLUMN = {"slurm": 1, "pbs": 4, "lsf": 1, "sge": 4}
RUNNING = {"R", "RUN", "r"}
ENDED = {"CG", "CD", "CA", "F", "TO", "NF", "OOM", "C", "E", "DONE", "EXIT", "Eqw"}
"""States of jobs that are listed and will not run any more."""
NONE_LEFT = ("unknown job", "has finished", "no unfinished job", "job not found")
"""What is said of jobs that are gone, with an exit code as if the server were."""
ASK_SECONDS = 60


async def queued_jobs(system: str, ids: Collection[str]) -> dict[str, bool] | None:
    """Ask which of these jobs wait or run.

    Returns
    -------
    dict or None
        Whether each job that is there runs; ``None`` if the batch system does not answer.
    """
    # PBS lists the jobs of everybody unless it is asked for some.
    command = [*LISTINGS[system], *(sorted(ids) if system == "pbs" else [])]
    pipe = asyncio.subprocess.PIPE
    try:
        asked = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe)
        out, err = await asyncio.wait_for(asked.communicate(), ASK_SECONDS)
    except (OSError, TimeoutError):
        return None
    complaints = err.decode(errors="replace").lower().splitlines()
    if asked.returncode and not all(any(w in each for w in NONE_LEFT) for each in complaints):
        return None
    found = jobs_in(system, out.decode(errors="replace"))
    return {number: runs for number, runs in found.items() if number in ids}


def jobs_in(system: str, listing: str) -> dict[str, bool]:
    """Read a listing: whether each job in it runs; jobs that have ended are left out.

    Parameters
    ----------
    system : str
    listing : str
        What the command of ``LISTINGS`` prints.
    """
    found = {}
    for line in listing.splitlines():
        columns = line.split()
        number = columns[0].split(".")[0] if columns else ""
        if number.isdecimal() and len(columns) > STATE_COLUMN[system]:
            state = columns[STATE_COLUMN[system]]
            if state not in ENDED:
                found[number] = state in RUNNING
    return found
