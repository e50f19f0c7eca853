"""Experiments share processes, and one that takes its process down is the only one that fails."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from contextlib import suppress
from functools import partial

import psutil
import pytest

from benchmarks.harness.lanes import Lanes
from tests.support import REPOSITORY

PROCESS = partial(ProcessPoolExecutor, 1, mp_context=multiprocessing.get_context("spawn"))


def test_calls_one_after_another_run_in_one_process_as_it_has_compiled_for_the_first():
    with Lanes(2, PROCESS) as lanes:
        found = {lanes.submit(os.getpid).result() for _ in range(6)}
    assert len(found) == 1
    assert os.getpid() not in found


def test_as_many_calls_as_there_are_lanes_run_at_once(tmp_path):
    with Lanes(2, PROCESS) as lanes:
        # Opening a pipe ends when both of its ends are opened.
        os.mkfifo(pipe := tmp_path / "pipe")
        ends = [lanes.submit(os.system, f"exec 3{way}{pipe}") for way in "<>"]
        assert [end.result(timeout=60) for end in ends] == [0, 0]


def test_a_call_that_takes_its_process_down_fails_alone():
    with Lanes(2, PROCESS) as lanes:
        beside = lanes.submit(time.sleep, 1)
        broken = lanes.submit(os._exit, 1)
        after = [lanes.submit(abs, -number) for number in range(4)]
        with pytest.raises(BrokenExecutor):
            broken.result()
        assert [call.result() for call in after] == [0, 1, 2, 3]
        assert beside.result() is None


def test_a_call_is_not_blamed_for_a_process_that_died_before_it():
    with Lanes(1, PROCESS) as lanes:
        first = lanes.submit(os.getpid).result()
        os.kill(first, signal.SIGKILL)
        assert lanes.submit(os.getpid).result() != first


@pytest.mark.parametrize("warm", [True, False])
def test_an_interrupt_ends_the_calls_at_work_even_if_they_just_start_and_begins_no_other(warm):
    with suppress(KeyboardInterrupt), Lanes(2, PROCESS) as lanes:
        if warm:
            assert lanes.submit(os.getpid).result()
        at_work = [lanes.submit(time.sleep, 600) for _ in range(2)]
        pending = lanes.submit(abs, -1)
        while not all(call.running() for call in at_work):
            time.sleep(0.01)
        raise KeyboardInterrupt
    assert all(isinstance(call.exception(), BrokenExecutor) for call in at_work)
    assert pending.cancelled()


KILLED = """
import multiprocessing, subprocess
from concurrent.futures import ProcessPoolExecutor
from benchmarks.harness.lanes import end_with_parent

if __name__ == "__main__":
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(1, mp_context=spawn, initializer=end_with_parent)
    pool.submit(subprocess.run, "echo $$ $PPID; sleep 600", shell=True).result()
"""


def test_processes_end_with_the_one_that_started_them_even_if_it_is_killed(tmp_path):
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    found = {"PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, text=True, env=os.environ | found
    ) as parent:
        begun = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split()]
        parent.kill()
    assert len(psutil.wait_procs(begun, timeout=60)[0]) == 2
