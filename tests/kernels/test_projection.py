"""The preprocessor against scikit-learn, and the moments it is made of."""

import math

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from balans_dask.kernels.projection import (
    add_moments,
    centring,
    moments_of_tile,
    principal_components,
)


def fitted(values, n_components):
    moments = moments_of_tile(values)
    used = np.flatnonzero(~moments.constant)
    centred = values[:, used] - moments.mean[used]
    if n_components is None:
        return centring(moments, (centred**2).sum(axis=0), moments.n_rows)
    scatter = centred.T @ centred
    return principal_components(moments, np.diag(scatter), scatter, moments.n_rows, n_components)


def test_scores_are_scikit_learns_up_to_sign(rng):
    values = rng.normal(size=(300, 12)) @ rng.normal(size=(12, 12)) + 100 * rng.normal(size=12)
    projection = fitted(values, 5)
    expected = PCA(5, svd_solver="full").fit_transform(StandardScaler().fit_transform(values))
    signs = np.sign((projection.scores(values) * expected).sum(axis=0))
    np.testing.assert_allclose(projection.scores(values) * signs, expected, atol=2e-5)
    expected_variance = expected.var(axis=0).sum()
    assert projection.total_variance == pytest.approx(expected_variance, rel=1e-10)


def test_the_largest_loading_of_every_component_is_positive(rng):
    projection = fitted(rng.normal(size=(200, 9)), 9)
    loadings = projection.weights
    assert (loadings[np.abs(loadings).argmax(axis=0), np.arange(9)] > 0).all()


def test_components_are_at_most_features_and_rows_less_one(rng):
    assert fitted(rng.normal(size=(200, 4)), 50).n_components == 4
    assert fitted(rng.normal(size=(6, 30)), 50).n_components == 5


def test_constant_features_take_no_part(rng):
    values = rng.normal(size=(100, 4))
    values[:, 2] = 0.1
    projection = fitted(values, 3)
    assert projection.used.tolist() == [0, 1, 3]
    without = fitted(np.delete(values, 2, axis=1), 3)
    np.testing.assert_array_equal(projection.weights, without.weights)


def test_an_embedding_is_centred_and_not_scaled(rng):
    values = rng.normal(size=(100, 3)) * [1, 10, 100] + 5
    projection = fitted(values, None)
    centred = projection.scores(values) * projection.unit
    np.testing.assert_allclose(centred, values - values.mean(axis=0), atol=1e-4)
    variance = projection.total_variance * projection.unit**2
    assert variance == pytest.approx(values.var(axis=0).sum())


def test_moments_count_what_is_not_finite():
    values = np.float32([[1, np.nan, 3], [np.inf, np.nan, 3], [1, 2, 3]])
    moments = moments_of_tile(values)
    assert moments.n_bad.tolist() == [1, 2, 0]
    assert moments.n_bad_rows == 2
    assert moments.constant.tolist() == [False, False, True]


def test_moments_of_parts_are_moments_of_the_whole(rng):
    values = rng.integers(-50, 50, size=(90, 4)).astype(np.float32)
    whole = moments_of_tile(values)
    joined = add_moments([moments_of_tile(values[i : i + 30]) for i in (0, 30, 60)])
    for name in ("total", "smallest", "largest", "n_bad"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(whole, name))
    assert len(joined.digests) == 3


def test_the_fingerprint_sees_a_single_bit(rng):
    values = rng.normal(size=(50, 3)).astype(np.float32)
    changed = values.copy()
    changed[7, 1] = np.nextafter(changed[7, 1], np.float32(np.inf))
    assert moments_of_tile(values).fingerprint == moments_of_tile(values.copy()).fingerprint
    assert moments_of_tile(values).fingerprint != moments_of_tile(changed).fingerprint


def test_the_mean_of_large_values_has_the_digits_of_float64():
    """Of 2,000 float32 values at 10^6 +- 1, tile by tile: sums in float32 have six digits."""
    values = (1e6 + np.sin(np.arange(2000) ** 2)).astype(np.float32)[:, None]
    (mean,) = add_moments([moments_of_tile(part) for part in np.array_split(values, 2)]).mean
    # A float32 here would be compared in float32.
    assert float(mean) == pytest.approx(math.fsum(values[:, 0]) / 2000, rel=1e-13)
