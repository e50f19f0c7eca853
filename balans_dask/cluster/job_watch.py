"""Jobs that end before their worker comes: replaced a few times, never for ever.

Dask replaces a worker that was there and is gone. Of a job that ended before, it never hears, and
would wait for it for ever.
"""

import asyncio
import re
import time
from collections.abc import Callable, Collection, Iterable
from typing import Any

from distributed.core import Status
from distributed.deploy.spec import ProcessInterface

from balans_dask.errors import BalansError, InvalidInputError, RunError

__all__ = [
    "LISTINGS",
    "Alarm",
    "JobWatch",
    "jobs_in",
    "jobs_of",
    "queued_jobs",
    "reporting",
]

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
FAILED_JOBS = 5
"""Jobs in a row that may fail."""
LOOK_SECONDS = 1.0
LONGEST_ASK_SECONDS = 30.0
"""How seldom a batch system is asked about jobs that only wait."""
SETTLED_SECONDS = 5.0
"""A worker that is gone sooner after it came counts as one that did not come."""


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


def jobs_of(system: str, n_jobs: int) -> str:
    """Count jobs in words."""
    return f"{n_jobs} job{'s' * (n_jobs != 1)} of {system}"


class Alarm:
    """Rung where workers are given up, heard where results are waited for."""

    def __init__(self) -> None:
        self._reason: BalansError | None = None

    def ring(self, reason: BalansError) -> None:
        """End the run: the first reason counts."""
        self._reason = self._reason or reason

    def check(self) -> None:
        """Raise the reason, if there is one.

        Raises
        ------
        BalansError
            If the workers were given up.
        """
        if self._reason is not None:
            raise self._reason


class JobWatch:
    """Looks after the jobs of a cluster, on its event loop.

    Parameters
    ----------
    cluster : dask_jobqueue.JobQueueCluster
        With jobs made by ``reporting``.
    adaptive : distributed.deploy.Adaptive
        What replaces its workers.
    system, logs : str
        Batch system, and where its jobs log, for messages.
    say : callable
        Told once, in a line, that jobs are not replaced any more.
    alarm : Alarm
        Rung when there is no hope for workers.
    """

    def __init__(
        self,
        cluster: Any,
        adaptive: Any,
        system: str,
        logs: str,
        say: Callable[[str], None],
        alarm: Alarm,
    ) -> None:
        self._cluster = cluster
        self._adaptive = adaptive
        self._system = system
        self._logs = logs
        self._say = say
        self._alarm = alarm
        self._came: dict[str, float] = {}
        self._settled: set[str] = set()
        self._queued: dict[str, str | None] = {}
        self._asked: set[str] = set()
        self._next_ask = 0.0
        self._pause = LOOK_SECONDS
        self._n_failed = 0
        self._refusal: str | None = None
        self._stopped = False
        self._future = asyncio.run_coroutine_threadsafe(self._run(), cluster.loop.asyncio_loop)

    def stop(self) -> None:
        """Look no more."""
        self._future.cancel()

    def line(self) -> str:
        """Say how many jobs there are, how many of them run, and why others do not."""
        waiting = [reason for reason in self._queued.values() if reason is not None]
        n_running = len(self._queued) - len(waiting)
        reasons = ", ".join(sorted({reason for reason in waiting if reason}))
        said = f" ({LISTINGS[self._system][0]} says {reasons})" if reasons else ""
        jobs = jobs_of(self._system, len(self._cluster.worker_spec))
        return f"waiting for {jobs}: {n_running} running{said}"

    async def _run(self) -> None:
        try:
            while self._cluster.status is Status.running:
                await asyncio.sleep(LOOK_SECONDS)
                await self._look()
        except Exception as error:
            # Else a run would wait for jobs that nobody looks after.
            self._alarm.ring(RunError(f"jobs are not looked after any more: {error!r}"))
            raise

    async def _look(self) -> None:
        jobs = dict(self._cluster.workers)
        present = self._there(jobs)
        self._note_arrivals({jobs[name].job_id for name in present if jobs[name].job_id})
        missing = {name: job for name, job in jobs.items() if name not in present}
        failed = [name for name, job in missing.items() if job.job_id is None and job.refusal]
        for name in failed:
            self._refusal = missing[name].refusal
        unheard = {
            name: job.job_id
            for name, job in missing.items()
            if job.job_id is not None and job.job_id not in self._came
        }
        if unheard and await self._ask(set(unheard.values())):
            gone = [name for name, number in unheard.items() if number not in self._queued]
            # One of them may have come while the batch system was asked.
            failed += set(gone) - self._there(gone)
        self._n_failed += len(failed)
        waits = len(unheard) > len([name for name in failed if name in unheard])
        self._decide(failed, bool(present) or waits)

    def _there(self, jobs: Iterable[str]) -> set[str]:
        """Return those of some jobs that have a worker."""
        names = {str(worker.name) for worker in self._cluster.scheduler.workers.values()}
        spec = self._cluster.worker_spec
        suffixes = {name: spec.get(name, {}).get("group", [""]) for name in jobs}
        return {name for name in suffixes if any(f"{name}{s}" in names for s in suffixes[name])}

    def _note_arrivals(self, numbers: set[str]) -> None:
        """Count those that went as soon as they came; one that stays ends the row of failures."""
        now = time.monotonic()
        for number in set(self._came) - numbers - self._settled:
            if number not in {job.job_id for job in self._cluster.workers.values()}:
                del self._came[number]
                self._n_failed += 1
        for number in numbers:
            if now - self._came.setdefault(number, now) > SETTLED_SECONDS:
                if number not in self._settled:
                    self._n_failed = 0
                self._settled.add(number)

    async def _ask(self, numbers: set[str]) -> bool:
        """Ask the batch system about jobs: the more seldom, the longer nothing changes."""
        if numbers != self._asked:
            self._asked, self._pause, self._next_ask = numbers, LOOK_SECONDS, 0.0
        now = time.monotonic()
        if now < self._next_ask:
            return False
        answer = await queued_jobs(self._system, numbers)
        self._pause = min(2 * self._pause, LONGEST_ASK_SECONDS)
        self._next_ask = now + self._pause
        if answer is not None:
            self._queued = answer
        return answer is not None

    def _decide(self, failed: list[str], hopeful: bool) -> None:
        """Have failed jobs replaced, or stop doing so, or give the run up."""
        refused_all = bool(failed) and self._refusal is not None and not hopeful
        if self._n_failed < FAILED_JOBS and not refused_all and not self._stopped:
            for name in failed:
                # Dask submits again what it was asked for and does not have.
                self._cluster.workers.pop(name, None)
        elif hopeful:
            if not self._stopped:
                self._say(f"{self._reason()}; the run goes on without more jobs")
                self._adaptive.stop()
            self._stopped = True
        else:
            begun = bool(self._came)
            again = ", and continue with --resume" * begun
            kind = RunError if begun or self._refusal is None else InvalidInputError
            self._alarm.ring(kind(self._reason() + again))

    def _reason(self) -> str:
        if self._refusal is not None:
            command = self._cluster.job_cls.submit_command
            return f"{command} refused a job, {self._refusal!r}: see its script by --dry-run"
        return (
            f"{jobs_of(self._system, self._n_failed)} in a row ended before their worker came: "
            f"see their logs in {self._logs}"
        )
