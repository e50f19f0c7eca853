"""One BLAS thread a task: Dask owns the threads, and a sum must not depend on their number."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import scipy.linalg  # noqa: F401  (loads SciPy's own BLAS before the controller looks for them)
from threadpoolctl import ThreadpoolController

__all__ = ["blas_fingerprint", "single_threaded_blas"]


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


def _set_threads(library: Any, n_threads: int) -> None:
    """Set the size of a pool from whichever thread the guard is in.

    threadpoolctl obeys only the first thread that ever set it, so the claim is dropped first; the
    guard's own lock keeps threads from fighting.
    """
    drop_claim = getattr(library, "clear_controlling_thread", None)
    if drop_claim is not None:
        drop_claim(force=True)
    library.set_num_threads(n_threads)


class _Guard:
    """Counts the users of a process-wide setting and restores it after the last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._before: list[tuple[object, int]] = []

    def enter(self) -> None:
        with self._lock:
            libraries = _controller().lib_controllers
            if self._users == 0:
                self._before = [(library, library.num_threads) for library in libraries]
            self._users += 1
            for library in libraries:
                _set_threads(library, 1)

    def leave(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                for library, n_threads in self._before:
                    _set_threads(library, n_threads)


_GUARD = _Guard()


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Limit BLAS and OpenMP to one thread while any thread of this process is inside.

    A plain ``threadpool_limits`` in each task would let the first task to end undo the limit under
    the others.
    """
    _GUARD.enter()
    try:
        yield
    finally:
        _GUARD.leave()


def blas_fingerprint() -> list[str]:
    """Name the BLAS builds and the processor types that decide the last bits of a product."""
    return sorted(
        " ".join(str(info.get(key)) for key in ("internal_api", "version", "architecture"))
        for info in _controller().info()
        if info.get("user_api") == "blas"
    )
