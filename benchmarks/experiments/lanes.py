"""Processes that run one call after another, and others for those that a call takes down."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from queue import LifoQueue
from types import TracebackType
from typing import Any, Self

__all__ = ["Lanes"]


class Lanes:
    """Run calls in a few processes, which are kept: the one that was busy last takes the next call.

    A call that takes its process down (no memory, a crash) fails alone: all others run.

    Parameters
    ----------
    n_lanes : int
        Calls at a time.
    executor : callable
        Makes an executor with one worker.
    """

    def __init__(self, n_lanes: int, executor: Callable[[], Executor]) -> None:
        self._executor = executor
        self._idle: LifoQueue[Executor] = LifoQueue()
        for _ in range(n_lanes):
            self._idle.put(executor())
        self._threads = ThreadPoolExecutor(n_lanes)

    def submit(self, call: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Run a call in the next process that is free."""
        return self._threads.submit(self._run, call, *arguments)

    def _run(self, call: Callable[..., Any], *arguments: Any) -> Any:
        executor = self._idle.get()
        try:
            return executor.submit(call, *arguments).result()
        except BrokenExecutor:
            executor = self._executor()
            raise
        finally:
            self._idle.put(executor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Wait for all calls; after an error, such as Ctrl-C, end them and begin no other."""
        if error is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
        self._threads.shutdown()
        while not self._idle.empty():
            self._idle.get().shutdown()
