"""The elbow by histogram is the elbow of the sorted row, each u at the lower edge of its bin."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from balans_dask.kernels.batch_tiles import tile_by_batch
from balans_dask.kernels.elbow import (
    BINS_PER_UNIT,
    N_BINS,
    elbow_thresholds,
    scaled_distance_counts,
)
from balans_dask.kernels.landmarks import landmark_block
from balans_dask.tiling import TILE_ROWS
from tests.support import reference


def counts_of(u):
    bins = np.floor(u * BINS_PER_UNIT).astype(int)
    return np.bincount(bins[bins < N_BINS], minlength=N_BINS)[None]


@given(
    n=st.integers(2, 3000),
    shape=st.floats(0.3, 8.0),
    scale=st.floats(0.05, 4.0),
    seed=st.integers(0, 10_000),
)
def test_the_histogram_finds_the_elbow_of_the_sorted_row(n, shape, scale, seed):
    u = np.random.default_rng(seed).gamma(shape, scale, size=n)
    u[0] = 0.0
    (threshold,) = elbow_thresholds(counts_of(u), n)
    assert threshold / BINS_PER_UNIT == reference.elbow(u)


def test_a_clear_gap_is_cut_where_it_ends():
    u = np.concatenate([[0.0], np.full(9, 0.5), np.full(990, 6.0)])
    (threshold,) = elbow_thresholds(counts_of(u), len(u))
    assert threshold / BINS_PER_UNIT == 6.0


def test_rows_beyond_the_histogram_end_the_chord_at_zero():
    u = np.concatenate([[0.0], np.full(4, 1.0), np.full(95, 50.0)])
    (threshold,) = elbow_thresholds(counts_of(u), len(u))
    assert threshold == N_BINS


def test_a_row_without_an_elbow_keeps_everything():
    (threshold,) = elbow_thresholds(counts_of(np.array([0.0, 1.0])), 2)
    assert threshold == N_BINS


@pytest.mark.parametrize(("limit", "kept"), [(1000, 100), (60, 60), (10, 10), (1, 1)])
def test_max_neighbors_lowers_the_threshold_to_hold_at_most_that_many(limit, kept):
    u = np.concatenate([np.arange(100) / BINS_PER_UNIT, np.full(900, 20.0)])
    (threshold,) = elbow_thresholds(counts_of(u), len(u), limit)
    assert (u < threshold / BINS_PER_UNIT).sum() == kept


def test_more_duplicates_than_max_neighbors_keep_none():
    (threshold,) = elbow_thresholds(counts_of(np.zeros(50)), 50, 10)
    assert threshold == 0


def test_two_ranks_are_never_an_elbow():
    """Whatever the last affinity a is, and although 1 - (1 - a) is not always a."""
    pairs = np.eye(N_BINS, dtype=np.uint32)
    pairs[:, 0] += 1
    assert (elbow_thresholds(pairs, 2) == N_BINS).all()


def test_u_at_the_edge_of_a_bin_is_in_the_bin_that_begins_there():
    """Also where a product with the reciprocal falls short: 49 * (1 / 49) < 1."""
    grid = np.indices((12, 12, 12)).reshape(3, -1).T.astype(np.float32)
    scales = np.arange(1, 401)
    origins = landmark_block(np.zeros(400, dtype=int), np.zeros((400, 3), np.float32), 400)
    counts = scaled_distance_counts(
        tile_by_batch(0, grid, np.zeros(len(grid), dtype=int)),
        origins.with_scales(scales[:, None].astype(float)),
    )
    squared = (grid.astype(int) ** 2).sum(axis=1)
    bins = squared * BINS_PER_UNIT // scales[:, None]
    for found, expected in zip(counts, bins, strict=True):
        np.testing.assert_array_equal(
            found, np.bincount(expected[expected < N_BINS], minlength=N_BINS)
        )


def test_counts_agree_with_dense_distances(rng):
    n, n_batches = TILE_ROWS + 300, 3
    scores = (rng.normal(size=(n, 4)) * 4).round().astype(np.float32)
    codes = rng.integers(n_batches, size=n)
    rows = np.array([5, TILE_ROWS + 20, 77])
    scales = rng.integers(1, 9, size=(3, n_batches)).astype(float)
    block = landmark_block(rows, scores[rows], 4).with_scales(scales)
    counts = scaled_distance_counts(tile_by_batch(0, scores, codes), block)
    for i, row in enumerate(rows):
        u = ((scores - scores[row]) ** 2).sum(axis=1).astype(float) / scales[i, codes]
        np.testing.assert_array_equal(counts[i], counts_of(u)[0])
