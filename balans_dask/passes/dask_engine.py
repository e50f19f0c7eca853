"""The one way work reaches Dask: named futures, which nobody scatters, pins or keeps in an actor.

A lost worker costs time and never a result: the scheduler runs its tasks again.
"""

import logging
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any
from uuid import uuid4

import dask
from distributed import Client, Future, KilledWorker
from distributed.client import _wait

from balans_dask.parameters import WORKER_TIMEOUT_SECONDS
from balans_dask.passes.engine import Engine, has_lazy, task
from balans_dask.passes.stage import WATCH_SECONDS
from balans_dask.passes.watch import (
    WorkerWatch,
    blamed_tasks,
    count_unfinished,
    killed_workers,
    scheduler_errors,
)
from balans_dask.passes.workers import Workers, free_bytes

__all__ = ["DaskEngine"]

logger = logging.getLogger(__name__)

SEND_SECONDS = 0.002
"""How long after a message to the scheduler the next one may leave. Dask's own 10 ms are for many
small graphs; here each waits for the results of the one before."""
COPY_SECONDS = 10.0
"""How long a shared value may take to reach all workers before tasks are submitted anyway."""


@task
def _same(value: Any) -> Any:
    return value


class DaskEngine(Engine):
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
    """

    def __init__(
        self,
        client: Client,
        worker_timeout_seconds: float = WORKER_TIMEOUT_SECONDS,
        on_wait: Callable[[str], None] = logger.warning,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__()
        self._client = client
        self._sender = client.scheduler_comm
        if self._sender is not None:
            self._interval_before = self._sender.interval
            self._sender.interval = min(self._interval_before, SEND_SECONDS)
        self._check = check
        self._watch = WorkerWatch(client, worker_timeout_seconds, on_wait)
        self._run = uuid4().hex[:8]
        self._n_calls = 0

    @property
    def client(self) -> Client:
        """The Dask client."""
        return self._client

    def workers(self, limit_bytes: int | None = None) -> Workers:
        """Describe the workers that there are now."""
        if not self._client.nthreads():
            # An adaptive cluster starts workers when there is work.
            self.wait(self.map("hello", _same, [None]))
        free = free_bytes()
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

    def _submit(
        self,
        name: str,
        function: Callable[..., Any],
        rows: list[Any],
        priority: int,
        numbers: Sequence[int],
    ) -> list[Future]:
        self._n_calls += 1
        keys = [f"balans-{name}-{self._run}-{self._n_calls}-{i}" for i in numbers]
        futures: list[Future] = []
        if not rows:
            return futures
        if has_lazy(rows):
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
        """
        lazy = [value for value in values if dask.is_dask_collection(value)]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sending large graph", UserWarning)
            futures: list[Future] = self._client.compute(lazy)
        self._futures.update(futures)
        computed = iter(self.take(futures))
        return [next(computed) if dask.is_dask_collection(value) else value for value in values]

    def wait(self, futures: Sequence[Future]) -> None:
        """Wait until results are there, on the workers."""
        with scheduler_errors():
            while True:
                try:
                    # The public wait takes the current client, which is a setting of all threads.
                    self._client.sync(_wait, list(futures), timeout=WATCH_SECONDS)
                except TimeoutError:
                    self._check()
                    self._watch.look()
                    self._look()
                else:
                    self._watch.back()
                    return

    def _look(self) -> None:
        """Ask how far the stage is; nothing is said where no task is known to be left."""
        if self._followed is not None:
            prefixes = [f"balans-{name}-{self._run}-" for name in self._followed.names]
            n_left = count_unfinished(self._client, prefixes)
            if n_left:
                self._followed.left(n_left)

    def gather(self, futures: Sequence[Future]) -> list[Any]:
        """Bring results to the driver, raising what a task raised."""
        self.wait(futures)
        try:
            with scheduler_errors():
                return list(self._client.gather(list(futures)))
        except KilledWorker as error:
            blamed = blamed_tasks(self._client)
            raise killed_workers(error, blamed, self.task_bytes) from error

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
