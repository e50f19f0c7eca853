"""What was asked of a cluster, checked before anything starts; walltimes in any system's words.

A worker that ends by itself before the batch system kills its job hands its results on; with a
stagger not all of a run end at once.
"""

import math
import os
import re
from dataclasses import dataclass, fields

from balans_dask.errors import InvalidInputError
from balans_dask.parameters import WORKER_TIMEOUT_SECONDS

__all__ = [
    "JOB_SYSTEMS",
    "RUNNER",
    "ClusterRequest",
    "lifetime_arguments",
    "memory_bytes",
    "walltime_for",
    "walltime_seconds",
]

FLAG = re.compile(r"(\d+):([0-5]\d):([0-5]\d)")
LONGEST_MARGIN_SECONDS = 120
"""Kept for the start of Python on a busy file system and for handing results on."""
LONGEST_STAGGER_SECONDS = 240
JOB_SYSTEMS = ("slurm", "pbs", "lsf", "sge")
RUNNER = "slurm-runner"
SCHEDULER = "scheduler"
"""Kind of a cluster that is there: an address, or a file with it."""
ALWAYS = {"where", "worker_timeout"}
OF_A_JOB = {
    "workers", "cores", "memory", "walltime", "queue", "account", "interface", "local_directory",
}  # fmt: skip
READ = {
    "threads": {"workers", "memory_limit"},
    "local": {"workers", "memory_limit", "local_directory"},
    SCHEDULER: {"workers", "memory_limit"},
    RUNNER: {"memory_limit", "interface", "local_directory"},
    **dict.fromkeys(JOB_SYSTEMS, OF_A_JOB),
}
"""Which options each kind of cluster reads."""
INSTEAD = {
    ("memory_limit", "memory"): "give --memory, which a job is given and its workers share",
    ("workers", "memory_limit"): "srun --ntasks says how many tasks there are",
}


def walltime_for(system: str, text: str) -> str:
    """Write ``HH:MM:SS`` as a batch system takes it.

    Raises
    ------
    InvalidInputError
        If it is none, or no time at all.
    """
    found = FLAG.fullmatch(text)
    if found is None or not any(map(int, found.groups())):
        raise InvalidInputError(f"--walltime {text} is no time: write HH:MM:SS, such as 04:00:00")
    hours, minutes, seconds = map(int, found.groups())
    if system != "lsf":
        return text
    # LSF has no seconds: a job gets the whole minute.
    minutes += hours * 60 + (seconds > 0)
    return f"{minutes // 60:02}:{minutes % 60:02}"


def walltime_seconds(system: str, text: str) -> int | None:
    """Return the seconds of a walltime in the words of a batch system.

    Parameters
    ----------
    system : str
        ``slurm`` (``MM``, ``MM:SS``, ``HH:MM:SS``, ``D-HH[:MM[:SS]]``), ``pbs`` and ``sge``
        (``[[HH:]MM:]SS``) or ``lsf`` (``[HH:]MM``).

    Returns
    -------
    int or None
        ``None`` of what is no such time, as where a job may run for ever.
    """
    days, dash, clock = text.strip().rpartition("-")
    parts = clock.split("/")[0].split(":") if system == "lsf" else clock.split(":")
    if not all(part.isdecimal() for part in ([days] if dash else []) + parts) or len(parts) > 3:
        return None
    numbers = [int(part) for part in parts]
    if dash:
        # SLURM counts from the hours after days.
        hours, minutes, seconds = [*numbers, 0, 0][:3]
        return ((int(days) * 24 + hours) * 60 + minutes) * 60 + seconds
    if system == "lsf" or (system == "slurm" and len(numbers) == 1):
        numbers.append(0)
    hours, minutes, seconds = [0, 0, *numbers][-3:]
    return (hours * 60 + minutes) * 60 + seconds


def lifetime_arguments(seconds: int) -> list[str]:
    """Return the arguments by which a worker ends itself before its job is killed.

    Parameters
    ----------
    seconds : int
        Walltime of the job.
    """
    stagger = min(seconds // 15, LONGEST_STAGGER_SECONDS)
    margin = min(seconds // 20, LONGEST_MARGIN_SECONDS)
    lifetime = seconds - margin - stagger
    return ["--lifetime", f"{lifetime}s", "--lifetime-stagger", f"{stagger}s"]


@dataclass(frozen=True)
class ClusterRequest:
    """A cluster, and what to ask of it; ``None`` where nothing was said.

    Parameters
    ----------
    where : str
        ``threads``, ``local``, ``slurm``, ``pbs``, ``lsf``, ``sge``, ``slurm-runner``, the address
        of a scheduler or the path of its scheduler file.
    workers : int or None
        Threads, or worker processes; of a scheduler, how many to wait for.
    memory_limit : str or None
        Memory of a worker, such as ``2GB``.
    worker_timeout : float or None
        Seconds without any worker after which to give up.
    cores, memory, walltime, queue, account, interface, local_directory
        Of a job, as the options of these names.

    Raises
    ------
    InvalidInputError
        If there is no such cluster, it does not read an option, or a value is none.
    """

    where: str = "threads"
    workers: int | None = None
    memory_limit: str | None = None
    worker_timeout: float | None = None
    cores: int | None = None
    memory: str | None = None
    walltime: str | None = None
    queue: str | None = None
    account: str | None = None
    interface: str | None = None
    local_directory: str | None = None

    def __post_init__(self) -> None:
        """Check everything that can be checked without a cluster."""
        kind = self.kind
        for option in fields(self):
            if getattr(self, option.name) is not None:
                self._require_read(option.name, kind)
        memory_bytes(self.memory_limit)
        memory_bytes(self.memory, "--memory")
        if self.walltime is not None:
            walltime_for(kind, self.walltime)

    def _require_read(self, name: str, kind: str) -> None:
        if name in READ[kind] | ALWAYS:
            return
        flag = name.replace("_", "-")
        remedy = "leave it out"
        for (refused, read), instead in INSTEAD.items():
            if name == refused and read in READ[kind]:
                remedy = instead
        raise InvalidInputError(f"--cluster {self.where} does not read --{flag}: {remedy}")

    @property
    def kind(self) -> str:
        """Which room of this package opens it."""
        if self.where in READ and self.where != SCHEDULER:
            return self.where
        if "://" in self.where or os.path.isfile(self.where):
            return SCHEDULER
        raise InvalidInputError(
            f"--cluster {self.where} is unknown: give threads, local, {', '.join(JOB_SYSTEMS)}, "
            f"{RUNNER}, an address such as tcp://host:8786 or a scheduler file"
        )

    @property
    def limit_bytes(self) -> int | None:
        """Memory of a worker."""
        return memory_bytes(self.memory_limit)

    @property
    def worker_timeout_seconds(self) -> float:
        """How long a run goes on without a worker: jobs may wait in their queue for hours."""
        if self.worker_timeout is not None:
            return self.worker_timeout
        return math.inf if self.kind in JOB_SYSTEMS else WORKER_TIMEOUT_SECONDS


def memory_bytes(text: str | None, flag: str = "--memory-limit") -> int | None:
    """Read a size such as ``2GB``.

    Raises
    ------
    InvalidInputError
        If it is none.
    """
    if text is None:
        return None
    from dask.utils import parse_bytes

    try:
        n_bytes = int(parse_bytes(text))
    except (ValueError, OverflowError) as error:
        raise InvalidInputError(f"{flag} {text} is no size: write one like 2GB") from error
    if n_bytes <= 0:
        raise InvalidInputError(f"{flag} {text} is not positive: write one like 2GB")
    return n_bytes
