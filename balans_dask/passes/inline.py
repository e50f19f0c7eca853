"""The engine of few rows, which one thread corrects before a scheduler has begun."""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import psutil
from distributed.system import MEMORY_LIMIT

from balans_dask.passes.engine import WATCH_SECONDS, Engine
from balans_dask.passes.watch import OnStage, Stage
from balans_dask.passes.workers import Workers, embedded_client

__all__ = [
    "INLINE_ROWS",
    "INLINE_VALUES",
    "InlineEngine",
    "are_few",
    "embedded_engine",
]

INLINE_ROWS, INLINE_VALUES = 2**16, 2**21
"""What one thread corrects sooner than two threads and a scheduler, such as 40,000 wells of 50
features: measured from 1,000 to 64,000 wells, and with 500 features."""


class InlineEngine(Engine):
    """Runs every task at once, in the thread that asks; a result stands in the place of its future.

    The tasks are those of any other engine, and so are the results, to the bit. An error is raised
    where its task is asked for.
    """

    def __init__(self) -> None:
        self.task_bytes: dict[str, int] = {}
        self.tell: OnStage = lambda stage: None
        self._counted: Collection[str] = ()
        self._stage = Stage("")
        self._told_at = 0.0

    def workers(self, limit_bytes: int | None = None) -> Workers:
        """Describe the one worker that there is: this thread."""
        free = min(psutil.virtual_memory().available, MEMORY_LIMIT)
        return Workers(1, 1, limit_bytes or free, embedded=True)

    def map(
        self,
        name: str,
        function: Callable[..., Any],
        *columns: Iterable[Any],
        priority: int = 0,
        numbers: Sequence[int] | None = None,
    ) -> list[Any]:
        """Run one task for each row of arguments."""
        rows = list(zip(*columns, strict=True))
        if name in self._counted:
            n_total = max(self._stage.n_total, self._stage.n_done + len(rows))
            self._stage = replace(self._stage, n_total=n_total)
        return [self._result(name, function, row) for row in rows]

    def _result(self, name: str, function: Callable[..., Any], row: Sequence[Any]) -> Any:
        result = function(*row)
        if name in self._counted:
            self._stage = replace(self._stage, n_done=self._stage.n_done + 1)
            if time.monotonic() - self._told_at > WATCH_SECONDS:
                self._tell()
        return result

    def compute(self, values: Sequence[Any]) -> list[Any]:
        """Return the values: what is lazy is for Dask."""
        return list(values)

    @contextmanager
    def following(self, stage: Stage, names: Collection[str]) -> Iterator[None]:
        """Say that a stage begins, now and then how far it is, and how far it came."""
        self._stage, self._counted = stage, names
        self._tell()
        try:
            yield
        finally:
            self._counted = ()
        self.tell(replace(self._stage, n_done=self._stage.n_total))

    def _tell(self) -> None:
        self._told_at = time.monotonic()
        self.tell(self._stage)

    def wait(self, futures: Sequence[Any]) -> None:
        """Return: everything is there."""

    def gather(self, futures: Sequence[Any]) -> list[Any]:
        """Return the results."""
        return list(futures)

    def share(self, name: str, value: Any) -> Any:
        """Return the value."""
        return value

    def held(self, futures: Sequence[Any]) -> list[Any]:
        """Return the results."""
        return list(futures)

    def release(self, futures: Iterable[Any] | None = None) -> None:
        """Return: Python collects what nobody holds."""

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Let go of nothing."""
        yield

    def _settle(self, nodes: Sequence[Any]) -> None:
        pass

    def _n_threads(self) -> int:
        return 1


def are_few(n_rows: int, n_values: int) -> bool:
    """Tell whether a table is corrected inline.

    Parameters
    ----------
    n_values : int
        Of all its matrices.
    """
    return n_rows <= INLINE_ROWS and n_values <= INLINE_VALUES


@contextmanager
def embedded_engine(inline: bool) -> Iterator[Engine]:
    """Open an engine inside this process, for a machine without a cluster.

    Parameters
    ----------
    inline : bool
        Without a scheduler, and a thread for each core.
    """
    if inline:
        yield InlineEngine()
        return
    with embedded_client() as client:
        yield Engine(client)
