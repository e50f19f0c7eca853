"""A signal stops a run once; its echoes do no harm."""

import signal
import subprocess
import sys

import pytest

from balans_dask.signals import stoppable

RUN = """
import sys, time
from balans_dask import signals
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
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    argv = [sys.executable, "-c", RUN, str(echo_seconds)]
    with subprocess.Popen(argv, text=True, **pipes) as run:
        assert run.stdout.readline() == "running\n"
        run.send_signal(signal.SIGTERM)
        assert run.stdout.readline() == "saving\n"
        run.send_signal(number)
        if code == 75:
            run.communicate("saved\n", timeout=60)
        assert run.wait(timeout=60) == code


CARELESS = """
import signal, sys, time
from balans_dask import signals
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
