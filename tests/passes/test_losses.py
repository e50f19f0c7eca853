"""What is said when the scheduler is lost, and what is not taken for it."""

import asyncio
import errno
import os
import signal
import time
from types import SimpleNamespace

import pytest
from distributed.comm import connect

from balans_dask.errors import RunError
from balans_dask.passes import watch
from balans_dask.passes.watch import WorkerWatch, blamed_tasks, scheduler_errors

NOWHERE = "tcp://127.0.0.1:9"


def test_a_scheduler_that_cannot_be_reached_again_is_lost():
    with pytest.raises(RunError, match="connection to the scheduler is lost"), scheduler_errors():
        asyncio.run(connect(NOWHERE, timeout=0.3))


def test_what_a_task_says_of_its_disk_is_passed_on():
    full = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OSError, match="No space left") as raised, scheduler_errors():
        raise full
    assert raised.value is full


def test_a_worker_that_is_stopped_is_said_to_be_silent_once(processes, monkeypatch):
    monkeypatch.setattr(watch, "SILENT_SECONDS", 2.0)
    said = []
    watching = WorkerWatch(processes, 60, said.append)
    address, number = min(processes.run(os.getpid).items())
    os.kill(number, signal.SIGSTOP)
    try:
        end = time.monotonic() + 60
        while not said and time.monotonic() < end:
            watching.look()
            time.sleep(0.1)
        watching.look()
    finally:
        os.kill(number, signal.SIGCONT)
    assert [line.split(" has not")[0] for line in said] == [f"worker {address}"]


def test_only_tasks_that_were_there_at_one_death_too_many_are_blamed():
    deaths = {"balans-rows-1-1-0": 3, "balans-rows-1-1-1": 4, "balans-rows-1-1-2": 0}
    scheduler = SimpleNamespace(
        allowed_failures=3,
        tasks={key: SimpleNamespace(key=key, suspicious=n) for key, n in deaths.items()},
    )
    client = SimpleNamespace(run_on_scheduler=lambda function: function(scheduler))
    assert blamed_tasks(client) == ["balans-rows-1-1-1"]
