"""The workers of this process: what a run may use, their start, and what a fork leaves behind."""

import logging
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING
from weakref import WeakSet

import psutil

from balans_dask.errors import InvalidInputError

if TYPE_CHECKING:
    from distributed import Client

__all__ = [
    "QUIET_DASHBOARD",
    "THIS_PROCESS",
    "USABLE_SHARE",
    "USABLE_SHARE_EMBEDDED",
    "Workers",
    "embedded_client",
    "free_bytes",
    "require_usable",
]


USABLE_SHARE = 0.6
"""Dask begins to spill at this share of a worker's limit."""
USABLE_SHARE_EMBEDDED = 0.9
"""An embedded worker has no limit that Dask watches."""
CONTAINER_LIMITS = tuple(
    Path("/sys/fs/cgroup", name)
    for name in (
        "memory/memory.limit_in_bytes", "memory/memory.soft_limit_in_bytes",
        "memory.max", "memory.high", "memory.low",
    )
)  # fmt: skip
"""Files in which Linux says what a container may use, if there is one: those that Dask reads."""
QUIET_DASHBOARD = "127.0.0.1:0"
"""Dask always opens a page: on loopback, and on a port that no other run can hold."""


@dataclass(frozen=True)
class Workers:
    """What the run may use.

    Attributes
    ----------
    n_workers, threads_per_worker : int
    limit_bytes : int
        Memory of one worker; of the whole process where workers are embedded in the driver.
    embedded : bool
        Workers are threads of the driver's process.
    """

    n_workers: int
    threads_per_worker: int
    limit_bytes: int
    embedded: bool

    @property
    def n_threads(self) -> int:
        """Tasks that run at once."""
        return self.n_workers * self.threads_per_worker

    @property
    def usable_share(self) -> float:
        """Share of the limit that a plan may fill."""
        return USABLE_SHARE_EMBEDDED if self.embedded else USABLE_SHARE


def free_bytes() -> int:
    """Memory that this machine has left, or less, if the limit of a container is."""
    limits = [psutil.virtual_memory().available]
    for file in CONTAINER_LIMITS:
        with suppress(OSError, ValueError):
            limits.append(int(file.read_text()))
    return int(min(limit for limit in limits if limit > 0))


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
        from distributed import utils  # noqa: PLC0415  (threads need no Dask)

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


def require_usable(client: "Client") -> None:
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
    # There is no client of what nobody has imported.
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return
    with suppress(ValueError):
        THIS_PROCESS.left_behind.add(distributed.default_client())
    # Dask hands large messages to the thread of this pool, and would wait for it for ever.
    distributed.utils._offload_executor = ThreadPoolExecutor(1, thread_name_prefix="Dask-Offload")


os.register_at_fork(after_in_child=_forked)


@contextmanager
def embedded_client(n_threads: int | None = None) -> "Iterator[Client]":
    """Start Dask inside this process, for a machine without a cluster.

    Parameters
    ----------
    n_threads : int or None
        Worker threads; ``None`` for one a core.
    """
    from distributed import Client  # noqa: PLC0415  (threads need no Dask)

    with THIS_PROCESS.quiet():
        with THIS_PROCESS.starting:
            client = Client(
                processes=False,
                n_workers=1,
                threads_per_worker=n_threads,
                memory_limit=0,
                # Also where the user's configuration asks for encryption: nothing leaves the
                # process.
                protocol="inproc://",
                dashboard_address=QUIET_DASHBOARD,
                # Dask would open the page of the worker to every host.
                worker_dashboard_address=QUIET_DASHBOARD,
                set_as_default=False,
                # Closing interrupts a heartbeat now and then, which Dask reports as an error: the
                # log is off for longer than this cluster would turn it off.
                silence_logs=False,
            )
        with client, _prompt(client):
            yield client


@contextmanager
def _prompt(client: "Client") -> Iterator[None]:
    """Let messages leave at once: a small pass would wait for little else.

    Dask holds a message back for 2 to 10 ms after the last one, which spares a network many small
    ones; here there is none.
    """
    scheduler, workers = client.cluster.scheduler, client.cluster.workers.values()
    senders = [client.scheduler_comm, *(worker.batched_stream for worker in workers)]
    senders += [*scheduler.client_comms.values(), *scheduler.stream_comms.values()]
    intervals = [sender.interval for sender in senders]
    for sender in senders:
        sender.interval = 0.0
    try:
        yield
    finally:
        # One that is stopped between two messages would report that the second was never due.
        for sender, interval in zip(senders, intervals, strict=True):
            sender.interval = interval
