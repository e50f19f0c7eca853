"""Signals that ask a run to stop, as exceptions in the main thread."""

import signal
import sys
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
AGAIN_SECONDS = 0.05
"""After which a signal is sent again that came where Python lets no exception through."""


@contextmanager
def stoppable() -> Iterator[None]:
    """Turn SIGTERM and Ctrl-C into ``Interrupted``, once; a second one ends the process as ever.

    Batch systems send SIGTERM before they kill, and that moment is enough for a checkpoint. What
    echoes a SIGTERM, within ``ECHO_SECONDS``, is not a second one. One that comes while a finaliser
    or the callback of a weak reference runs, which drop exceptions, is raised after it.
    """
    before = {number: signal.getsignal(number) for number in STOPPING}
    report = sys.unraisablehook
    again: list[threading.Timer] = []

    def listen() -> None:
        for number in STOPPING:
            signal.signal(number, stop)

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def stop(number: int, frame: FrameType | None) -> None:
        restore()
        if number == signal.SIGTERM:
            signal.signal(number, _deaf_to_echoes(restore))
        raise Interrupted(signal.Signals(number).name)

    def dropped(what: "sys.UnraisableHookArgs") -> None:
        if not isinstance(what.exc_value, Interrupted):
            report(what)
            return
        listen()
        number = signal.Signals[str(what.exc_value)]
        again.append(threading.Timer(AGAIN_SECONDS, _signal_main_thread, (number,)))
        again[-1].start()

    sys.unraisablehook = dropped
    listen()
    try:
        yield
    finally:
        for timer in again:
            timer.cancel()
        sys.unraisablehook = report
        restore()


def _signal_main_thread(number: int) -> None:
    """Wake it from what it waits for, too."""
    signal.pthread_kill(threading.main_thread().ident or 0, number)


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
