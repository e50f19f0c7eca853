"""What a pass asks of an engine: tasks mapped over partitions, and reduced by a tree.

Tasks are pure functions of their arguments, so that any engine may run them, and again.
"""

import functools
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any, ParamSpec, TypeAlias, TypeVar
from weakref import WeakSet

from balans_dask.io.sources import LazySlice
from balans_dask.kernels._blas import single_threaded_blas
from balans_dask.passes.stage import Followed, OnStage, Stage
from balans_dask.passes.task_bytes import COLLECTED_NODES, leaves_ahead
from balans_dask.passes.workers import Workers
from balans_dask.tiling import largest_power_of_two

__all__ = [
    "Engine",
    "Future",
    "Leaves",
    "has_lazy",
    "task",
]

Future: TypeAlias = Any
"""The result of a task: one of Dask's, which may still be on its way, or the result itself."""
P = ParamSpec("P")
R = TypeVar("R")


def task(function: Callable[P, R]) -> Callable[P, R]:
    """Mark a module-level function as the body of a task: it runs with one BLAS thread."""

    @functools.wraps(function)
    def body(*args: P.args, **kwargs: P.kwargs) -> R:
        with single_threaded_blas():
            return function(*args, **kwargs)

    return body


def _is_lazy(value: Any) -> bool:
    if isinstance(value, list):
        return any(_is_lazy(element) for element in value)
    return isinstance(value, LazySlice)


def has_lazy(rows: Iterable[Sequence[Any]]) -> bool:
    """Tell whether Dask is to compute some of the arguments of tasks."""
    return any(_is_lazy(value) for row in rows for value in row)


@dataclass(frozen=True)
class Leaves:
    """Tasks whose results a reduction combines.

    Attributes
    ----------
    name : str
        As ``Engine.map`` takes it.
    function : callable
        Made by ``task``.
    rows : list of tuple
        Arguments of every task.
    """

    name: str
    function: Callable[..., Any]
    rows: list[tuple[Any, ...]]


