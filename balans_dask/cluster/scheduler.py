"""A scheduler that is there: by its address, or by the file that it wrote."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from distributed import Client

from balans_dask.cluster.door import knock
from balans_dask.cluster.request import ClusterRequest
from balans_dask.errors import InvalidInputError

__all__ = ["scheduler_client"]

SCHEDULER_SECONDS = 15
"""How long to look for a scheduler."""
CONNECT_SECONDS = 60
"""How long to wait for its workers."""


@contextmanager
def scheduler_client(request: ClusterRequest) -> Iterator[Client]:
    """Connect to a scheduler, and leave it as it is when the run is over.

    Raises
    ------
    InvalidInputError
        If none answers, the file is none of a scheduler, or its workers do not come.
    """
    address = request.where if "://" in request.where else address_in(request.where)
    with connected(address) as client:
        _await_workers(client, address, request.workers or 1)
        yield client


def address_in(path: str) -> str:
    """Return the address in a scheduler file.

    Raises
    ------
    InvalidInputError
        If the file has none.
    """
    try:
        with open(path, encoding="utf-8") as file:
            return str(json.load(file)["address"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidInputError(
            f"--cluster {path} is no scheduler file: give the one of dask scheduler "
            "--scheduler-file, or an address"
        ) from error


def connected(address: str) -> Client:
    """Connect to a scheduler, looking first whether it lets this process in.

    Raises
    ------
    InvalidInputError
        If none answers, or certificates do not fit.
    """
    knock(address, SCHEDULER_SECONDS)
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
