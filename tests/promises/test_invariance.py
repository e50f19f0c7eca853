"""Same answer for any chunking, partition size, thread or worker: down to the last bit."""

from copy import deepcopy
from dataclasses import replace

import dask.array as da
import numpy as np
import pytest
import zarr
from distributed import Client
from hypothesis import given, settings
from hypothesis import strategies as st

from balans_dask import Balans
from balans_dask.io.sources import StoredRows
from balans_dask.labels import batch_labels
from balans_dask.model.fit import fit, fit_operator
from balans_dask.model.inputs import Inputs
from balans_dask.model.pass_data import correct_pass
from balans_dask.model.state import arrays_of
from balans_dask.parameters import Parameters
from balans_dask.passes.coverage import coverage_of_rows
from balans_dask.passes.dask_engine import DaskEngine
from balans_dask.passes.memory import MemoryPlan
from balans_dask.passes.threads import ThreadsEngine
from balans_dask.passes.workers import Workers
from balans_dask.tiling import TILE_ROWS, Tiling
from tests.support.fits import one_pass
from tests.support.screens import gaussian_screen

pytestmark = pytest.mark.filterwarnings("ignore:.*covered by no sampled row")
SCREEN = gaussian_screen(5 * TILE_ROWS + 123, n_features=10)
THIRDS = SCREEN.profiles / np.float64(3)
"""Float64 values that fill every digit: another order of any sum shows in its last bits."""
PARAMETERS = Parameters(operator="smooth", n_components=6, max_rows=100)


