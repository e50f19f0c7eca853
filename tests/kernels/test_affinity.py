"""Kept affinities, and the coverage and products made of them, against dense matrices."""

import numpy as np
import pytest

from balans_dask.kernels.affinity import kept_affinities
from balans_dask.kernels.batch_tiles import tile_by_batch
from balans_dask.kernels.coverage import coverage_gain
from balans_dask.kernels.elbow import BINS_PER_UNIT
from balans_dask.kernels.landmarks import landmark_block
from balans_dask.kernels.smooth import landmark_sums, nearest_landmark, spread_to_rows
from balans_dask.tiling import TILE_ROWS, tile_slices

N_ROWS = 2 * TILE_ROWS + 700


@pytest.fixture
def case(rng):
    scores = (rng.normal(size=(N_ROWS, 4)) * 3).round().astype(np.float32)
    codes = rng.integers(3, size=N_ROWS)
    rows = rng.choice(N_ROWS, size=6, replace=False)
    scales = rng.integers(2, 30, size=(6, 3)).astype(float)
    thresholds = rng.integers(0, 900, size=6)
    block = landmark_block(rows, scores[rows], 8).with_scales(scales).with_thresholds(thresholds)
    d2 = ((scores[rows][:, None] - scores[None]) ** 2).sum(axis=2).astype(float)
    u = d2 / scales[:, codes]
    dense = np.where(u < thresholds[:, None] / BINS_PER_UNIT, np.exp(-u), 0).astype(np.float32)
    return tile_by_batch(0, scores, codes), block, dense


def as_dense(affinities):
    dense = np.zeros((affinities.n_landmarks, affinities.n_tiles * TILE_ROWS), dtype=np.float32)
    for segment in range(len(affinities.indptr) - 1):
        tile, landmark = divmod(segment, affinities.n_landmarks)
        entries = slice(*affinities.indptr[segment : segment + 2])
        dense[landmark, tile * TILE_ROWS + affinities.columns[entries]] = affinities.values[entries]
    return dense


def test_entries_below_the_threshold_are_kept_and_no_others(case):
    tiles, block, dense = case
    kept = as_dense(kept_affinities(tiles, block))
    np.testing.assert_array_equal(kept[:, :N_ROWS] > 0, dense > 0)
    np.testing.assert_allclose(kept[:, :N_ROWS], dense, rtol=1e-6)
    assert not kept[:, N_ROWS:].any()
    assert (kept > 0).any(axis=1).sum() >= 5


def test_a_landmark_has_affinity_one_to_itself(case):
    tiles, block, _ = case
    kept = as_dense(kept_affinities(tiles, block))
    own = kept[np.arange(6), block.rows]
    np.testing.assert_array_equal(own, (block.thresholds > 0).astype(np.float32))


def test_a_single_tile_is_that_tile_of_the_whole(case):
    tiles, block, _ = case
    whole = kept_affinities(tiles, block)
    for tile in range(tiles.n_tiles):
        alone = kept_affinities(tiles, block, tile)
        for name in ("indptr", "columns", "values"):
            np.testing.assert_array_equal(getattr(alone, name), getattr(whole.tile(tile), name))


def test_the_first_landmarks_are_those_of_a_shorter_block(case):
    tiles, block, _ = case
    shortened = kept_affinities(tiles, block).first(4)
    computed = kept_affinities(tiles, block.first(4))
    for name in ("indptr", "columns", "values"):
        np.testing.assert_array_equal(getattr(shortened, name), getattr(computed, name))


def test_coverage_is_the_column_sum_and_names_the_first_landmark(case):
    tiles, block, _ = case
    affinities = kept_affinities(tiles, block)
    dense = as_dense(affinities)[:, :N_ROWS].astype(np.float64)
    gain = coverage_gain(1000, N_ROWS, affinities)
    np.testing.assert_array_equal(gain.rows - 1000, np.flatnonzero(dense.any(axis=0)))
    np.testing.assert_allclose(gain.gain, dense.sum(axis=0)[gain.rows - 1000], rtol=1e-14)
    np.testing.assert_array_equal(gain.first, (dense > 0).argmax(axis=0)[gain.rows - 1000])


def test_both_products_agree_with_dense_ones(case, rng):
    tiles, block, _ = case
    affinities = kept_affinities(tiles, block)
    dense = as_dense(affinities).astype(np.float64)
    values = rng.normal(size=(N_ROWS, 5))
    sums, spread = np.zeros((6, 5)), np.zeros((N_ROWS, 5))
    for tile, rows in enumerate(tile_slices(N_ROWS)):
        landmark_sums([affinities.tile(tile)], values[rows], sums)
    for tile, rows in enumerate(tile_slices(N_ROWS)):
        spread_to_rows([affinities.tile(tile)], sums, spread[rows])
    np.testing.assert_allclose(sums, dense[:, :N_ROWS] @ values, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(spread, dense[:, :N_ROWS].T @ sums, rtol=1e-11, atol=1e-11)


def test_the_nearest_landmark_is_by_scaled_distance_and_the_first_on_a_tie():
    landmarks = np.float32([[0, 0], [10, 0], [10, 0]])
    rows = np.float32([[4, 0], [4, 0]])
    scales = np.array([[1.0, 100.0], [100.0, 1.0], [100.0, 1.0]])
    found = nearest_landmark(rows, np.array([0, 1]), landmarks, scales)
    assert found.tolist() == [1, 0]
