"""The engine of this process: some threads that take tasks in turn, and no scheduler."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from contextlib import contextmanager
from threading import Lock
from types import TracebackType
from typing import Any

import joblib

from balans_dask.passes.engine import Engine
from balans_dask.passes.stage import WATCH_SECONDS
from balans_dask.passes.workers import Workers, embedded_client, free_bytes

__all__ = ["ThreadsEngine", "embedded_engine"]


class _Handle:
    """A hold on the result of a task; the result goes with the last hold on it."""

    def __init__(self, future: "Future[Any] | None") -> None:
        self.future = future


class _Work:
    """A task that is done once all that it takes is there."""

    def __init__(self, function: Callable[..., Any], row: Sequence[Any]) -> None:
        self.future: Future[Any] = Future()
        self._function = function
        self._row: Any = [_bare(value) for value in row]

    def inputs(self) -> "set[Future[Any]]":
        """Return the results that it takes."""
        found: set[Future[Any]] = set()
        _find(self._row, found)
        return found

    def do(self) -> None:
        """Call the function; what it raises is raised where the result is asked for."""
        future, row, function = self.future, self._row, self._function
        # Results that others wait for would hold what this task has taken, and left.
        del self.future, self._row, self._function
        try:
            value = function(*map(_filled, row))
        except BaseException as error:  # noqa: BLE001  (whoever asks for the result decides)
            future.set_exception(error)
        else:
            future.set_result(value)


class ThreadsEngine(Engine):
    """Runs tasks in threads of this process.

    The tasks are those of any other engine, and so are the results, to the bit. A context manager:
    at its end, tasks that have not begun never will.

    Parameters
    ----------
    n_threads : int or None
        ``None`` for one a core.
    """

    def __init__(self, n_threads: int | None = None) -> None:
        super().__init__()
        self._n = n_threads or _n_cores()
        self._pool = ThreadPoolExecutor(self._n, thread_name_prefix="balans")
        self._lock = Lock()
        self._n_left: Counter[str] = Counter()

    def __enter__(self) -> "ThreadsEngine":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def workers(self, limit_bytes: int | None = None) -> Workers:
        """Describe the one worker that there is: this process."""
        return Workers(1, self._n, limit_bytes or free_bytes(), embedded=True)

    def _submit(
        self,
        name: str,
        function: Callable[..., Any],
        rows: list[Any],
        priority: int,
        numbers: Sequence[int],
    ) -> list[_Handle]:
        handles = []
        with self._lock:
            self._n_left[name] += len(rows)
        for row in rows:
            work = _Work(function, row)
            handles.append(self._handle(work.future))
            self._await(name, work)
        return handles

    def _await(self, name: str, work: _Work) -> None:
        """Hand a task to the threads when all that it takes is there."""
        inputs = work.inputs()
        n_missing = len(inputs) + 1

        def is_there(_: "Future[Any] | None") -> None:
            nonlocal n_missing
            with self._lock:
                n_missing -= 1
                if n_missing:
                    return
            try:
                self._pool.submit(self._do, name, work)
            except RuntimeError:
                # The run is over: nobody asks for the result.
                work.future.set_exception(CancelledError())

        for future in inputs:
            future.add_done_callback(is_there)
        is_there(None)

    def _do(self, name: str, work: _Work) -> None:
        work.do()
        with self._lock:
            self._n_left[name] -= 1

    def wait(self, futures: Sequence[_Handle]) -> None:
        """Wait until results are there."""
        waited = [handle.future for handle in futures if handle.future is not None]
        while wait_for(waited, timeout=WATCH_SECONDS).not_done:
            followed = self._followed
            if followed is not None:
                n_left = sum(self._n_left[name] for name in followed.names)
                if n_left:
                    followed.left(n_left)

    def gather(self, futures: Sequence[_Handle]) -> list[Any]:
        """Return results, raising what a task raised."""
        self.wait(futures)
        return [_filled(_bare(handle)) for handle in futures]

    def share(self, name: str, value: Any) -> _Handle:
        """Return a hold on the value."""
        future: Future[Any] = Future()
        future.set_result(value)
        return self._handle(future)

    def held(self, futures: Sequence[_Handle]) -> list[_Handle]:
        """Return second holds on results."""
        return [self._handle(_bare(handle)) for handle in futures]

    def release(self, futures: Iterable[_Handle] | None = None) -> None:
        """Let results go as soon as no other task needs them."""
        for handle in list(self._futures) if futures is None else futures:
            handle.future = None

    def _handle(self, future: "Future[Any]") -> _Handle:
        handle = _Handle(future)
        self._futures.add(handle)
        return handle

    def _settle(self, nodes: Sequence[_Handle]) -> None:
        self.gather(nodes)
        self.release(nodes)

    def _n_threads(self) -> int:
        return self._n


@contextmanager
def embedded_engine(lazy: bool = False, n_threads: int | None = None) -> Iterator[Engine]:
    """Open an engine inside this process, for a machine without a cluster.

    Parameters
    ----------
    lazy : bool
        Some of the rows are Dask's to compute.
    n_threads : int or None
        ``None`` for one a core.
    """
    if not lazy:
        with ThreadsEngine(n_threads) as engine:
            yield engine
        return
    from balans_dask.passes.dask_engine import DaskEngine  # noqa: PLC0415  (others need no Dask)

    with embedded_client() as client:
        yield DaskEngine(client)


def _n_cores() -> int:
    """Cores that this process may use, also in a container."""
    return int(joblib.cpu_count())


def _bare(value: Any) -> Any:
    """Put results in the place of holds on them, also in lists."""
    if isinstance(value, _Handle):
        if value.future is None:
            raise CancelledError("a result was let go before it was asked for")
        return value.future
    if type(value) in (list, tuple):
        return type(value)(map(_bare, value))
    return value


def _filled(value: Any) -> Any:
    """Put values in the place of results."""
    if isinstance(value, Future):
        return value.result()
    if type(value) in (list, tuple):
        return type(value)(map(_filled, value))
    return value


def _find(value: Any, found: "set[Future[Any]]") -> None:
    if isinstance(value, Future):
        found.add(value)
    elif type(value) in (list, tuple):
        for element in value:
            _find(element, found)
