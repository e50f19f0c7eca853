"""How far the tasks of a pass are, without holding any of their results."""

from collections.abc import Callable, Collection
from contextlib import suppress

from distributed import Client, Scheduler

__all__ = ["Followed"]

UNFINISHED = {"waiting", "no-worker", "queued", "processing"}
"""States of tasks that are still to be computed; finished ones are in memory, or forgotten."""


class Followed:
    """Tasks of some names that are submitted, of which the scheduler knows the unfinished ones.

    A driver that counted futures would have to hold them, and with them all leaves of a reduction.

    Parameters
    ----------
    client : distributed.Client
    prefixes : mapping of str to str
        By name, how the keys of its tasks begin.
    tell : callable
        Takes how many tasks are done, and how many are submitted.
    """

    def __init__(
        self, client: Client, prefixes: dict[str, str], tell: Callable[[int, int], None]
    ) -> None:
        self._client = client
        self._prefixes = prefixes
        self._tell = tell
        self._n_submitted = 0

    def add(self, name: str, n_tasks: int) -> None:
        """Notice that tasks are submitted."""
        if name in self._prefixes:
            self._n_submitted += n_tasks

    def look(self) -> None:
        """Ask the scheduler, and tell.

        Nothing is told where no task is unfinished: all are done, or none has arrived there yet.
        """
        # A scheduler may refuse to run functions: there is no count then.
        with suppress(ValueError):
            n_left = self._client.run_on_scheduler(
                _n_unfinished, prefixes=tuple(self._prefixes.values())
            )
            if n_left:
                self._tell(max(0, self._n_submitted - n_left), self._n_submitted)


def _n_unfinished(dask_scheduler: Scheduler, prefixes: Collection[str]) -> int:
    starts = tuple(prefixes)
    return sum(
        task.state in UNFINISHED and str(key).startswith(starts)
        for key, task in dask_scheduler.tasks.items()
    )
