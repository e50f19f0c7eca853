"""Kept affinities, and the coverage and products made of them, against dense matrices."""

import numpy as np
import pytest

from balans_dask.kernels.affinity import exponential, kept_affinities
from balans_dask.kernels.batch_tiles import tile_by_batch
from balans_dask.kernels.coverage import add_coverage, no_coverage
from balans_dask.kernels.elbow import BINS_PER_UNIT, elbow_thresholds, scaled_distance_counts
from balans_dask.kernels.landmarks import landmark_block
from balans_dask.kernels.smooth import landmark_sums, nearest_landmarks, spread_to_rows
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


def test_coverage_is_the_column_sum_and_counts_new_rows_for_the_first_landmark(case):
    tiles, block, _ = case
    affinities = kept_affinities(tiles, block)
    dense = as_dense(affinities)[:, :N_ROWS].astype(np.float64)
    covered = add_coverage(no_coverage(0, N_ROWS, None), block.rows, affinities)
    np.testing.assert_array_equal(covered.coverage > 0, dense.any(axis=0))
    np.testing.assert_allclose(covered.coverage, dense.sum(axis=0), rtol=1e-14)
    first = (dense > 0).argmax(axis=0)[dense.any(axis=0)]
    np.testing.assert_array_equal(covered.reach.n_new, np.bincount(first, minlength=6))
    np.testing.assert_array_equal(covered.reach.n_kept, (dense > 0).sum(axis=1))
    np.testing.assert_array_equal(np.flatnonzero(covered.drawn), np.sort(block.rows))


def test_coverage_is_that_before_and_the_sum_of_the_block(case):
    """In this order, so that blocks that are computed again lead to the same bits."""
    tiles, block, _ = case
    affinities = kept_affinities(tiles, block)
    start = no_coverage(0, N_ROWS, None)
    once = add_coverage(start, block.rows, affinities)
    twice = add_coverage(once, block.rows, affinities)
    assert not start.coverage.any()
    assert not twice.reach.n_new.any()
    np.testing.assert_array_equal(twice.coverage, once.coverage + once.coverage)


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
    rows = np.float32([[4, 0], [9, 9], [4, 0]])
    scales = np.array([[1.0, 9.0, 100.0], [100.0, 9.0, 1.0], [100.0, 9.0, 1.0]])
    tiles = tile_by_batch(0, rows, np.array([2, 1, 0]))
    block = landmark_block(np.array([7, 8]), landmarks[:2], 4).with_scales(scales[:2])
    last = landmark_block(np.array([9]), landmarks[2:], 4).with_scales(scales[2:])
    found = nearest_landmarks(tiles, 0, np.array([2, 0]), [block, last])
    assert found.tolist() == [1, 0]
    assert nearest_landmarks(tiles, 0, np.array([2]), [last, block]).tolist() == [0]


def test_a_table_of_all_batches_and_one_of_those_here_give_the_same_rows(rng):
    scores = rng.normal(size=(N_ROWS, 4)).astype(np.float32)
    tiles = tile_by_batch(0, scores, rng.choice([3, 5, 11], size=N_ROWS))
    block = landmark_block(np.arange(3), scores[:3], 4).with_scales(rng.uniform(1, 9, (3, 12)))
    block = block.with_thresholds(np.array([100, 200, 300]))
    all_batches = kept_affinities(tiles, block)
    here = kept_affinities(tiles, block.for_batches(tiles.batches))
    assert len(here.values) > 0
    np.testing.assert_array_equal(here.values, all_batches.values)
    np.testing.assert_array_equal(here.columns, all_batches.columns)


def test_a_landmark_with_more_duplicates_than_it_may_keep_keeps_itself(rng):
    scores = np.repeat(rng.normal(size=(5, 3)), 20, axis=0).astype(np.float32)
    tiles = tile_by_batch(0, scores, np.zeros(100, dtype=int))
    block = landmark_block(np.array([41, 7]), scores[[41, 7]], 4).with_scales(np.ones((2, 1)))
    counts = scaled_distance_counts(tiles, block)
    block = block.with_thresholds(elbow_thresholds(counts, 100, max_neighbors=10))
    kept = kept_affinities(tiles, block)
    assert kept.columns.tolist() == [41, 7]
    assert kept.values.tolist() == [1.0, 1.0]


def test_the_exponential_is_the_librarys_to_the_last_bit_of_float32():
    scaled = np.append(np.random.default_rng(0).uniform(0, 8, 200_000), [0.0, 1.0, 8 - 2.0**-40])
    found = np.array([exponential(u) for u in scaled])
    assert np.array_equal(found, np.exp(-scaled).astype(np.float32))
