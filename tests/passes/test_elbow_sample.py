"""Elbows of `align` are found on a sample of the rows, which is all of them where they are few."""

from dataclasses import replace

import numpy as np
import pytest

from balans_dask.io.sources import StoredRows
from balans_dask.kernels import coverage
from balans_dask.kernels.coverage import elbow_rows
from balans_dask.kernels.elbow import BINS_PER_UNIT
from balans_dask.labels import batch_labels
from balans_dask.model.inputs import Inputs
from balans_dask.model.plan import plan_run
from balans_dask.parameters import Parameters
from balans_dask.passes.round import ElbowSample, elbows
from balans_dask.passes.threads import ThreadsEngine
from balans_dask.tiling import TILE_ROWS, Tiling
from tests.support import reference
from tests.support.fits import one_pass
from tests.support.screens import gaussian_screen

pytestmark = pytest.mark.filterwarnings("ignore:.*covered by no sampled row")
SCREEN = gaussian_screen(3 * TILE_ROWS + 55, n_features=5)
PARAMETERS = Parameters(n_components=None, max_rows=96, block_rows=32)


def fitted(engine, parameters=PARAMETERS, tiles_per_partition=1):
    labels = batch_labels([SCREEN.batch], ["batch"], len(SCREEN.batch))
    inputs = Inputs(StoredRows(SCREEN.profiles), labels, [f"f{i}" for i in range(5)])
    plan = plan_run(inputs, parameters, engine.workers())
    plan = replace(plan, tiling=Tiling(len(SCREEN.batch), tiles_per_partition))
    return one_pass(engine, inputs, parameters, plan)


@pytest.fixture(scope="module")
def thread():
    with ThreadsEngine(1) as opened:
        yield opened


@pytest.fixture(scope="module")
def fit(thread):
    return fitted(thread)


def sampled_elbows(engine, fit, block):
    sample = ElbowSample.draw(engine, fit.prepared.scores, 0, 0)
    return sample.rows, elbows(engine, fit.prepared.scores, block, None, sample).thresholds


def test_of_all_rows_it_finds_what_a_count_of_all_partitions_does(thread, fit):
    for block in fit.sampled.blocks:
        rows, thresholds = sampled_elbows(thread, fit, block)
        assert len(rows) == len(SCREEN.batch)
        counted = elbows(thread, fit.prepared.scores, block, None, None)
        np.testing.assert_array_equal(thresholds, counted.thresholds)
        np.testing.assert_array_equal(thresholds, block.thresholds)


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(coverage, "ELBOW_ROWS", 1500)


def test_of_some_rows_it_is_the_elbow_of_these_and_the_landmark(few, thread, fit):
    scores = fit.prepared.scores
    P = np.concatenate([tiles.rows_in_input_order() for tiles in thread.gather(scores.cached)])
    assert np.isin(fit.sampled.rows, elbow_rows(0, 0, len(P))).any()
    for block in fit.sampled.blocks:
        rows, thresholds = sampled_elbows(thread, fit, block)
        assert len(rows) == 1500
        for row, scales, threshold in zip(block.rows, block.scales, thresholds, strict=True):
            counted = np.union1d(rows, [row])
            difference = P[counted].astype(np.float64) - P[row]
            u = (difference**2).sum(axis=1) / scales[scores.codes[counted]]
            # A distance may be rounded over the edge of a bin.
            assert abs(threshold / BINS_PER_UNIT - reference.elbow(u)) <= 1 / BINS_PER_UNIT


def test_neither_partitions_nor_workers_change_it(few, thread, engine):
    alone, many = fitted(thread, tiles_per_partition=4), fitted(engine)
    np.testing.assert_array_equal(alone.sampled.rows, many.sampled.rows)
    for one, other in zip(alone.sampled.blocks, many.sampled.blocks, strict=True):
        np.testing.assert_array_equal(one.thresholds, other.thresholds)


@pytest.mark.parametrize(
    "parameters",
    [
        Parameters(n_components=None, max_rows=96, operator="smooth"),
        replace(PARAMETERS, max_neighbors=50),
    ],
    ids=["smooth", "max_neighbors"],
)
def test_the_papers_operators_and_a_limit_of_neighbours_count_all_rows(few, thread, parameters):
    found = fitted(thread, parameters)
    for block in found.sampled.blocks:
        limit = parameters.max_neighbors
        counted = elbows(thread, found.prepared.scores, block, limit, None)
        np.testing.assert_array_equal(block.thresholds, counted.thresholds)


def test_the_sample_is_uniform_and_its_own_in_every_pass(few, monkeypatch):
    n_rows = 40_000
    rows = elbow_rows(3, 0, n_rows)
    assert (np.diff(rows) > 0).all()
    in_tenths = np.bincount(rows * 10 // n_rows)
    # Seven deviations of a binomial count.
    assert np.abs(in_tenths - 150).max() < 7 * np.sqrt(1500 * 0.09)
    for other in (elbow_rows(4, 0, n_rows), elbow_rows(3, 1, n_rows)):
        assert len(np.intersect1d(rows, other)) < 150
    monkeypatch.setattr(coverage, "DRAWN_AT_ONCE", 700)
    np.testing.assert_array_equal(elbow_rows(3, 0, n_rows), rows)
    np.testing.assert_array_equal(elbow_rows(3, 0, 900), np.arange(900))
