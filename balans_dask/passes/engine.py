"""The one way work reaches Dask: named futures, mapped over partitions and reduced by a tree.

Tasks are pure functions of their arguments, so a lost worker costs time and never a result: the
scheduler runs them again. Nothing is scattered, pinned or kept in an actor.
"""

import functools
import logging
import warnings
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, ParamSpec, TypeVar
from uuid import uuid4
from weakref import WeakSet

import dask
import psutil
from distributed import Client, Future, KilledWorker
from distributed.client import _wait
from distributed.system import MEMORY_LIMIT

from balans_dask.io.sources import LazySlice
from balans_dask.kernels._blas import single_threaded_blas
from balans_dask.parameters import WORKER_TIMEOUT_SECONDS
from balans_dask.passes.task_bytes import COLLECTED_NODES, leaves_ahead
from balans_dask.passes.watch import (
    Followed,
    OnStage,
    Stage,
    WorkerWatch,
    blamed_tasks,
    killed_workers,
    scheduler_errors,
)
from balans_dask.passes.workers import Workers
from balans_dask.tiling import largest_power_of_two

__all__ = [
    "Engine",
    "Leaves",
    "task",
]

logger = logging.getLogger(__name__)

WATCH_SECONDS = 2.0
"""How often to look whether there are workers while waiting for results."""
SEND_SECONDS = 0.002
"""How long after a message to the scheduler the next one may leave. Dask's own 10 ms are for many
small graphs; here each waits for the results of the one before."""
COPY_SECONDS = 10.0
"""How long a shared value may take to reach all workers before tasks are submitted anyway."""

P = ParamSpec("P")
R = TypeVar("R")


def task(function: Callable[P, R]) -> Callable[P, R]:
    """Mark a module-level function as the body of a Dask task: it runs with one BLAS thread."""

    @functools.wraps(function)
    def body(*args: P.args, **kwargs: P.kwargs) -> R:
        with single_threaded_blas():
            return function(*args, **kwargs)

    return body


@task
def _same(value: Any) -> Any:
    return value


def _is_lazy(value: Any) -> bool:
    if isinstance(value, list):
        return any(_is_lazy(element) for element in value)
    return isinstance(value, LazySlice)


def _has_lazy(rows: Iterable[Sequence[Any]]) -> bool:
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


