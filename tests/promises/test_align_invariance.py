"""`align` on any chunks, partitions, caches and workers: the same bits in every step."""

from dataclasses import replace

import dask.array as da
import numpy as np
import pytest
import zarr

from balans_dask import Balans
from balans_dask.io.sources import StoredRows
from balans_dask.labels import batch_labels
from balans_dask.model.inputs import Inputs, check_input
from balans_dask.model.saved import pass_arrays
from balans_dask.parameters import Parameters
from balans_dask.passes.dask_engine import DaskEngine
from balans_dask.passes.memory import MemoryPlan
from balans_dask.passes.workers import Workers
from balans_dask.tiling import TILE_ROWS, Tiling
from balans_dask.workflows.array_output import ArrayOutput, gathered_rows
from balans_dask.workflows.run import FitLearner, Job, run_passes
from tests.support.screens import gaussian_screen

pytestmark = pytest.mark.filterwarnings("ignore:.*covered by no sampled row")
SCREEN = gaussian_screen(5 * TILE_ROWS + 123, n_features=5, n_batches=4)
THIRDS = SCREEN.profiles / np.float64(3)
"""Float64 values that fill every digit: another order of any sum shows in its last bits."""
ANCHOR = np.random.default_rng(0).random(len(THIRDS)) < 0.3
PARAMETERS = Parameters(n_components=4, max_rows=40, block_rows=32, n_passes=1)


def plan_of(tiles_per_partition, keep_scores, piece_bytes, keep_products):
    return MemoryPlan(
        tiling=Tiling(len(THIRDS), tiles_per_partition),
        workers=Workers(1, 2, 2**32, embedded=True),
        keep_scores=keep_scores,
        keep_products=keep_products,
        piece_bytes=piece_bytes,
        n_landmarks=2_000,
        tasks_per_round=0,
        task_bytes={},
        worker_bytes=0,
        driver_bytes=0,
        total_bytes=0,
    )


def found_by(
    engine,
    source=THIRDS,
    tiles_per_partition=2,
    keep_scores=True,
    piece_bytes=2**30,
    keep_products=True,
    parameters=PARAMETERS,
    anchor=None,
):
    """Everything that every step has learned, and the corrected rows."""
    labels = batch_labels([SCREEN.batch], ["batch"], len(SCREEN.batch))
    inputs = Inputs(StoredRows(source), labels, [f"f{i}" for i in range(5)], reference=anchor)
    plan = plan_of(tiles_per_partition, keep_scores, piece_bytes, keep_products)
    job = Job(engine, inputs, parameters, plan)
    examined = check_input(engine, inputs, parameters, plan.tiling)
    learner = FitLearner(job, examined, freezes=True)
    output = ArrayOutput(job, lambda *given: gathered_rows(*given, with_scores=True))
    run_passes(job, learner, output)
    found = {name: rows for name, rows in vars(output.rows).items() if rows is not None}
    for number, frozen in enumerate(learner.model({}).passes):
        found |= {f"{number} {name}": array for name, array in pass_arrays(frozen).items()}
    return found


def assert_identical(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].tobytes() == value.tobytes(), name


@pytest.fixture(scope="module")
def expected(engine):
    found = found_by(engine)
    assert found["features"].dtype == found["1 factor"].dtype == np.float64
    assert np.abs(found["features"] - THIRDS).max() > 0.1
    assert found["1 factor"].any()
    assert found["2 moves"].any()
    return found


NOTHING_KEPT = {"keep_scores": False, "piece_bytes": 0, "keep_products": False}


def seldom(case):
    return pytest.param(case, marks=pytest.mark.long)


@pytest.mark.parametrize(
    "how",
    [
        {"tiles_per_partition": 1, **NOTHING_KEPT},
        {"tiles_per_partition": 8, "piece_bytes": 10_000},
        seldom({"tiles_per_partition": 1}),
        seldom({"tiles_per_partition": 4, "keep_products": False}),
        seldom({"tiles_per_partition": 8, **NOTHING_KEPT}),
    ],
    ids=str,
)
def test_partitions_and_caches_change_no_bit(engine, expected, how):
    assert_identical(found_by(engine, **how), expected)


@pytest.mark.parametrize("chunks", [(3000, 5), seldom((700, 2)), seldom((25_000, 1))], ids=str)
def test_chunks_and_worker_processes_change_no_bit(processes, expected, tmp_path, chunks):
    array = zarr.create_array(tmp_path / "x.zarr", data=THIRDS, chunks=chunks)
    assert_identical(found_by(DaskEngine(processes), array, 1), expected)


@pytest.mark.long
@pytest.mark.parametrize(
    ("changes", "anchor"),
    [({"shared_populations": True}, None), ({"n_passes": 3, "uncovered": "nearest"}, None),
     ({}, ANCHOR), ({"n_components": None, "strength": 0.4}, None)],
)  # fmt: skip
def test_nor_under_other_parameters(engine, changes, anchor):
    parameters = replace(PARAMETERS, **changes)
    whole = found_by(engine, tiles_per_partition=8, parameters=parameters, anchor=anchor)
    cut = found_by(
        engine, tiles_per_partition=1, parameters=parameters, anchor=anchor, **NOTHING_KEPT
    )
    assert_identical(cut, whole)


@pytest.mark.long
@pytest.mark.parametrize("at_once", [1, 4])
def test_columns_that_are_summed_in_several_passes_are_those_summed_in_one(
    engine, expected, at_once, monkeypatch
):
    """With thousands of batches, few columns are summed at a time."""
    monkeypatch.setattr("balans_dask.passes.sums.batch_columns_at_once", lambda *_: at_once)
    found = found_by(engine)
    for name in ("features", "0 places", "1 factor", "1 common", "2 offsets"):
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=1e-13)


@pytest.mark.parametrize("n_components", [4, seldom(None)])
def test_lazy_arrays_give_what_numpy_gives(n_components):
    X, batch = THIRDS[:900], SCREEN.batch[:900]
    model = Balans(n_components=n_components, max_rows=20, n_passes=1, strength=0.7)
    expected = model.fit_transform(X, batch=batch)
    found = model.fit_transform(da.from_array(X, chunks=(250, 3)), batch=batch)
    assert isinstance(found, da.Array)
    assert found.compute(scheduler="threads").tobytes() == expected.tobytes()
    again = model.transform(da.from_array(X, chunks=(300, 5)), batch=batch)
    assert again.compute(scheduler="threads").tobytes() == expected.tobytes()
