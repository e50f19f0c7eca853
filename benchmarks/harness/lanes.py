"""Processes that run one call after another, and others for those that a call takes down."""

import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.connection import wait
from queue import LifoQueue
from types import TracebackType
from typing import Any, Self

import psutil

__all__ = ["Lanes", "end_with_parent"]

LOOK_SECONDS = 0.05


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
        self._executor, self._n_lanes = executor, n_lanes
        self._idle: LifoQueue[Executor] = LifoQueue()
        for _ in range(n_lanes):
            self._idle.put(executor())
        self._at_work: set[Executor] = set()
        self._threads = ThreadPoolExecutor(n_lanes)

    def submit(self, call: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Run a call in the next process that is free."""
        return self._threads.submit(self._run, call, *arguments)

    def _run(self, call: Callable[..., Any], *arguments: Any) -> Any:
        executor = self._idle.get()
        try:
            executor = self._alive(executor)
            self._at_work.add(executor)
            return executor.submit(call, *arguments).result()
        finally:
            self._at_work.discard(executor)
            self._idle.put(executor)

    def _alive(self, executor: Executor) -> Executor:
        """Return it, or another one where its process has died."""
        try:
            executor.submit(int).result()
        except BrokenExecutor:
            return self._executor()
        return executor

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Wait for all calls; after an error, such as Ctrl-C, end them and begin no other."""
        self._threads.shutdown(wait=error is None, cancel_futures=error is not None)
        # Until every lane is idle, as the process of a call may be just starting.
        while self._idle.qsize() < self._n_lanes:
            for executor in list(self._at_work):
                _terminate(executor)
            time.sleep(LOOK_SECONDS)
        while not self._idle.empty():
            self._idle.get().shutdown()


def _terminate(executor: Executor) -> None:
    """End its process; Python has a public way from 3.14 on."""
    for process in list((getattr(executor, "_processes", None) or {}).values()):
        _kill_all_of(process.pid)
        process.terminate()


def end_with_parent() -> None:
    """Let this process and its own end when the one that started it does, in whatever way.

    For initializers of executors.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_after, args=(parent.sentinel,), daemon=True).start()


def _end_after(sentinel: int) -> None:
    wait([sentinel])
    _kill_all_of(os.getpid())
    os._exit(1)


def _kill_all_of(pid: int) -> None:
    """Kill the processes that one has begun."""
    with suppress(psutil.Error):
        for begun in psutil.Process(pid).children(recursive=True):
            with suppress(psutil.Error):
                begun.kill()
