"""Workers that die: in any pass, all of them for a while, or again and again."""

import os
import random
import re
import signal
import threading
import time
from dataclasses import replace

import dask
import numpy as np
import pytest
from dask.utils import parse_timedelta
from distributed import Client, KilledWorker, LocalCluster

from balans_dask.cluster import processes
from balans_dask.cluster.open import open_client
from balans_dask.cluster.request import ClusterRequest
from balans_dask.errors import RunError
from balans_dask.io.sources import Rows, StoredRows
from balans_dask.labels import batch_labels
from balans_dask.model.fit import fit_operator
from balans_dask.model.inputs import Inputs
from balans_dask.model.pass_data import correct_pass
from balans_dask.model.plan import plan_run
from balans_dask.parameters import Parameters
from balans_dask.passes import watch
from balans_dask.passes.dask_engine import DaskEngine
from balans_dask.passes.watch import killed_workers
from balans_dask.passes.workers import QUIET_DASHBOARD
from balans_dask.tiling import TILE_ROWS, Tiling
from tests.support.fits import one_pass
from tests.support.screens import gaussian_screen

pytestmark = pytest.mark.filterwarnings("ignore:.*covered by no sampled row")
SCREEN = gaussian_screen(18 * TILE_ROWS, n_features=6)
PARAMETERS = Parameters(operator="smooth", n_components=4, max_rows=120, patience=1000)
STAGES = [
    "moments", "scatter", "scores", "uncovered", "scales", "scales-merge", "elbow", "rows",
    "report", "report-merge", "sums", "sums-merge", "correct",
]  # fmt: skip


@pytest.fixture
def client():
    with open_client(ClusterRequest("local", 2, "2GB")) as client:
        yield client


class KillingEngine(DaskEngine):
    """The real engine, which kills a worker just after it has submitted one pass."""

    victim = ""
    number = signal.SIGKILL

    def map(self, name, function, *columns, **options):
        futures = super().map(name, function, *columns, **options)
        if name == self.victim:
            self.victim = ""
            pids = list(self.client.run(os.getpid, on_error="ignore").values())
            os.kill(random.choice(pids), self.number)
        return futures


def corrected(engine, source=None):
    source = source or StoredRows(SCREEN.profiles)
    labels = batch_labels([SCREEN.batch], ["batch"], len(SCREEN.batch))
    inputs = Inputs(source, labels, [f"f{i}" for i in range(6)])
    plan = plan_run(inputs, PARAMETERS, engine.workers())
    # More partitions than the driver merges itself.
    plan = replace(plan, tiling=Tiling(len(SCREEN.batch), 1))
    engine.task_bytes = plan.task_bytes
    fitted = one_pass(engine, inputs, PARAMETERS, plan)
    parts = engine.gather(
        correct_pass(engine, fitted.prepared, [fit_operator(engine, fitted)], None)
    )
    return np.concatenate([part.features for part in parts])


@pytest.fixture
def cluster():
    with LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=QUIET_DASHBOARD, silence_logs=50
    ) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def expected(engine):
    return corrected(engine)


@pytest.mark.parametrize("stages", [["cover"], pytest.param(STAGES, marks=pytest.mark.long)])
def test_a_worker_killed_in_any_pass_changes_no_byte(client, expected, stages):
    for stage in stages:
        client.wait_for_workers(2, timeout=60)
        engine = KillingEngine(client)
        engine.victim = stage
        assert corrected(engine).tobytes() == expected.tobytes(), stage
        assert engine.victim == "", f"{stage} never ran"


@pytest.mark.long
def test_without_workers_it_waits_says_so_and_goes_on(cluster, expected):
    said = []
    with Client(cluster, set_as_default=False) as client:
        engine = DaskEngine(client, worker_timeout_seconds=60, on_wait=said.append)
        cluster.scale(0)
        back = threading.Timer(6, cluster.scale, [2])
        while client.nthreads():
            time.sleep(0.05)
        back.start()
        assert engine.gather(engine.map("moments", len, [[1, 2]])) == [2]
        assert corrected(engine).tobytes() == expected.tobytes()
    assert said == [
        "no workers are left: waiting up to 60 s for some",
        "workers are back: the run goes on",
    ]


