"""What Dask keeps for a whole process: its start, its log, and what a fork leaves behind."""

import logging
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from threading import Lock
from weakref import WeakSet

from distributed import Client, default_client, utils

from balans_dask.errors import InvalidInputError

__all__ = ["THIS_PROCESS", "require_usable"]


class _Process:
    """Shared by the clients of one process.

    Attributes
    ----------
    starting : Lock
        Dask imports its page while it starts; two threads that do so at once see half a module.
    left_behind : WeakSet of Client
        Clients of the process from which this one was forked: their threads stayed there.
    """

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Forget other threads, which may have held locks when this process was forked."""
        self.starting = Lock()
        self.left_behind: WeakSet[Client] = WeakSet()
        self._lock = Lock()
        self._n_quiet = 0
        self._log = ExitStack()

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Let Dask report only what is fatal while any thread of this process is inside.

        A cluster that silences the log for itself alone would undo it under those that last longer.
        """
        with self._lock:
            if self._n_quiet == 0:
                for root in ("distributed", "bokeh"):
                    self._log.enter_context(utils.silence_logging_cmgr(logging.CRITICAL, root))
            self._n_quiet += 1
        try:
            yield
        finally:
            with self._lock:
                self._n_quiet -= 1
                if self._n_quiet == 0:
                    self._log.close()


THIS_PROCESS = _Process()


def require_usable(client: Client) -> None:
    """Refuse a client of the caller's that nobody here could wait for.

    Raises
    ------
    InvalidInputError
        If it belongs to the event loop that runs here, or was made before this process was forked.
    """
    if client in THIS_PROCESS.left_behind:
        raise InvalidInputError(
            "the current Dask client was left behind when this process was forked, and never "
            "answers here: start processes by multiprocessing.get_context('spawn')"
        )
    # It is not, in any thread but that of its loop.
    if client.asynchronous:
        raise InvalidInputError(
            "the current Dask client is asynchronous, and cannot be waited for in its own event "
            "loop: call this in a thread, as by await asyncio.to_thread(...)"
        )


def _forked() -> None:
    """Begin anew in a child of ``fork``, which has none of its parent's threads."""
    THIS_PROCESS.begin()
    with suppress(ValueError):
        THIS_PROCESS.left_behind.add(default_client())
    # Dask hands large messages to the thread of this pool, and would wait for it for ever.
    utils._offload_executor = ThreadPoolExecutor(1, thread_name_prefix="Dask-Offload")


os.register_at_fork(after_in_child=_forked)
