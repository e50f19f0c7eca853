"""Signals that ask a run to stop, as exceptions in the main thread."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from balans_dask.errors import Interrupted

__all__ = ["deaf_to_interrupts", "stoppable"]

STOPPING = (signal.SIGINT, signal.SIGTERM)
ECHO_SECONDS = 5
"""How long a SIGTERM is taken for the one before it: a batch system that signals every process of a
job signals the driver, and the script that forwards what it gets as well."""


@contextmanager
def stoppable() -> Iterator[None]:
    """Turn SIGTERM and Ctrl-C into ``Interrupted``, once; a second one ends the process as ever.

    Batch systems send SIGTERM before they kill, and that moment is enough for a checkpoint. What
    echoes a SIGTERM, within ``ECHO_SECONDS``, is not a second one.
    """
    before = {number: signal.getsignal(number) for number in STOPPING}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def stop(number: int, frame: FrameType | None) -> None:
        restore()
        if number == signal.SIGTERM:
            signal.signal(number, _deaf_to_echoes(restore))
        raise Interrupted(signal.Signals(number).name)

    for number in STOPPING:
        signal.signal(number, stop)
    try:
        yield
    finally:
        restore()


def _deaf_to_echoes(restore: Callable[[], None]) -> Callable[[int, FrameType | None], None]:
    """Return the handler of a second signal."""
    began = time.monotonic()

    def handle(number: int, frame: FrameType | None) -> None:
        if time.monotonic() - began > ECHO_SECONDS:
            restore()
            signal.raise_signal(number)

    return handle


@contextmanager
def deaf_to_interrupts() -> Iterator[None]:
    """Start processes that Ctrl-C does not reach: the driver alone decides what it means."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
