"""A signal stops a run once; its echoes do no harm."""

import signal
import subprocess
import sys

import pytest

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