def plan(tiles_per_partition, keep_scores, piece_bytes, keep_products):
    return MemoryPlan(
        tiling=Tiling(len(SCREEN.profiles), tiles_per_partition),
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


def run(
    engine,
    source,
    tiles_per_partition=2,
    keep_scores=True,
    piece_bytes=2**30,
    parameters=PARAMETERS,
    keep_products=True,
):
    names = [f"f{i}" for i in range(source.shape[1])]
    labels = batch_labels([SCREEN.batch], ["batch"], len(SCREEN.batch))
    inputs = Inputs(StoredRows(source), labels, names)
    how = plan(tiles_per_partition, keep_scores, piece_bytes, keep_products)
    fitted = one_pass(engine, inputs, parameters, how)
    learned = fit_operator(engine, fitted)
    parts = engine.gather(correct_pass(engine, fitted.prepared, [learned], None))
    blocks = fitted.sampled.blocks
    # Of align this is the first step, which scores do not take.
    scores = [part.embedding for part in parts if part.embedding is not None]
    return {
        "mean": fitted.prepared.scores.projection.mean,
        "weights": fitted.prepared.scores.projection.weights,
        "rows": fitted.sampled.rows,
        "scales": np.concatenate([block.scales for block in blocks]),
        "thresholds": np.concatenate([block.thresholds for block in blocks]),
        "coverage": coverage_of_rows(engine, fitted.sampled.coverage),
        "sums": np.concatenate(engine.gather(next(iter(vars(learned.operator).values()))), axis=-1),
        "features": np.concatenate([part.features for part in parts]),
        "scores": np.concatenate(scores) if scores else np.empty(0),
        "displacement": np.concatenate([part.displacement for part in parts]),
        "covered": np.concatenate([part.covered for part in parts]),
    }


def assert_identical(found, expected):
    for name, value in expected.items():
        assert found[name].tobytes() == value.tobytes(), name


@pytest.fixture(scope="module")
def expected(engine):
    return run(engine, SCREEN.profiles)


@settings(max_examples=6)
@given(
    chunk_rows=st.integers(500, 25_000),
    chunk_columns=st.integers(1, 10),
    zarr_format=st.sampled_from([2, 3]),
    tiles_per_partition=st.sampled_from([1, 2, 4, 8]),
    kept=st.sampled_from(["nothing", "scores", "scores and products"]),
    piece_bytes=st.sampled_from([0, 10_000, 2**30]),
)
def test_chunks_partitions_and_caches_change_no_bit(
    engine,
    expected,
    tmp_path_factory,
    chunk_rows,
    chunk_columns,
    zarr_format,
    tiles_per_partition,
    kept,
    piece_bytes,
):
    array = zarr.create_array(
        tmp_path_factory.mktemp("chunked") / "x.zarr",
        data=SCREEN.profiles,
        chunks=(chunk_rows, chunk_columns),
        zarr_format=zarr_format,
    )
    found = run(
        engine,
        array,
        tiles_per_partition,
        "scores" in kept,
        piece_bytes,
        keep_products="products" in kept,
    )
    assert_identical(found, expected)


STOPPING = replace(PARAMETERS, max_rows=None, stopping="auto")


@pytest.fixture(scope="module")
def stopped(engine):
    """A run of one partition that stops by itself, sooner than the paper would."""
    paper = run(engine, SCREEN.profiles, parameters=replace(STOPPING, stopping="patience"))
    whole = run(engine, SCREEN.profiles, 8, parameters=STOPPING)
    assert len(whole["rows"]) < len(paper["rows"])
    return whole


@pytest.mark.parametrize("tiles_per_partition", [1, 4])
def test_auto_stops_at_the_same_row_for_any_partition_size(engine, stopped, tiles_per_partition):
    parts = run(engine, SCREEN.profiles, tiles_per_partition, parameters=STOPPING)
    assert_identical(parts, stopped)


def test_auto_goes_on_after_any_round_as_if_nothing_had_happened(engine):
    labels = batch_labels([SCREEN.batch], ["batch"], len(SCREEN.batch))
    inputs = Inputs(StoredRows(SCREEN.profiles), labels, [f"f{i}" for i in range(10)])
    prepared = one_pass(engine, inputs, STOPPING, plan(2, True, 2**30, True)).prepared
    projection = prepared.scores.projection
    states = []
    keep = lambda done: states.append(deepcopy(arrays_of(projection, done)))  # noqa: E731
    whole = fit(engine, prepared, on_round=keep)
    assert whole.sampled.stop_reason == "auto"
    for state in states[len(states) // 2 :]:
        resumed = fit(engine, prepared, resumed=state).sampled
        assert resumed.curve == whole.sampled.curve
        assert resumed.stop_reason == "auto"
        np.testing.assert_array_equal(resumed.rows, whole.sampled.rows)


@pytest.fixture(scope="module")
def expected_thirds(engine):
    return run(engine, THIRDS)


@pytest.mark.parametrize("tiles_per_partition", [1, 4, 8])
def test_every_sum_of_float64_follows_one_tree(engine, expected_thirds, tiles_per_partition):
    found = run(engine, THIRDS, tiles_per_partition)
    assert found["sums"].dtype == found["features"].dtype == np.float64
    assert_identical(found, expected_thirds)


@pytest.mark.parametrize("operator", ["nystrom", "displace", "align"])
def test_partitions_change_no_bit_of_any_operator(engine, operator):
    parameters = replace(PARAMETERS, operator=operator)
    expected = run(engine, THIRDS, 1, parameters=parameters)
    for tiles in (2, 8):
        assert_identical(run(engine, THIRDS, tiles, False, 0, parameters), expected)


@pytest.mark.parametrize("operator", ["smooth", "align"])
def test_threads_without_a_scheduler_change_no_bit(engine, operator):
    parameters = replace(PARAMETERS, operator=operator)
    expected = run(engine, THIRDS, parameters=parameters)
    for n_threads in (1, 3):
        with ThreadsEngine(n_threads) as threads:
            assert_identical(run(threads, THIRDS, 1, parameters=parameters), expected)
            assert_identical(run(threads, THIRDS, 2, False, 0, parameters), expected)


def test_worker_processes_change_no_bit(processes, expected, tmp_path):
    array = zarr.create_array(tmp_path / "x.zarr", data=SCREEN.profiles, chunks=(3000, 10))
    assert_identical(run(DaskEngine(processes), array, 1), expected)
    assert_identical(run(DaskEngine(processes), SCREEN.profiles, 4, keep_scores=False), expected)


def test_a_connection_over_tcp_changes_no_bit(processes, expected):
    with Client(processes.scheduler.address, set_as_default=False) as client:
        assert client.scheduler.address.startswith("tcp://")
        assert_identical(run(DaskEngine(client), SCREEN.profiles), expected)


@pytest.fixture(scope="module")
def of_numpy():
    """Rows that a fit of a numpy array samples, and what it makes of it."""
    model = Balans(operator="smooth", n_components=6, max_rows=100)
    corrected = model.fit_transform(SCREEN.profiles, batch=SCREEN.batch)
    return model.sampled_rows_, corrected


@settings(max_examples=3)
@given(chunk_rows=st.integers(700, 9000), chunk_columns=st.integers(3, 10))
def test_dask_arrays_give_what_numpy_gives(of_numpy, chunk_rows, chunk_columns):
    rows, corrected = of_numpy
    model = Balans(operator="smooth", n_components=6, max_rows=100)
    lazy = da.from_array(SCREEN.profiles, chunks=(chunk_rows, chunk_columns))
    found = model.fit_transform(lazy, batch=SCREEN.batch)
    assert isinstance(found, da.Array)
    assert found.shape == SCREEN.profiles.shape
    np.testing.assert_array_equal(model.sampled_rows_, rows)
    assert found.compute(scheduler="threads").tobytes() == corrected.tobytes()
