"""Signals that ask a run to stop, as exceptions in the main thread."""

import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from types import FrameType
from typing import NoReturn

from balans_dask.errors import Interrupted

__all__ = ["deaf_to_interrupts", "end_with", "stoppable"]

STOPPING = (signal.SIGINT, signal.SIGTERM)
ECHO_SECONDS = 5
"""How long a SIGTERM is taken for the one before it: a batch system that signals every process of a
job signals the driver, and the script that forwards what it gets as well."""
AGAIN_SECONDS = 0.05
"""After which a signal is sent again that came where Python lets no exception through."""


@contextmanager
def stoppable() -> Iterator[None]:
    """Turn SIGTERM and Ctrl-C into ``Interrupted``, once; a second one ends the process at once.

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
        # Not as Python would: a KeyboardInterrupt would wait for Dask to close, and show where.
        for each in STOPPING:
            signal.signal(each, signal.SIG_DFL)
        if number == signal.SIGTERM:
            signal.signal(number, _deaf_to_echoes())
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


def end_with(code: int) -> NoReturn:
    """Leave Python with an exit code; at once if a signal comes, as Dask may take seconds."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    for number in STOPPING:
        signal.signal(number, lambda *_: os._exit(code))
    # All that is left goes with the process; Python would look through it for garbage, three times.
    # The bindings of duckdb, which copairs imports, would print all that they then miss.
    if "duckdb" not in sys.modules:
        gc.freeze()
    sys.exit(code)


def _start_resource_tracker() -> None:
    """Start what Python starts with its first process, and then lets signals in.

    It outlives a process that ends at once, and would warn of what that has left.
    """
    quiet = "ignore::UserWarning:multiprocessing.resource_tracker"
    sys.warnoptions.append(quiet)
    try:
        resource_tracker.ensure_running()
    finally:
        sys.warnoptions.remove(quiet)


def _signal_main_thread(number: int) -> None:
    """Wake it from what it waits for, too."""
    signal.pthread_kill(threading.main_thread().ident or 0, number)


def _deaf_to_echoes() -> Callable[[int, FrameType | None], None]:
    """Return the handler of a second signal."""
    began = time.monotonic()

    def handle(number: int, frame: FrameType | None) -> None:
        if time.monotonic() - began > ECHO_SECONDS:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    return handle


@contextmanager
def deaf_to_interrupts() -> Iterator[None]:
    """Start processes that Ctrl-C does not reach: the driver alone decides what it means.

    Threads and processes that begin inside hold it back for as long as they live, and so do theirs;
    the driver hears it at the end at the latest.
    """
    _start_resource_tracker()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
