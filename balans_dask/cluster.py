"""Where the work runs: threads of this process, processes of this machine, or a scheduler."""

import logging
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import dask
from dask.system import CPU_COUNT
from dask.utils import parse_bytes
from distributed import Client, LocalCluster
from distributed.comm import get_address_host_port

from balans_dask.errors import InvalidInputError, RunError
from balans_dask.passes.engine import QUIET_DASHBOARD, embedded_client
from balans_dask.signals import deaf_to_interrupts

__all__ = ["memory_bytes", "open_client", "silence_dask"]

logger = logging.getLogger(__name__)

SCHEDULER_SECONDS = 15
"""How long to look for a scheduler."""
CONNECT_SECONDS = 60
"""How long to wait for its workers."""
START_ATTEMPTS = 3
ALLOWED_FAILURES = 5
"""Workers that may die under one task before the run gives up; Dask's own 3 is for clusters on
which nobody is preempted."""

REUSED_MEMORY = {"MALLOC_TRIM_THRESHOLD_": 64 * 2**20, "MALLOC_MMAP_THRESHOLD_": 32 * 2**20}
"""Freed memory that a worker process keeps for its next arrays. By Dask's own setting each array of
128 KiB goes back to the system, and to touch new pages takes as long as the arithmetic."""


def memory_bytes(text: str | None) -> int | None:
    """Read a size such as ``2GB``.

    Raises
    ------
    InvalidInputError
        If it is none.
    """
    if text is None:
        return None
    try:
        n_bytes = int(parse_bytes(text))
    except (ValueError, OverflowError) as error:
        raise InvalidInputError(f"--memory-limit {text} is no size: write one like 2GB") from error
    if n_bytes <= 0:
        raise InvalidInputError(f"--memory-limit {text} is not positive: write one like 2GB")
    return n_bytes


@contextmanager
def open_client(
    cluster: str, n_workers: int | None = None, limit_bytes: int | None = None
) -> Iterator[Client]:
    """Connect to the workers of a run, and leave when it is over.

    Parameters
    ----------
    cluster : str
        ``threads``, ``local`` or the address of a scheduler, such as ``tcp://host:8786``.
    n_workers : int or None
        Threads, or processes; of a scheduler, how many workers to wait for.
    limit_bytes : int or None
        Memory of each worker.

    Raises
    ------
    InvalidInputError
        If there is no such cluster, or its workers do not come.
    """
    if cluster == "threads":
        with embedded_client(n_workers) as client:
            yield client
    elif cluster == "local":
        with (
            _local_cluster(n_workers, limit_bytes) as local,
            Client(local, set_as_default=False) as client,
        ):
            yield client
    elif "://" in cluster:
        with _connect(cluster) as client:
            _await_workers(client, cluster, n_workers or 1)
            yield client
    else:
        raise InvalidInputError(
            f"--cluster {cluster} is unknown: give threads, local, or an address such as "
            "tcp://host:8786"
        )


@contextmanager
def _local_cluster(n_workers: int | None, limit_bytes: int | None) -> Iterator[LocalCluster]:
    """Start worker processes that are replaced when they die.

    A nanny now and then fails to restart a worker that was killed; only adaptive scaling, with
    equal bounds, notices that one is missing for good.
    """
    n_workers = n_workers or CPU_COUNT
    environment = "distributed.nanny.pre-spawn-environ"
    with dask.config.set(
        {
            "distributed.scheduler.allowed-failures": ALLOWED_FAILURES,
            "distributed.deploy.lost-worker-timeout": "3s",
            environment: dask.config.get(environment) | REUSED_MEMORY,
        }
    ):
        with deaf_to_interrupts():
            cluster = _started(n_workers, limit_bytes)
        try:
            cluster.adapt(minimum=n_workers, maximum=n_workers, interval="1s")
            yield cluster
        finally:
            # A worker that was just being replaced fails to start, and nobody needs it any more.
            with suppress(RuntimeError):
                cluster.close()


def _started(n_workers: int, limit_bytes: int | None) -> LocalCluster:
    """Start the processes; if one is killed while it starts, start all anew."""
    for attempt in range(1, START_ATTEMPTS + 1):
        try:
            return LocalCluster(
                n_workers=n_workers,
                threads_per_worker=1,
                processes=True,
                memory_limit=limit_bytes or "auto",
                dashboard_address=QUIET_DASHBOARD,
                silence_logs=logging.ERROR,
            )
        except RuntimeError as error:
            if attempt == START_ATTEMPTS:
                raise RunError(
                    f"{n_workers} worker processes did not start in {attempt} attempts: look for "
                    "what kills them, most likely too little memory, and continue with --resume"
                ) from error
            logger.warning("worker processes did not start (%s): starting them again", error)
    raise AssertionError


def _connect(address: str) -> Client:
    # A client that never finds its scheduler leaves threads and a traceback behind: look first.
    end = time.monotonic() + SCHEDULER_SECONDS
    while True:
        try:
            with socket.create_connection(get_address_host_port(address), SCHEDULER_SECONDS):
                break
        except (OSError, ValueError, NotImplementedError) as error:
            if not isinstance(error, OSError) or time.monotonic() > end:
                raise InvalidInputError(
                    f"no scheduler answers at {address}: start one, or check the address"
                ) from error
            time.sleep(0.5)
    return Client(address, set_as_default=False, timeout=SCHEDULER_SECONDS)


def _await_workers(client: Client, address: str, n_workers: int) -> None:
    try:
        client.wait_for_workers(n_workers, timeout=CONNECT_SECONDS)
    except TimeoutError as error:
        found = len(client.scheduler_info(n_workers=-1)["workers"])
        raise InvalidInputError(
            f"the scheduler at {address} has {found} of {n_workers} workers after "
            f"{CONNECT_SECONDS} s: start workers"
        ) from error


def silence_dask() -> None:
    """Let Dask report only what is fatal.

    It reports every task that a lost worker or a stopped run leaves behind, and the run itself
    says what matters. Dask gives levels to some of its loggers, so each must be told.
    """
    for name in list(logging.root.manager.loggerDict):
        if name.split(".")[0] == "distributed":
            logging.getLogger(name).setLevel(logging.CRITICAL)
