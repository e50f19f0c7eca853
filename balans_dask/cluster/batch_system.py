"""What a batch system says: which jobs it has, which dask-jobqueue does not ask, and refusals."""

import asyncio
import re
from collections.abc import Collection
from typing import Any

from distributed.deploy.spec import ProcessInterface

__all__ = ["LISTINGS", "jobs_in", "queued_jobs", "reporting"]

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


class _Reporting:
    """Before a job class of dask-jobqueue, which raises where nobody listens."""

    refusal: str | None = None

    async def start(self: Any) -> None:
        """Submit the job; one that is refused has no number."""
        try:
            await super().start()  # type: ignore[misc]
        except (OSError, RuntimeError, ValueError) as error:
            self.refusal = _words(str(error))
            await ProcessInterface.start(self)

    async def close(self: Any) -> None:
        """Cancel the job, and say that it is closed, which Dask asserts."""
        await super().close()  # type: ignore[misc]
        await ProcessInterface.close(self)


def reporting(job_class: Any) -> Any:
    """Return the class of jobs that keep their refusal in ``refusal``."""
    return type(job_class.__name__, (_Reporting, job_class), {})


def _words(text: str) -> str:
    """Return the batch system's own words of the message of dask-jobqueue, in one line."""
    found = re.search(r"stderr:\n(.*)", text, flags=re.DOTALL)
    return " ".join((found[1] if found else text).split()) or " ".join(text.split())