class Engine:
    """A Dask client with this run's task names.

    Parameters
    ----------
    client : distributed.Client
        Embedded, local processes or a cluster: the code above does not know.
    worker_timeout_seconds : float
        Give up when there has been no worker for so long.
    on_wait : callable
        Told in a line when workers are gone, silent or there again.
    check : callable
        Called now and then while results are waited for; raises if nobody will bring them.

    Attributes
    ----------
    task_bytes : dict
        Memory planned for a task of every pass, for error messages.
    tell : callable
        Takes a ``Stage`` of what the run is doing; ``telling`` sets who listens.
    """

    def __init__(
        self,
        client: Client,
        worker_timeout_seconds: float = WORKER_TIMEOUT_SECONDS,
        on_wait: Callable[[str], None] = logger.warning,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._client = client
        self._sender = client.scheduler_comm
        if self._sender is not None:
            self._interval_before = self._sender.interval
            self._sender.interval = min(self._interval_before, SEND_SECONDS)
        self._check = check
        self._watch = WorkerWatch(client, worker_timeout_seconds, on_wait)
        self.task_bytes: dict[str, int] = {}
        self._run = uuid4().hex[:8]
        self._n_calls = 0
        self._followed: Followed | None = None
        self.tell: OnStage = _to_nobody
        self._futures: WeakSet[Future] = WeakSet()

    @property
    def client(self) -> Client:
        """The Dask client."""
        return self._client

    def workers(self, limit_bytes: int | None = None) -> Workers:
        """Describe the workers that there are now.

        Parameters
        ----------
        limit_bytes : int or None
            Memory that a worker may use, if less than it says itself. A worker without a limit may
            use what this machine has left.
        """
        if not self._client.nthreads():
            # An adaptive cluster starts workers when there is work.
            self.wait(self.map("hello", _same, [None]))
        free = min(psutil.virtual_memory().available, MEMORY_LIMIT)
        infos = list(self._client.scheduler_info(n_workers=-1)["workers"].values())
        limits = [info["memory_limit"] or limit_bytes or free for info in infos]
        addresses = self._client.nthreads()
        return Workers(
            n_workers=max(1, len(infos)),
            threads_per_worker=max((info["nthreads"] for info in infos), default=1),
            limit_bytes=min([*limits, limit_bytes]) if limit_bytes else min(limits, default=free),
            embedded=bool(addresses)
            and all(str(address).startswith("inproc:") for address in addresses),
        )

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
            Arguments; the worker gets the values of futures and Dask arrays among them.
        priority : int
            Of two tasks that could run, that of higher priority does.
        numbers : sequence of int or None
            Number of every task, such as its partition; ``None`` to count them.
        """
        rows = list(zip(*columns, strict=True))
        self._n_calls += 1
        numbers = range(len(rows)) if numbers is None else numbers
        keys = [f"balans-{name}-{self._run}-{self._n_calls}-{i}" for i in numbers]
        futures: list[Future] = []
        if not rows:
            return futures
        if self._followed is not None:
            self._followed.add(name, len(rows))
        if _has_lazy(rows):
            futures = self._map_lazily(function, rows, keys, priority)
            self._futures.update(futures)
            return futures
        with warnings.catch_warnings():
            # A numpy array of the user's is sent to the workers that correct it.
            warnings.filterwarnings("ignore", "Sending large graph", UserWarning)
            futures = self._client.map(
                function, *zip(*rows, strict=True), key=keys, pure=False, priority=priority
            )
        self._futures.update(futures)
        return futures

    def _map_lazily(
        self, function: Callable[..., Any], rows: list[Any], keys: list[str], priority: int
    ) -> list[Future]:
        """Submit one graph, in which Dask computes a slice just before the task that wants it."""
        body = dask.delayed(function, pure=False)
        tasks = [body(*row, dask_key_name=key) for row, key in zip(rows, keys, strict=True)]
        futures: list[Future] = self._client.compute(tasks, priority=priority)
        return futures

    def compute(self, values: Sequence[Any]) -> list[Any]:
        """Bring the values of Dask arrays to the driver; values of any other kind stay as they are.

        Parts that several arrays have in common are computed once.

        Raises
        ------
        RunError
            As ``gather`` does.
        """
        lazy = [value for value in values if dask.is_dask_collection(value)]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sending large graph", UserWarning)
            futures: list[Future] = self._client.compute(lazy)
        self._futures.update(futures)
        computed = iter(self.take(futures))
        return [next(computed) if dask.is_dask_collection(value) else value for value in values]

    def wait(self, futures: Sequence[Future]) -> None:
        """Wait until results are there, on the workers.

        Raises
        ------
        RunError
            If there are no workers for too long, they are given up, or the scheduler is gone.
        """
        with scheduler_errors():
            while True:
                try:
                    # The public wait takes the current client, which is a setting of all threads.
                    self._client.sync(_wait, list(futures), timeout=WATCH_SECONDS)
                except TimeoutError:
                    self._check()
                    self._watch.look()
                    if self._followed is not None:
                        self._followed.look()
                else:
                    self._watch.back()
                    return

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
        latest = stage

        def tell(n_done: int, n_submitted: int) -> None:
            nonlocal latest
            n_total = max(stage.n_total, stage.n_done + n_submitted)
            latest = replace(stage, n_done=stage.n_done + n_done, n_total=n_total)
            self.tell(latest)

        self.tell(stage)
        prefixes = {name: f"balans-{name}-{self._run}-" for name in names}
        self._followed = Followed(self._client, prefixes, tell)
        try:
            yield
        finally:
            self._followed = None
        self.tell(replace(latest, n_done=latest.n_total))

    @contextmanager
    def telling(self, listener: OnStage) -> Iterator[None]:
        """Let a listener know of every ``Stage`` of what happens inside."""
        before, self.tell = self.tell, listener
        try:
            yield
        finally:
            self.tell = before

    def gather(self, futures: Sequence[Future]) -> list[Any]:
        """Bring results to the driver, raising what a task raised.

        Raises
        ------
        RunError
            If there are no workers for too long, a task kills them one after another, or the
            scheduler is gone.
        """
        self.wait(futures)
        try:
            with scheduler_errors():
                return list(self._client.gather(list(futures)))
        except KilledWorker as error:
            blamed = blamed_tasks(self._client)
            raise killed_workers(error, blamed, self.task_bytes) from error

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

    def share(self, name: str, value: Any) -> Future:
        """Hand one large value to many tasks: sent once, and recomputable if its worker dies.

        Every worker gets a copy at once, as Dask begins a task only where one of its inputs is: all
        tasks of a small run would go to one worker.
        """
        [shared] = self.map(name, _same, [value])
        self.wait([shared])
        # Dask gives up when workers come or go meanwhile, and never does while its memory manager
        # drops copies as fast as they come: tasks then fetch the value themselves.
        with scheduler_errors(), suppress(AssertionError, ValueError, TimeoutError):
            self._client.replicate([shared], callback_timeout=COPY_SECONDS)
        return shared

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
        is_one_graph = _has_lazy(leaves.rows)
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

    def _settle(self, nodes: Sequence[Future]) -> None:
        """Wait for nodes, and let go; raises what a task raised, before more are submitted."""
        self.wait(nodes)
        if any(node.status == "error" for node in nodes):
            self.gather(nodes)
        self.release(nodes)

    def _n_threads(self) -> int:
        """Tasks that can run at once, now."""
        with scheduler_errors():
            n_threads: dict[str, int] = self._client.nthreads()
        return max(1, sum(n_threads.values()))

    def held(self, futures: Sequence[Future]) -> list[Future]:
        """Return second handles on results, which stay until both are released."""
        handles = [Future(future.key, self._client) for future in futures]
        self._futures.update(handles)
        return handles

    def release(self, futures: Iterable[Future] | None = None) -> None:
        """Let results go as soon as no other task needs them.

        Dask would wait for Python to collect the futures, which hold each other in cycles.

        Parameters
        ----------
        futures : iterable of Future or None
            ``None`` for all of this engine.
        """
        for future in list(self._futures) if futures is None else futures:
            future.release()

    def leave(self) -> None:
        """Let go of all results, and leave the client as it was."""
        self.release()
        if self._sender is not None:
            self._sender.interval = self._interval_before

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
