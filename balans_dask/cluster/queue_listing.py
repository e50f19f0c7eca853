"""Which jobs a batch system still has; dask-jobqueue does not ask."""

import asyncio
from collections.abc import Collection

__all__ = ["LISTINGS", "jobs_in", "queued_jobs"]

LISTINGS = {
    "slurm": ["squeue", "--me", "--noheader", "--format=%A %t %r"],
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


async def queued_jobs(system: str, ids: Collection[str]) -> dict[str, str | None] | None:
    """Ask which of these jobs wait or run.

    Returns
    -------
    dict or None
        As ``jobs_in`` says of those that are there; ``None`` if the batch system does not answer.
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
    return {number: waits for number, waits in found.items() if number in ids}


def jobs_in(system: str, listing: str) -> dict[str, str | None]:
    """Read a listing, without jobs that have ended: ``None`` of a job that runs, else why it waits.

    SLURM alone lists reasons.

    Parameters
    ----------
    system : str
    listing : str
        What the command of ``LISTINGS`` prints.
    """
    found: dict[str, str | None] = {}
    for line in listing.splitlines():
        columns = line.split()
        number = columns[0].split(".")[0] if columns else ""
        if number.isdecimal() and len(columns) > STATE_COLUMN[system]:
            state = columns[STATE_COLUMN[system]]
            if state not in ENDED:
                reason = " ".join(columns[2:]) if system == "slurm" else ""
                found[number] = None if state in RUNNING else reason
    return found
