"""What Dask keeps for a whole process: forks, event loops and the log."""

import asyncio
import json
import subprocess
import sys

import numpy as np
import pytest
from distributed import Client

from balans_dask import Balans
from balans_dask.errors import InvalidInputError
from balans_dask.passes.dask_engine import DaskEngine
from balans_dask.passes.workers import embedded_client
from tests.support.screens import gaussian_screen

SCREEN = gaussian_screen(200, n_features=4)

FORKS = """
import json, logging, multiprocessing
import numpy as np
from distributed import Client
from balans_dask import Balans
from balans_dask.errors import InvalidInputError
from balans_dask.passes.workers import QUIET_DASHBOARD, embedded_client

rows = np.random.default_rng(0).normal(size=(80, 3))
model = Balans(n_components=None, operator="smooth")

def fit():
    try:
        return float(model.fit_transform(rows, batch=np.arange(80) % 2).sum())
    except InvalidInputError as error:
        return str(error)

def in_a_fork():
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply_async(fit).get(60)

def levels():
    return [handler.level for handler in logging.getLogger("distributed").handlers]

said = {"here": fit(), "fork": in_a_fork(), "before": levels()}
first, second = embedded_client(1), embedded_client(1)
first.__enter__(), second.__enter__()
said["both"] = levels()
said["fork of two"] = in_a_fork()
first.__exit__(None, None, None)
said["one"] = levels()
second.__exit__(None, None, None)
said["after"] = levels()
with Client(processes=False, dashboard_address=QUIET_DASHBOARD, silence_logs=50):
    said["left behind"] = in_a_fork()
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def said():
    """What a process and its forks say after a fit."""
    given = [sys.executable, "-W", "ignore", "-c", FORKS]
    ended = subprocess.run(given, capture_output=True, text=True, timeout=240)
    assert ended.returncode == 0, ended.stderr
    assert not ended.stderr
    return json.loads(ended.stdout)


def test_a_fork_after_a_fit_fits_as_its_parent_does(said):
    assert said["fork"] == said["fork of two"] == said["here"]


def test_a_fork_refuses_the_client_of_its_parent_and_names_spawn(said):
    assert "left behind when this process was forked" in said["left behind"]
    assert "get_context('spawn')" in said["left behind"]


def test_the_log_of_dask_is_off_until_the_last_of_two_fits_ends(said):
    assert said["before"] == said["after"] != said["both"]
    assert set(said["one"]) == set(said["both"]) == {50}


def test_an_asynchronous_client_is_refused_in_its_loop_and_used_from_a_thread(engine):
    model = Balans(n_components=None, operator="smooth")
    alone = model.fit_transform(SCREEN.profiles, batch=SCREEN.batch)

    async def application():
        async with Client(engine.client.scheduler.address, asynchronous=True):
            with pytest.raises(InvalidInputError, match=r"asynchronous.*await asyncio.to_thread"):
                model.fit_transform(SCREEN.profiles, batch=SCREEN.batch)
            return await asyncio.to_thread(model.fit_transform, SCREEN.profiles, batch=SCREEN.batch)

    np.testing.assert_array_equal(asyncio.run(application()), alone)


def test_messages_leave_at_once_inside_a_process_and_soon_to_other_processes(processes):
    with embedded_client(1) as client:
        sender = DaskEngine(client).client.scheduler_comm
        assert sender.interval == 0.0
    assert sender.interval > 0.0
    before = processes.scheduler_comm.interval
    engine = DaskEngine(processes)
    assert 0.0 < processes.scheduler_comm.interval <= 0.002
    engine.leave()
    assert processes.scheduler_comm.interval == before
