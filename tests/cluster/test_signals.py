"""A signal stops a run once; its echoes do no harm."""

import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from balans_dask.cluster.signals import STOPPING, deaf_to_interrupts, stoppable

LISTENING = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
"""
"""Whatever has started the tests: with ``nohup`` or ``&``, their children ignore Ctrl-C."""
RUN = f"""
import sys, time
{LISTENING}
from balans_dask.cluster import signals
from balans_dask.errors import Interrupted

signals.ECHO_SECONDS = float(sys.argv[1])
with signals.stoppable():
    try:
        print("running", flush=True)
        time.sleep(60)
    except Interrupted:
        print("saving", flush=True)
        sys.stdin.readline()
sys.exit(75)
"""


@pytest.mark.parametrize(
    ("echo_seconds", "number", "code"),
    [
        (60, signal.SIGTERM, 75),
        (0, signal.SIGTERM, -signal.SIGTERM),
        (60, signal.SIGINT, -signal.SIGINT),
    ],
)
def test_a_second_signal_ends_a_run_that_saves_unless_it_echoes_sigterm(echo_seconds, number, code):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    argv = [sys.executable, "-c", RUN, str(echo_seconds)]
    with subprocess.Popen(argv, text=True, **pipes) as run:
        assert run.stdout.readline() == "running\n"
        run.send_signal(signal.SIGTERM)
        assert run.stdout.readline() == "saving\n"
        run.send_signal(number)
        if code == 75:
            run.communicate("saved\n", timeout=60)
        assert run.wait(timeout=60) == code
        assert run.stderr.closed or not run.stderr.read()


CARELESS = f"""
import sys, time
{LISTENING}
from balans_dask.cluster import signals
from balans_dask.errors import Interrupted

class Careless:
    def __del__(self):
        signal.raise_signal(int(sys.argv[1]))
        print("dropped", flush=True)

with signals.stoppable():
    try:
        Careless()
        time.sleep(60)
    except Interrupted as interrupted:
        print(interrupted, flush=True)
sys.exit(75)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_comes_while_exceptions_are_dropped_stops_the_run_after_that(number):
    run = subprocess.run(
        [sys.executable, "-c", CARELESS, str(int(number))],
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert (run.returncode, run.stdout) == (75, f"{number.name}\n"), run.stderr


def test_what_else_is_dropped_is_reported_as_ever(monkeypatch):
    seen = []
    monkeypatch.setattr(sys, "unraisablehook", seen.append)
    with stoppable():
        Broken()
    assert [type(what.exc_value) for what in seen] == [ZeroDivisionError]
    assert sys.unraisablehook == seen.append


class Broken:
    def __del__(self):
        raise ZeroDivisionError


def catches(process: subprocess.Popen, number: signal.Signals) -> bool:
    """Whether a process has a handler of its own for a signal."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return bool(int(status.split("SigCgt:")[1].split()[0], 16) >> (number - 1) & 1)


def maps(process: subprocess.Popen, library: str) -> bool:
    """Whether a process has loaded a library."""
    return library in Path(f"/proc/{process.pid}/maps").read_text()


@pytest.mark.parametrize("library", ["", "numpy/_core", "llvmlite"])
def test_a_signal_while_the_command_is_imported_is_one_while_it_runs(tmp_path, library):
    argv = [sys.executable, "-m", "balans_dask", "correct", "IN", tmp_path / "OUT", "--batch-key=b"]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as run:
        while run.poll() is None and not (catches(run, signal.SIGTERM) and maps(run, library)):
            time.sleep(0.001)
        run.send_signal(signal.SIGTERM)
        _, said = run.communicate(timeout=60)
    assert run.returncode == 75
    [line] = said.splitlines()
    assert line.startswith("balans: error: stopped by SIGTERM; continue with: balans correct IN ")


ENDING = f"""
import atexit, sys
{LISTENING}
from balans_dask.cluster.signals import end_with

def slowly():
    print("closing", flush=True)
    sys.stdin.readline()

atexit.register(slowly)
end_with(int(sys.argv[1]))
"""


@pytest.mark.parametrize("number", STOPPING)
def test_a_signal_after_the_work_ends_the_process_with_the_code_of_the_work(number):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", ENDING, "3"], text=True, **pipes) as run:
        assert run.stdout.readline() == "closing\n"
        run.send_signal(number)
        assert run.wait(timeout=60) == 3
        assert not run.stderr.read()


def blocked() -> set[signal.Signals]:
    return signal.pthread_sigmask(signal.SIG_BLOCK, ())


@pytest.fixture
def started_deaf():
    """A thread of this process that began where Ctrl-C is not heard, as Dask's loop does."""
    with deaf_to_interrupts(), ThreadPoolExecutor(1) as thread:
        thread.submit(blocked).result()
        yield thread


def test_processes_that_such_threads_start_hear_no_interrupt(started_deaf):
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as processes:
        submitted = started_deaf.submit(processes.submit, blocked).result()
        assert signal.SIGINT in submitted.result(timeout=60)


def test_an_interrupt_while_deaf_is_heard_after_it():
    heard = []
    before = signal.signal(signal.SIGINT, lambda *_: heard.append("interrupt"))
    try:
        with deaf_to_interrupts():
            signal.pthread_kill(threading.get_ident(), signal.SIGINT)
            assert not heard
        assert heard == ["interrupt"]
    finally:
        signal.signal(signal.SIGINT, before)


LEAVING = """
import os, signal
from multiprocessing import get_context
from balans_dask.cluster.signals import deaf_to_interrupts

with deaf_to_interrupts():
    left = get_context("spawn").Semaphore()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_process_that_ends_at_once_leaves_no_warning_of_what_it_held():
    argv = [sys.executable, "-c", LEAVING]
    ended = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (-signal.SIGKILL, "")
