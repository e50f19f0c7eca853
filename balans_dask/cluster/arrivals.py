"""Waiting for workers that come when a queue lets them."""

import time
from collections.abc import Callable

from distributed import Client

__all__ = ["await_arrivals"]

LATECOMER_SECONDS = 60
"""How long after the first worker a run begins without the others, which join it when they come."""
LOOK_SECONDS = 0.5
SAY_SECONDS = 60


def await_arrivals(
    client: Client, n_workers: int, look: Callable[[], None], say: Callable[[], None]
) -> None:
    """Wait until all workers are there, or some time after the first one came.

    Parameters
    ----------
    client : distributed.Client
    n_workers : int
    look : callable
        Called all the time; may raise.
    say : callable
        Called now and then while none is there.
    """
    said = time.monotonic()
    first: float | None = None
    while (found := len(client.nthreads())) < n_workers:
        now = time.monotonic()
        look()
        first = None if not found else first or now
        if first is not None and now - first > LATECOMER_SECONDS:
            return
        if now - said > SAY_SECONDS:
            say()
            said = now
        time.sleep(LOOK_SECONDS)
