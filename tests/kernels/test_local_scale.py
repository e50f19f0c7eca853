"""The k-th neighbour within every batch, across partitions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from balans_dask.kernels.batch_tiles import tile_by_batch
from balans_dask.kernels.distances import squared_norms
from balans_dask.kernels.landmarks import landmark_block
from balans_dask.kernels.local_scale import (
    NearestByBatch,
    merge_nearest,
    nearest_by_batch,
    squared_scales,
)
from balans_dask.tiling import TILE_ROWS


def partitions(scores, codes, rows_each):
    return [
        tile_by_batch(start, scores[start : start + rows_each], codes[start : start + rows_each])
        for start in range(0, len(scores), rows_each)
    ]


def scales_of(scores, codes, rows, k, rows_each, floor=0.0):
    block = landmark_block(rows, scores[rows], block_rows=8)
    parts = [nearest_by_batch(tiles, block, k) for tiles in partitions(scores, codes, rows_each)]
    return np.sqrt(squared_scales(merge_nearest(parts), floor))


@given(
    k=st.integers(1, 12),
    tiles_each=st.sampled_from([1, 2, 4]),
    shift=st.sampled_from([0.0, 50.0]),
    seed=st.integers(0, 1000),
)
def test_scales_agree_with_scikit_learn_per_batch(k, tiles_each, shift, seed):
    rng = np.random.default_rng(seed)
    n = 2 * TILE_ROWS + 500
    codes = np.append(np.arange(4), rng.integers(4, size=n - 4))
    scores = (rng.normal(size=(n, 5)) + shift * codes[:, None] / 3).astype(np.float32)
    rows = rng.choice(n, size=7, replace=False)
    scales = scales_of(scores, codes, rows, k, tiles_each * TILE_ROWS)
    for b in range(4):
        members = np.flatnonzero(codes == b)
        index = NearestNeighbors(algorithm="kd_tree").fit(scores[members].astype(np.float64))
        for i, row in enumerate(rows):
            own = int(codes[row] == b)
            wide = scores[row].astype(np.float64)[None]
            expected = index.kneighbors(wide, n_neighbors=k + own)[0][0, -1]
            np.testing.assert_allclose(scales[i, b], expected, rtol=1e-12)


def test_rows_that_tie_in_float32_are_told_apart(rng):
    """Far from the origin, products err by more than all distances: only the bound helps."""
    n, k = 600, 4
    scores = (100.0 + 0.02 * rng.normal(size=(n, 40))).astype(np.float32)
    wide = scores.astype(np.float64)
    exact = ((wide[:8, None] - wide) ** 2).sum(axis=2)
    by_product = squared_norms(scores[:8])[:, None] + squared_norms(scores)
    by_product -= 2.0 * (scores[:8] @ scores.T).astype(np.float64)
    nearest = np.argsort(exact, axis=1)[:, 1 : k + 1]
    assert (np.argsort(by_product, axis=1)[:, 1 : k + 1] != nearest).any(axis=1).all()
    scales = scales_of(scores, np.zeros(n, int), np.arange(8), k, TILE_ROWS)
    expected = np.sqrt(np.sort(exact, axis=1)[:, k])
    np.testing.assert_allclose(scales[:, 0], expected, rtol=1e-12)


def test_a_row_is_not_its_own_neighbour():
    scores = np.float32([[0], [1], [3], [6]])
    scales = scales_of(scores, np.zeros(4, int), np.array([0]), 1, TILE_ROWS)
    assert scales.tolist() == [[1.0]]


def test_another_row_at_the_same_place_is_a_neighbour():
    scores = np.float32([[0], [0], [3]])
    scales = scales_of(scores, np.zeros(3, int), np.array([0]), 1, TILE_ROWS)
    assert scales.tolist() == [[0.0]]


def test_a_small_batch_gives_its_farthest_row_and_a_lone_landmark_the_floor():
    scores = np.float32([[0], [1], [5], [9]])
    codes = np.array([0, 1, 1, 2])
    scales = scales_of(scores, codes, np.array([0]), 3, TILE_ROWS, floor=0.25)
    assert scales.tolist() == [[0.5, 5.0, 9.0]]


def test_exact_duplicates_do_not_give_a_zero_scale():
    scores = np.zeros((20, 3), dtype=np.float32)
    scales = scales_of(scores, np.zeros(20, int), np.array([3]), 5, TILE_ROWS, floor=1e-12)
    assert scales == pytest.approx(1e-6)


def test_merging_is_independent_of_order_and_grouping(rng):
    parts = [
        NearestByBatch(
            np.sort(rng.choice(9, size=4, replace=False)).astype(np.int32),
            np.sort(rng.normal(size=(3, 4, 5)) ** 2, axis=2),
        )
        for _ in range(6)
    ]
    at_once = merge_nearest(parts)
    in_groups = merge_nearest([merge_nearest(parts[4:]), merge_nearest(parts[:4][::-1])])
    np.testing.assert_array_equal(at_once.batches, in_groups.batches)
    np.testing.assert_array_equal(at_once.squared, in_groups.squared)


def test_a_batch_of_the_landmark_alone_has_the_floor_for_a_scale():
    nearest = NearestByBatch(np.arange(3, dtype=np.int32), np.array([[[4.0], [100.0], [np.inf]]]))
    np.testing.assert_array_equal(squared_scales(nearest, floor=0.01), [[4.0, 100.0, 0.01]])
