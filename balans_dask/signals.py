"""Signals that ask a run to stop, as exceptions in the main thread."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from balans_dask.errors import Interrupted

__all__ = ["deaf_to_interrupts", "stoppable"]

STOPPING = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stoppable() -> Iterator[None]:
    """Turn SIGTERM and Ctrl-C into ``Interrupted``, once; a second one ends the process as ever.

    Batch systems send SIGTERM before they kill, and that moment is enough for a checkpoint.
    """
    before = {number: signal.getsignal(number) for number in STOPPING}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def stop(number: int, frame: FrameType | None) -> None:
        restore()
        raise Interrupted(signal.Signals(number).name)

    for number in STOPPING:
        signal.signal(number, stop)
    try:
        yield
    finally:
        restore()


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