@pytest.mark.long
def test_without_workers_for_too_long_it_gives_up():
    with (
        LocalCluster(
            n_workers=1, processes=False, dashboard_address=QUIET_DASHBOARD, silence_logs=50
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        engine = DaskEngine(client, worker_timeout_seconds=1, on_wait=lambda line: None)
        cluster.scale(0)
        while client.nthreads():
            time.sleep(0.05)
        with pytest.raises(RunError, match=r"no workers for 1 s: start workers, .* --resume"):
            engine.gather(engine.map("moments", len, [[1, 2]]))


class PoisonRows(Rows):
    """Rows whose reader does not survive, as one that runs out of memory."""

    def read(self):
        os.kill(os.getpid(), signal.SIGKILL)


class PoisonSource(StoredRows):
    """A matrix of which one partition kills every worker that reads it."""

    poisoned_row = 5 * TILE_ROWS
    poisoned_partition = None

    def rows(self, start, stop):
        if not start <= self.poisoned_row < stop:
            return super().rows(start, stop)
        self.poisoned_partition = start // (stop - start)
        return PoisonRows(None, 0, 0)


@pytest.mark.long
def test_a_task_that_kills_its_workers_ends_the_run_with_its_partition_and_memory(client):
    client.upload_file(__file__)
    source = PoisonSource(SCREEN.profiles)
    with pytest.raises(RunError, match="6 workers died") as error:
        corrected(DaskEngine(client), source)
    what = r"pass 'moments' of (?:partition|one of partitions) ([\d, ]+), planned to take \S+ M"
    blamed = re.search(what, str(error.value)).group(1)
    assert str(source.poisoned_partition) in blamed.split(", ")


def test_all_that_were_on_the_workers_that_died_are_named_and_nothing_else():
    tasks = ["balans-rows-ab12-7-3", "balans-rows-ab12-7-0", "balans-sums-ab12-8-1", "other-1"]
    error = KilledWorker("balans-rows-ab12-7-0", None, 5)
    said = str(killed_workers(error, tasks, {"rows": 2 * 2**20}))
    assert said.startswith(
        "6 workers died while they ran pass 'rows' of one of partitions 0, 3, planned to take 2 MiB"
    )
    assert "of partition 0, planned" in str(killed_workers(error, tasks[1:], {"rows": 1}))


def test_a_lost_scheduler_ends_the_run_with_the_remedy():
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "2s"}),
        LocalCluster(
            n_workers=1, processes=False, dashboard_address=QUIET_DASHBOARD, silence_logs=50
        ) as cluster,
    ):
        client = Client(cluster, set_as_default=False)
        futures = DaskEngine(client).map("moments", time.sleep, [5])
        threading.Timer(1, cluster.close).start()
        with pytest.raises(RunError, match="connection to the scheduler is lost"):
            DaskEngine(client).gather(futures)
        client.close(timeout=1)


def test_a_silent_worker_is_replaced_when_it_is_said_to_be_silent():
    with processes.replacing_workers():
        seconds = parse_timedelta(dask.config.get("distributed.scheduler.worker-ttl"))
    assert seconds == watch.SILENT_SECONDS <= 60


class StoppingEngine(KillingEngine):
    """The real engine, which stops a worker just after it has submitted one pass."""

    number = signal.SIGSTOP


@pytest.mark.long
def test_a_worker_that_is_stopped_is_replaced(monkeypatch, expected):
    monkeypatch.setattr(processes, "SILENT_WORKER_TIMEOUT", "3s")
    monkeypatch.setattr(watch, "SILENT_SECONDS", 2.0)
    said = []
    with open_client(ClusterRequest("local", 2, "2GB")) as client:
        engine = StoppingEngine(client, on_wait=said.append)
        engine.victim = "cover"
        assert corrected(engine).tobytes() == expected.tobytes()
    assert said
    assert all("has not answered for 2 s" in line for line in said)
