"""Sums over controls become scikit-learn's shrinkage, and what whitens rows."""

from functools import reduce

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.covariance import LedoitWolf

from balans_dask.kernels.operators import Sphere, TileRows
from balans_dask.kernels.sphering import NO_CONTROLS, add_controls, control_sums, whitening
from tests.support import reference


def drawn(n_rows, n_columns, seed=0, scale=1.0):
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(n_columns, n_columns)) * rng.lognormal(size=n_columns)
    return (rng.standard_t(5, size=(n_rows, n_columns)) @ mixed + 3.0) * scale


def whitened(X, n_cuts=1):
    centred = X - X.mean(axis=0)
    parts = [control_sums([part]) for part in np.array_split(centred, n_cuts)]
    sums = reduce(add_controls, parts)
    return whitening(sums.n_rows, sums.scatter[0], sums.fourth[0])


@given(
    st.integers(3, 300),
    st.integers(2, 60),
    st.integers(0, 2**32),
    st.sampled_from([1e-30, 1, 1e30]),
)
def test_the_shrinkage_is_that_of_scikit_learn(n_rows, n_columns, seed, scale):
    X = drawn(n_rows, n_columns, seed, scale)
    expected = LedoitWolf().fit(X)
    found = whitened(X, n_cuts=3)
    assert found.shrinkage == pytest.approx(expected.shrinkage_, rel=1e-10)
    assert found.rank == n_columns
    np.testing.assert_allclose(found.matrix, found.matrix.T, rtol=1e-9, atol=1e-9 / scale)
    identity = found.matrix @ expected.covariance_ @ found.matrix
    np.testing.assert_allclose(identity, np.eye(n_columns), atol=1e-8)


def test_it_is_what_the_paper_s_equations_say():
    X = drawn(50, 7)
    expected, share = reference.sphere(X, np.ones(50, dtype=bool))
    found = whitened(X)
    assert found.shrinkage == pytest.approx(share, rel=1e-10)
    np.testing.assert_allclose((X - X.mean(axis=0)) @ found.matrix, expected, atol=1e-10)


def test_one_column_is_not_shrunk():
    X = drawn(40, 1)
    found = whitened(X)
    assert found.shrinkage == 0.0
    np.testing.assert_allclose(found.matrix, 1.0 / X.std(axis=0)[None])


def test_columns_alike_are_told_apart_by_the_shrinkage_alone():
    X = drawn(40, 3)
    found = whitened(np.concatenate([X, X[:, :1]], axis=1))
    assert found.rank == 4
    assert 0.0 < found.shrinkage < 1.0


def test_two_controls_have_one_direction():
    assert whitened(drawn(2, 5)).rank == 1


def test_a_tile_without_controls_changes_no_sum():
    sums = control_sums([drawn(9, 3), drawn(9, 2)])
    assert add_controls(sums, NO_CONTROLS) is sums
    assert add_controls(NO_CONTROLS, sums, in_place=True) is sums
    assert add_controls(NO_CONTROLS, NO_CONTROLS).n_rows == 0


def test_each_matrix_is_whitened_by_its_own_and_a_row_alike_in_any_company():
    X, Z = drawn(70, 6), drawn(70, 3)
    values = np.concatenate([X, Z], axis=1)
    mean, of_x, of_z = values.mean(axis=0), whitened(X).matrix, whitened(Z).matrix
    sphere = Sphere([mean], [of_x], [of_z])
    none = np.zeros(70, dtype=np.intp)
    found, covered = sphere.apply(TileRows([], none, none, values))
    assert covered.all()
    expected = np.concatenate(
        [(values - mean)[:, :6] @ of_x, (values - mean)[:, 6:] @ of_z], axis=1
    )
    np.testing.assert_allclose(found, expected, atol=1e-12)
    some = np.array([3, 69, 4])
    alone, _ = sphere.apply(TileRows([], none[:3], none[:3], values[some]))
    assert alone.tobytes() == found[some].tobytes()
