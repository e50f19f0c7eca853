"""Waiting for workers that come when a queue lets them, and hearing that they never will."""

import time
from collections.abc import Callable

from distributed import Client

from balans_dask.errors import BalansError, RunError

__all__ = ["Alarm", "await_arrivals"]

LATECOMER_SECONDS = 60
"""How long after the first worker a run begins without the others, which join it when they come."""
LOOK_SECONDS = 0.5
SAY_SECONDS = 60


class Alarm:
    """Rung where workers are given up, heard where results are waited for."""

    def __init__(self) -> None:
        self._reason: BalansError | None = None

    def ring(self, reason: BalansError) -> None:
        """End the run: the first reason counts."""
        self._reason = self._reason or reason

    def check(self) -> None:
        """Raise the reason, if there is one.

        Raises
        ------
        BalansError
            If the workers were given up.
        """
        if self._reason is not None:
            raise self._reason


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
