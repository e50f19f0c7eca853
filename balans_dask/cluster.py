"""Where the work runs: threads of this process, processes of this machine, or a scheduler."""

from collections.abc import Iterator
from contextlib import contextmanager

import psutil
from dask.utils import parse_bytes
from distributed import Client, LocalCluster

from balans_dask.errors import InvalidInputError
from balans_dask.passes.engine import QUIET_DASHBOARD, embedded_client

__all__ = ["memory_bytes", "open_client"]

WORKER_TIMEOUT_SECONDS = 60


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
    except ValueError as error:
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
            LocalCluster(
                n_workers=n_workers or psutil.cpu_count(logical=True),
                threads_per_worker=1,
                processes=True,
                memory_limit=limit_bytes or "auto",
                dashboard_address=QUIET_DASHBOARD,
            ) as local,
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


def _connect(address: str) -> Client:
    try:
        return Client(address, set_as_default=False, timeout=WORKER_TIMEOUT_SECONDS / 4)
    except (OSError, ValueError) as error:
        raise InvalidInputError(
            f"no scheduler answers at {address}: start one, or check the address"
        ) from error


def _await_workers(client: Client, address: str, n_workers: int) -> None:
    try:
        client.wait_for_workers(n_workers, timeout=WORKER_TIMEOUT_SECONDS)
    except TimeoutError as error:
        found = len(client.scheduler_info(n_workers=-1)["workers"])
        raise InvalidInputError(
            f"the scheduler at {address} has {found} of {n_workers} workers after "
            f"{WORKER_TIMEOUT_SECONDS} s: start workers"
        ) from error
