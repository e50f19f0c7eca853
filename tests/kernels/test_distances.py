"""Distances survive cancellation and agree with SciPy within the stated bound."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from balans_dask.kernels.distances import (
    CANCELLATION,
    difference_squared,
    inner_products,
    pair_squared,
    product_error,
    squared_norms,
)
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


def test_near_duplicates_are_measured_by_their_difference(rng):
    a = (rng.normal(size=40) + 100).astype(np.float32)
    b = a + np.float32(1e-4) * rng.normal(size=40).astype(np.float32)
    norms = float(squared_norms(np.stack([a, b])).sum())
    product = np.float32(a @ b)
    exact = float(((a.astype(np.float64) - b.astype(np.float64)) ** 2).sum())
    assert abs(norms - 2.0 * float(product) - exact) > exact
    assert pair_squared(product, norms, a, b) == difference_squared(a, b)
    np.testing.assert_allclose(difference_squared(a, b), exact, rtol=1e-14)


def test_distant_pairs_keep_the_product():
    a, b = np.float32([3, 0]), np.float32([0, 4])
    assert pair_squared(np.float32(0), 25.0, a, b) == 25.0
    assert pair_squared(np.float32(1), 25.0, a, b) == 23.0
    nothing_left = 25.0 * (1 - CANCELLATION) / 2
    assert pair_squared(np.float32(nothing_left + 0.1), 25.0, a, b) == 25.0
