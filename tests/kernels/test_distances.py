"""Distances survive cancellation and agree with SciPy within the stated bound."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from balans_dask.kernels.affinity import kept_affinities
from balans_dask.kernels.batch_tiles import tile_by_batch
from balans_dask.kernels.distances import (
    difference_squared,
    differences_squared,
    inner_products,
    product_error,
    squared_norms,
)
from balans_dask.kernels.elbow import BINS_PER_UNIT, N_BINS, scaled_distance_counts
from balans_dask.kernels.landmarks import landmark_block
from balans_dask.tiling import TILE_ROWS


def test_norms_agree_with_numpy_on_a_read_only_array(rng):
    rows = rng.normal(size=(50, 7)).astype(np.float32)
    rows.flags.writeable = False
    np.testing.assert_allclose(
        squared_norms(rows), (rows.astype(np.float64) ** 2).sum(axis=1), rtol=1e-15
    )


@given(
    n_columns=st.integers(1, 300),
    shift=st.sampled_from([0.0, 1.0, 30.0]),
    seed=st.integers(0, 10_000),
)
def test_the_error_of_a_product_stays_within_its_bound(n_columns, shift, seed):
    rng = np.random.default_rng(seed)
    a = (rng.normal(size=(4, n_columns)) + shift).astype(np.float32)
    b = (rng.normal(size=(TILE_ROWS, n_columns)) + shift).astype(np.float32)
    products = np.empty((4, TILE_ROWS), dtype=np.float32)
    inner_products(a, b, products)
    norms = squared_norms(a)[:, None] + squared_norms(b)
    exact = cdist(a.astype(np.float64), b.astype(np.float64), "sqeuclidean")
    error = np.abs(norms - 2.0 * products.astype(np.float64) - exact)
    assert (error <= product_error(n_columns) * norms).all()


@pytest.mark.parametrize("n", [0, 1, 3, 4, 5, 11])
def test_many_distances_at_once_have_the_bits_of_one(rng, n):
    a, b = (rng.normal(size=(20, 51)).astype(np.float32) for _ in range(2))
    rows, found = rng.permutation(20), np.full(n + 1, -1.0)
    differences_squared(a, 7, b, rows, np.empty((4, 51)), found, n)
    expected = [difference_squared(a, 7, b, row) for row in rows[:n]]
    np.testing.assert_array_equal(found, [*expected, -1.0])


def test_near_duplicates_are_measured_by_their_difference(rng):
    """Two heaps of near-duplicates far from the origin, where a product has lost every digit."""
    heaps = np.repeat(rng.normal(size=(2, 40)) * 100, [900, 1100], axis=0)
    scores = (heaps + 1e-4 * rng.normal(size=heaps.shape)).astype(np.float32)
    rows = np.array([5, 1500])
    exact = cdist(scores[rows].astype(np.float64), scores.astype(np.float64), "sqeuclidean")
    norms = squared_norms(scores)
    by_product = norms[rows][:, None] + norms - 2.0 * (scores[rows] @ scores.T).astype(np.float64)
    near = exact < 1
    assert np.median(np.abs(by_product - exact)[near]) > np.median(exact[near])

    tiles = tile_by_batch(0, scores, np.zeros(2000, int))
    block = landmark_block(rows, scores[rows], 2).with_scales(np.full((2, 1), 1e-6))
    block = block.with_thresholds(np.array([N_BINS, N_BINS]))
    u = exact / 1e-6
    for i, counts in enumerate(scaled_distance_counts(tiles, block)):
        bins = np.floor(u[i][u[i] < 8] * BINS_PER_UNIT).astype(int)
        np.testing.assert_array_equal(counts, np.bincount(bins, minlength=N_BINS))
    kept = kept_affinities(tiles, block)
    np.testing.assert_allclose(
        np.sort(kept.values), np.sort(np.exp(-u[u < 8])).astype(np.float32), rtol=1e-6
    )


def test_the_difference_agrees_with_scipy(rng):
    a = rng.normal(size=(5, 33)).astype(np.float32)
    exact = cdist(a.astype(np.float64), a.astype(np.float64), "sqeuclidean")
    for i in range(5):
        for j in range(5):
            found = difference_squared(a, i, a, j)
            np.testing.assert_allclose(found, exact[i, j], rtol=1e-14)
