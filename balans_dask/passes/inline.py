"""The engine of few rows, which one thread corrects; and which engine this process opens."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from balans_dask.passes.engine import Engine
from balans_dask.passes.stage import WATCH_SECONDS
from balans_dask.passes.threads import ThreadsEngine
from balans_dask.passes.workers import Workers, embedded_client, free_bytes

__all__ = [
    "INLINE_ROWS",
    "INLINE_VALUES",
    "InlineEngine",
    "are_few",
    "embedded_engine",
]

INLINE_ROWS, INLINE_VALUES = 2**16, 2**21
"""What one thread corrects as soon as two, such as 40,000 wells of 50 features: it is one partition
or two. Measured from 1,000 to 64,000 wells, and with 500 features."""


class InlineEngine(Engine):
    """Runs every task at once, in the thread that asks; a result stands in the place of its future.

    The tasks are those of any other engine, and so are the results, to the bit. An error is raised
    where its task is asked for.
    """

    def workers(self, limit_bytes: int | None = None) -> Workers:
        """Describe the one worker that there is: this thread."""
        return Workers(1, 1, limit_bytes or free_bytes(), embedded=True)

    def _submit(
        self,
        name: str,
        function: Callable[..., Any],
        rows: list[Any],
        priority: int,
        numbers: Sequence[int],
    ) -> list[Any]:
        followed, results = self._followed, []
        for row in rows:
            results.append(function(*row))
            if followed is None or name not in followed.names:
                continue
            if followed.silent_seconds > WATCH_SECONDS:
                followed.left(len(rows) - len(results))
        return results

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
def embedded_engine(
    few: bool, lazy: bool = False, n_threads: int | None = None
) -> Iterator[Engine]:
    """Open an engine inside this process, for a machine without a cluster.

    Parameters
    ----------
    few : bool
        The rows are too few for a second thread.
    lazy : bool
        Some are Dask's to compute, however few they are.
    n_threads : int or None
        Threads that are asked for, even by few rows.
    """
    if not lazy:
        if few and n_threads is None:
            yield InlineEngine()
            return
        with ThreadsEngine(n_threads) as engine:
            yield engine
        return
    from balans_dask.passes.dask_engine import DaskEngine  # noqa: PLC0415  (others need no Dask)

    with embedded_client() as client:
        yield DaskEngine(client)
