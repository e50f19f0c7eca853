"""An engine without Dask: every task at once, in this thread, and the time that tasks take."""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from balans_dask.passes.engine import Engine

__all__ = ["InlineEngine"]


class InlineEngine(Engine):
    """Runs what a Dask engine would submit; a future is the value itself.

    Attributes
    ----------
    seconds : float
        Processor time inside tasks, so that other work on the machine counts less.
    n_tasks : int
    """

    def __init__(self) -> None:
        self.task_bytes: dict[str, int] = {}
        self.seconds = 0.0
        self.n_tasks = 0

    def map(
        self,
        name: str,
        function: Callable[..., Any],
        *columns: Iterable[Any],
        priority: int = 0,
        numbers: Sequence[int] | None = None,
    ) -> list[Any]:
        """Run one task for each row of arguments."""
        found = []
        for row in zip(*columns, strict=True):
            start = time.thread_time()
            found.append(function(*row))
            self.seconds += time.thread_time() - start
            self.n_tasks += 1
        return found

    def wait(self, futures: Sequence[Any]) -> None:
        """Return at once."""

    def gather(self, futures: Sequence[Any]) -> list[Any]:
        """Return the values."""
        return list(futures)

    def share(self, name: str, value: Any) -> Any:
        """Return the value: there is one worker."""
        return value

    @contextmanager
    def following(self, names: Collection[str], tell: Callable[[int, int], None]) -> Iterator[None]:
        """Say nothing: nobody waits."""
        yield

    def release(self, futures: Iterable[Any] | None = None) -> None:
        """Let Python collect what nobody holds."""
