"""What a run notices of its workers: lost or silent ones, and tasks that are left."""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from math import inf, isfinite

from distributed import CancelledError, Client, KilledWorker, Scheduler
from distributed.comm import CommClosedError

from balans_dask.errors import RunError, first_names, format_bytes

__all__ = [
    "WorkerWatch",
    "blamed_tasks",
    "count_unfinished",
    "killed_workers",
    "scheduler_errors",
]

SILENT_SECONDS = 60.0
"""After how long without a heartbeat a worker is said to be silent; a sound one has several a
second."""
UNFINISHED = {"waiting", "no-worker", "queued", "processing"}
"""States of tasks that are still to be computed; finished ones are in memory, or forgotten."""


@contextmanager
def scheduler_errors() -> Iterator[None]:
    """Turn what Dask raises when its scheduler is gone into an error with a remedy."""
    try:
        yield
    except (CancelledError, OSError) as error:
        if isinstance(error, OSError) and not _of_connection(error):
            raise
        raise RunError(
            "the connection to the scheduler is lost: start a cluster, and continue with --resume"
        ) from error


def _of_connection(error: OSError) -> bool:
    """Tell a lost connection from what a task says of a disk, which has a number.

    Dask has no class for a scheduler that it cannot reach again.
    """
    unreachable = error.errno is None and "trying to connect to" in str(error)
    return isinstance(error, CommClosedError) or unreachable


def blamed_tasks(client: Client) -> list[str]:
    """Name every task that was on each of too many workers when they died.

    Dask raises the error of one of them, which may only have waited beside the task that killed.
    """

    def blamed(dask_scheduler: Scheduler) -> list[str]:
        tasks = dask_scheduler.tasks.values()
        return [str(t.key) for t in tasks if t.suspicious > dask_scheduler.allowed_failures]

    names: list[str] = client.run_on_scheduler(blamed)
    return names


def killed_workers(
    error: KilledWorker, blamed: Sequence[str], task_bytes: Mapping[str, int]
) -> RunError:
    """Name the pass and the partitions whose task killed its workers, and its memory.

    Parameters
    ----------
    blamed : sequence of str
        From ``blamed_tasks``.
    task_bytes : mapping of str to int
        Memory planned for a task of every pass over partitions.
    """
    n_died = error.allowed_failures + 1
    if not str(error.task).startswith("balans-"):
        return RunError(
            f"{n_died} workers died while they computed {error.task} of the input, most likely "
            "out of memory: give them more, or smaller chunks"
        )
    call, _ = str(error.task).rsplit("-", 1)
    name, _, _ = call.removeprefix("balans-").rsplit("-", 2)
    tasks = {str(error.task), *blamed}
    numbers = sorted(int(task.rsplit("-", 1)[1]) for task in tasks if task.startswith(f"{call}-"))
    unit, memory = "task", ""
    if name in task_bytes:
        unit = "partition"
        memory = f", planned to take {format_bytes(task_bytes[name])},"
    what = (
        f"{unit} {numbers[0]}"
        if len(numbers) == 1
        else f"one of {unit}s {first_names(numbers, 12)}"
    )
    return RunError(
        f"{n_died} workers died while they ran pass {name!r} of {what}{memory} most likely out of "
        "memory: give them more with --memory-limit or fewer threads, and continue with --resume"
    )


class WorkerWatch:
    """Notices workers that are gone or silent, says so, and gives up if all are gone for a time.

    Parameters
    ----------
    say : callable
        Told in a line when all workers are gone, when there are some again, and when one is silent.
    """

    def __init__(self, client: Client, timeout_seconds: float, say: Callable[[str], None]) -> None:
        self._client = client
        self._timeout_seconds = timeout_seconds
        self._say = say
        self._alone_since: float | None = None
        self._heard: dict[str, tuple[float, float]] = {}
        self._silent: set[str] = set()
        self._listened_at = -inf

    def look(self) -> None:
        """Look at the workers.

        Raises
        ------
        RunError
            If there have been none for too long.
        """
        if self._client.nthreads():
            self.back()
            self._listen()
        elif self._alone_since is None:
            limit = f"up to {self._timeout_seconds:g} s " * isfinite(self._timeout_seconds)
            self._say(f"no workers are left: waiting {limit}for some")
            self._alone_since = time.monotonic()
        elif time.monotonic() - self._alone_since > self._timeout_seconds:
            raise RunError(
                f"no workers for {self._timeout_seconds:g} s: start workers, and continue with "
                "--resume"
            )

    def _listen(self) -> None:
        """Say which workers have stopped to answer: Dask would replace them without a word."""
        now = time.monotonic()
        if now - self._listened_at < SILENT_SECONDS / 4:
            return
        self._listened_at = now
        workers = self._client.scheduler_info(n_workers=-1)["workers"]
        # By the change of the scheduler's time, whose clock may be another one.
        for address, found in workers.items():
            if self._heard.get(address, (None, now))[0] != found["last_seen"]:
                self._heard[address] = (found["last_seen"], now)
        silent = {
            address
            for address, (_, heard_at) in self._heard.items()
            if address in workers and now - heard_at >= SILENT_SECONDS
        }
        for address in sorted(silent - self._silent):
            self._say(
                f"worker {address} has not answered for {SILENT_SECONDS:g} s: its tasks run again "
                "elsewhere once it is replaced"
            )
        self._silent = silent

    def back(self) -> None:
        """Notice that there is a result, or a worker."""
        if self._alone_since is not None:
            self._say("workers are back: the run goes on")
            self._alone_since = None


def count_unfinished(client: Client, prefixes: Collection[str]) -> int:
    """Ask the scheduler how many of its tasks are still to be computed.

    A driver that counted futures would have to hold them, and with them all leaves of a reduction.

    Parameters
    ----------
    prefixes : collection of str
        How the keys of the tasks begin.

    Returns
    -------
    n_left : int
        0 if all are done, none has arrived yet, or the scheduler refuses to run functions.
    """
    with suppress(ValueError):
        n_left: int = client.run_on_scheduler(_n_unfinished, prefixes=tuple(prefixes))
        return n_left
    return 0


def _n_unfinished(dask_scheduler: Scheduler, prefixes: Collection[str]) -> int:
    starts = tuple(prefixes)
    return sum(
        task.state in UNFINISHED and str(key).startswith(starts)
        for key, task in dask_scheduler.tasks.items()
    )
