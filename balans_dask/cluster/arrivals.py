"""Waiting for workers that come when a queue lets them."""

import time
from collections.abc import Callable

from distributed import Client

from balans_dask.errors import RunError

__all__ = ["await_arrivals"]

LATECOMER_SECONDS = 60
"""How long after the first worker a run begins without the others, which join it when they come."""
LOOK_SECONDS = 0.5
SAY_SECONDS = 60


def await_arrivals(
    client: Client,
    n_workers: int,
    timeout_seconds: float,
    look: Callable[[], None],
    line: Callable[[], str],
    say: Callable[[str], None],
) -> None:
    """Wait until all workers are there, or some time after the first one came.

    Parameters
    ----------
    client : distributed.Client
    n_workers : int
    timeout_seconds : float
        Give up when none has come in so long.
    look : callable
        Called all the time; may raise.
    line : callable
        Returns what is waited for, in a line.
    say : callable
        Told that line now and then while none is there.

    Raises
    ------
    RunError
        If none comes.
    """
    began = said = time.monotonic()
    first: float | None = None
    while (found := len(client.nthreads())) < n_workers:
        now = time.monotonic()
        look()
        first = None if not found else first or now
        if first is not None and now - first > LATECOMER_SECONDS:
            return
        if first is None and now - began > timeout_seconds:
            raise RunError(
                f"no worker came in {timeout_seconds:g} s of {line()}: look why, or wait longer by "
                "--worker-timeout"
            )
        if now - said > SAY_SECONDS:
            say(line())
            said = now
        time.sleep(LOOK_SECONDS)
