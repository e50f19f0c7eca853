"""What was asked of a cluster, checked before anything starts."""

import math
import os
from dataclasses import dataclass, fields

from balans_dask.cluster.walltime import walltime_for
from balans_dask.errors import InvalidInputError
from balans_dask.parameters import WORKER_TIMEOUT_SECONDS

__all__ = ["JOB_SYSTEMS", "RUNNER", "ClusterRequest", "memory_bytes"]

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