class Engine(ABC):
    """Where the tasks of a run are done.

    Attributes
    ----------
    task_bytes : dict
        Memory planned for a task of every pass, for error messages.
    tell : callable
        Takes a ``Stage`` of what the run is doing; ``telling`` sets who listens.
    """

    def __init__(self) -> None:
        self.task_bytes: dict[str, int] = {}
        self.tell: OnStage = _to_nobody
        self._followed: Followed | None = None
        self._futures: WeakSet[Future] = WeakSet()

    @abstractmethod
    def workers(self, limit_bytes: int | None = None) -> Workers:
        """Describe the workers that there are now.

        Parameters
        ----------
        limit_bytes : int or None
            Memory that a worker may use, if less than it says itself. A worker without a limit may
            use what this machine has left.
        """

    def map(
        self,
        name: str,
        function: Callable[..., Any],
        *columns: Iterable[Any],
        priority: int = 0,
        numbers: Sequence[int] | None = None,
    ) -> list[Future]:
        """Submit one task for each row of arguments, as ``map`` does.

        Parameters
        ----------
        name : str
            Shown on the dashboard as ``balans-NAME``.
        function : callable
            Made by ``task``.
        *columns : iterable
            Arguments; a task gets the values of futures and Dask arrays among them, also in lists
            and tuples.
        priority : int
            Of two tasks that could run, that of higher priority does.
        numbers : sequence of int or None
            Number of every task, such as its partition; ``None`` to count them.
        """
        rows = list(zip(*columns, strict=True))
        if self._followed is not None:
            self._followed.add(name, len(rows))
        numbers = range(len(rows)) if numbers is None else numbers
        return self._submit(name, function, rows, priority, numbers)

    @abstractmethod
    def _submit(
        self,
        name: str,
        function: Callable[..., Any],
        rows: list[Any],
        priority: int,
        numbers: Sequence[int],
    ) -> list[Future]:
        """Submit one task for each row of arguments."""

    def compute(self, values: Sequence[Any]) -> list[Any]:
        """Bring the values of Dask arrays to the driver; values of any other kind stay as they are.

        Parts that several arrays have in common are computed once.

        Raises
        ------
        RunError
            As ``gather`` does.
        """
        # Who gives lazy values opens an engine of Dask.
        return list(values)

    @abstractmethod
    def wait(self, futures: Sequence[Future]) -> None:
        """Wait until results are there, on the workers.

        Raises
        ------
        RunError
            If there are no workers for too long, they are given up, or the scheduler is gone.
        """

    @contextmanager
    def following(self, stage: Stage, names: Collection[str]) -> Iterator[None]:
        """Say that a stage begins, now and then how far it is, and how far it came.

        Parameters
        ----------
        stage : Stage
            As it begins.
        names : collection of str
            Of the passes whose tasks count, as ``map`` takes them; more of them than
            ``stage.n_total`` raise it.
        """
        self._followed = followed = Followed(stage, names, self.tell)
        try:
            yield
        finally:
            self._followed = None
        followed.end()

    @contextmanager
    def telling(self, listener: OnStage) -> Iterator[None]:
        """Let a listener know of every ``Stage`` of what happens inside."""
        before, self.tell = self.tell, listener
        try:
            yield
        finally:
            self.tell = before

    @abstractmethod
    def gather(self, futures: Sequence[Future]) -> list[Any]:
        """Bring results to the driver, raising what a task raised.

        Raises
        ------
        RunError
            If there are no workers for too long, a task kills them one after another, or the
            scheduler is gone.
        """

    def take(self, futures: Sequence[Future]) -> list[Any]:
        """Bring results to the driver for good: they leave the workers.

        Raises
        ------
        RunError
            As ``gather`` does.
        """
        values = self.gather(futures)
        self.release(futures)
        return values

    @abstractmethod
    def share(self, name: str, value: Any) -> Future:
        """Hand one large value to many tasks: sent once, and recomputable if its worker dies."""

    def leaves(self, name: str, function: Callable[..., Any], *columns: Iterable[Any]) -> Leaves:
        """Say what is reduced: the results of tasks as ``map`` takes them, submitted bit by bit."""
        return Leaves(name, function, list(zip(*columns, strict=True)))

    def reduce(
        self,
        name: str,
        leaves: Leaves,
        combine: Callable[[list[Any]], Any],
        arity: int = 8,
    ) -> Future:
        """Combine results along one tree until a single future is left.

        Nodes are combined as soon as they are there, before further leaves are computed, and are
        not held by the driver. Workers go on with the leaves that they were given while a busy
        scheduler does not come to ask for their sums, so they are given no more than
        ``leaves_ahead`` of those that are combined: else all leaves would be in memory at once.

        Parameters
        ----------
        combine : callable
            Made by ``task``; takes consecutive nodes of one level, in order.
        arity : int
            Nodes combined by one task: a power of two, so that a pairwise sum inside ``combine``
            follows the same binary tree whatever the number of partitions.
        """
        nodes = self._last_nodes(name, leaves, combine, arity)
        [root] = nodes if len(nodes) == 1 else self._next_level(name, combine, nodes, arity)
        return root

    def collect(
        self,
        name: str,
        leaves: Leaves,
        combine: Callable[[list[Any]], Any],
        arity: int = COLLECTED_NODES,
    ) -> Any:
        """Reduce to a value on the driver, which itself combines the last few nodes."""
        return combine(self.take(self._last_nodes(name, leaves, combine, arity)))

    def _last_nodes(
        self, name: str, leaves: Leaves, combine: Callable[[list[Any]], Any], arity: int
    ) -> list[Future]:
        """Reduce to at most ``arity`` nodes of one level, in order."""
        levels: list[list[Future]] = [[]]
        ahead: deque[list[Future]] = deque()
        start, n = 0, len(leaves.rows)
        # What leaves of one graph have in common is computed once: lazy ones are not divided.
        is_one_graph = has_lazy(leaves.rows)
        while start < n:
            # Workers come and go.
            n_ahead = leaves_ahead(arity, self._n_threads())
            divided = n > n_ahead and not is_one_graph
            n_leaves = max(arity, largest_power_of_two(n_ahead // 3)) if divided else n
            while ahead and (len(ahead) + 1) * n_leaves > n_ahead:
                self._settle(ahead.popleft())
            numbers = range(start, min(start + n_leaves, n))
            columns = zip(*leaves.rows[start : numbers.stop], strict=True)
            levels[0] += self.map(leaves.name, leaves.function, *columns, numbers=numbers)
            start = numbers.stop
            ahead.append(self.held(self._climb(name, levels, combine, arity, start == n)))
        for nodes in ahead:
            self.release(nodes)
        return levels[-1]

    def _climb(
        self,
        name: str,
        levels: list[list[Future]],
        combine: Callable[[list[Any]], Any],
        arity: int,
        is_end: bool,
    ) -> list[Future]:
        """Combine what is complete, or at the end all but the last few; return the highest."""
        made: list[Future] = []
        for depth in count():
            level, is_top = levels[depth], depth == len(levels) - 1
            n_combined = len(level) if is_end else len(level) // arity * arity
            if (is_top and len(level) <= arity) if is_end else not n_combined:
                return made
            made = self._next_level(name, combine, level[:n_combined], arity)
            levels[depth] = level[n_combined:]
            if is_top:
                levels.append([])
            levels[depth + 1] += made
        raise AssertionError

    def _next_level(
        self, name: str, combine: Callable[[list[Any]], Any], level: list[Future], arity: int
    ) -> list[Future]:
        groups = [level[i : i + arity] for i in range(0, len(level), arity)]
        above = self.map(name, combine, groups, priority=1)
        self.release(level)
        return above

    @abstractmethod
    def _settle(self, nodes: Sequence[Future]) -> None:
        """Wait for nodes, and let go; raises what a task raised, before more are submitted."""

    @abstractmethod
    def _n_threads(self) -> int:
        """Tasks that can run at once, now."""

    @abstractmethod
    def held(self, futures: Sequence[Future]) -> list[Future]:
        """Return second handles on results, which stay until both are released."""

    @abstractmethod
    def release(self, futures: Iterable[Future] | None = None) -> None:
        """Let results go as soon as no other task needs them.

        Parameters
        ----------
        futures : iterable of Future or None
            ``None`` for all of this engine.
        """

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Let go, at the end, of every result that was asked for inside."""
        outside = set(self._futures)
        try:
            yield
        finally:
            self.release(set(self._futures) - outside)


def _to_nobody(stage: Stage) -> None:
    pass
