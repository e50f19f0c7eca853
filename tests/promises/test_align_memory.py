"""Tasks of `align` hold no more than the plan says of them, as measured; and whole runs."""

import tracemalloc

import numpy as np
import pytest

from balans_dask.io.sources import StoredRows
from balans_dask.labels import batch_labels
from balans_dask.model.inputs import Inputs, check_input
from balans_dask.model.plan import plan_run
from balans_dask.parameters import Parameters
from balans_dask.passes.dask_engine import DaskEngine
from balans_dask.passes.workers import embedded_client
from balans_dask.tiling import TILE_ROWS
from balans_dask.workflows.array_output import ArrayOutput, gathered_rows
from balans_dask.workflows.mixture import Mixture, write_mixture
from balans_dask.workflows.run import FitLearner, Job, run_passes
from benchmarks.harness.measured_process import balans, planned_bytes
from tests.support.commands import streams
from tests.support.screens import gaussian_screen

N_ROWS = 2 * TILE_ROWS
OF_NODES = {"sides", "centre", "places", "moves", "fields", "scale-moments"}
"""Passes that look at one partial sum each."""


class MeasuringEngine(DaskEngine):
    """The real engine, which does one thing after another, and knows what each took at most."""

    def __init__(self, client):
        super().__init__(client)
        self.peaks = {}

    def map(self, name, function, *columns, **options):
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        futures = super().map(name, function, *columns, **options)
        self.wait(futures)
        peak = tracemalloc.get_traced_memory()[1] - before
        self.peaks[name] = max(peak, self.peaks.get(name, 0))
        return futures


def measured(n_features, n_batches, max_rows, anchors):
    """The plan of a fit in one partition, and what its tasks took."""
    screen = gaussian_screen(N_ROWS, n_features=n_features, n_batches=n_batches)
    labels = batch_labels([screen.batch], ["batch"], N_ROWS)
    inputs = Inputs(
        StoredRows(screen.profiles),
        labels,
        [f"f{i}" for i in range(n_features)],
        reference=np.arange(N_ROWS) % 2 == 0 if anchors else None,
    )
    parameters = Parameters(max_rows=max_rows, n_components=10, n_passes=1)
    with embedded_client(1) as client:
        engine = MeasuringEngine(client)
        plan = plan_run(inputs, parameters, engine.workers(), freezes=True)
        assert plan.tiling.n_partitions == 1
        job = Job(engine, inputs, parameters, plan)
        examined = check_input(engine, inputs, parameters, plan.tiling)
        tracemalloc.start()
        try:
            run_passes(job, FitLearner(job, examined), ArrayOutput(job, gathered_rows))
        finally:
            tracemalloc.stop()
    return plan, engine.peaks


@pytest.mark.filterwarnings("ignore:.*covered by no sampled row")
@pytest.mark.filterwarnings("ignore:.*have at most 5 rows")
@pytest.mark.parametrize(
    ("n_features", "n_batches", "max_rows", "anchors"),
    [
        (150, 3, 64, True),
        (20, 300, 64, False),
        pytest.param(300, 4, 400, False, marks=pytest.mark.long),
        pytest.param(30, 800, 600, False, marks=pytest.mark.long),
    ],
)
def test_tasks_of_every_step_stay_within_their_plans(n_features, n_batches, max_rows, anchors):
    plan, peaks = measured(n_features, n_batches, max_rows, anchors)
    planned = dict.fromkeys(OF_NODES, plan.task_bytes["fields"]) | plan.task_bytes
    for name in {"matches", "pairs", "met", "batch-sums", "correct"} | OF_NODES:
        assert 0 < peaks[name] <= planned[name], name
    # So near that twice the columns, or a table of all batches more, would show.
    name = "batch-sums" if n_features > n_batches else "fields"
    assert peaks[name] > 0.3 * plan.task_bytes[name]


KEY = ["--batch-key", "Metadata_batch"]
SHAPES = {
    "500 features": (Mixture(n_rows=200_000, n_features=500), []),
    "2,500 plates": (Mixture(n_rows=2_500 * 384, n_features=20, n_batches=2_500), []),
    "500 plates, a small memory": (
        Mixture(n_rows=500 * 96, n_features=20, n_batches=500),
        ["--memory-limit", "2.1GB", "--max-rows", 500, "--patience", 9_999],
    ),
    "one thread, many steps": (
        Mixture(n_rows=65_536, n_features=32),
        ["--workers", 1, "--n-passes", 4, "--stopping", "patience", "--block-rows", 64],
    ),
}


@pytest.mark.long
@pytest.mark.parametrize("shape", SHAPES)
def test_whole_runs_stay_within_the_plan(tmp_path, shape):
    mixture, options = SHAPES[shape]
    write_mixture(mixture, str(tmp_path / "in.zarr"))
    plan = planned_bytes(streams("check", tmp_path / "in.zarr", *KEY, *options)[0])
    done = balans("correct", tmp_path / "in.zarr", tmp_path / "out.zarr", *KEY, *options)
    assert done.peak_bytes <= plan
