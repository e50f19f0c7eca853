"""Affinities in plain numpy: those of the equations, and those that the package finds."""

import numpy as np
import pytest

from balans_dask import Balans
from balans_dask.workflows.mixture import Mixture
from benchmarks.experiments.scaling import cluster_weights, mass_elsewhere, mean_errors
from benchmarks.harness.plain_affinities import (
    NEVER,
    Landmarks,
    affinity_blocks,
    draws_of_clusters,
    first_to_cover,
    landmarks_at,
    landmarks_of,
    nth_landmark,
    shares_after,
)
from tests.support.reference import balans


@pytest.fixture(scope="module")
def screen():
    mixture = Mixture(700, n_features=8, n_clusters=6, n_batches=3, n_batch_specific=2)
    obs = mixture.annotations()
    return (
        np.concatenate([rows for _, rows in mixture.slabs(700)]),
        obs["Metadata_batch"].to_numpy(dtype=str),
        obs["Metadata_treatment"].cat.codes.to_numpy().astype(np.int64),
    )


@pytest.fixture(scope="module")
def model(screen):
    values, batch, _ = screen
    return Balans(operator="smooth", n_components=None).fit(values, batch=batch)


def test_without_the_guard_they_are_those_of_the_reference(screen):
    values, batch, _ = screen
    run = balans(
        values.astype(np.float64),
        batch,
        n_neighbors=5,
        patience=5,
        max_rows=6,
        exponentials=lambda number, n: np.random.default_rng(number).exponential(size=n),
    )
    found = landmarks_at(values, batch, np.array(run.rows), guarded=False)
    np.testing.assert_allclose(np.sqrt(found.scales), run.scales, rtol=1e-6)
    np.testing.assert_array_equal(found.thresholds, run.thresholds)
    ((_, kept),) = affinity_blocks(values, batch, found, np.arange(len(values)))
    np.testing.assert_allclose(kept, run.affinities, atol=1e-9)


def test_with_the_guard_they_are_those_of_the_package(screen, model):
    values, batch, _ = screen
    assert model.n_capped_ > 0
    found, fitted = landmarks_at(values, batch, model.sampled_rows_), landmarks_of(model)
    np.testing.assert_allclose(found.scales, fitted.scales, rtol=1e-4)
    # An elbow may lie a bin off where a distance is rounded over the edge of a bin.
    assert (found.thresholds == fitted.thresholds).mean() > 0.95
    every = np.arange(len(values))
    covered = sum(kept.sum(axis=0) for _, kept in affinity_blocks(values, batch, fitted, every))
    np.testing.assert_allclose(covered, model.coverage_, rtol=1e-4, atol=1e-6)


def test_rows_are_covered_after_as_many_draws_as_the_curve_of_the_fit_says(screen, model):
    values, batch, _ = screen
    draws = first_to_cover(values, batch, landmarks_of(model), np.arange(len(values)))
    n_drawn, n_covered = model.coverage_curve_.T
    assert shares_after(draws, n_drawn) == [round(n / len(values), 6) for n in n_covered]


def test_clusters_are_reached_by_share_and_by_landmarks():
    draws, cluster = np.array([4, 1, 2, NEVER, 7]), np.array([0, 0, 0, 1, 1])
    assert draws_of_clusters(draws, cluster, 0.5).tolist() == [2, 7]
    assert draws_of_clusters(draws, cluster, 0.0).tolist() == [1, 7]
    assert draws_of_clusters(draws, cluster, 1.0).tolist() == [4, NEVER]
    assert nth_landmark(np.array([2, 0, 2, 2]), 3, 1).tolist() == [2, NEVER, 1]
    assert nth_landmark(np.array([2, 0, 2, 2]), 3, 2).tolist() == [NEVER, NEVER, 3]


def test_weights_of_the_operator_are_those_of_the_matrix(screen, model):
    values, batch, cluster = screen
    landmarks, every = landmarks_of(model), np.arange(len(values))
    ((_, kept),) = affinity_blocks(values, batch, landmarks, every)
    matrix = kept.T @ kept
    matrix /= matrix.sum(axis=1, keepdims=True)
    found = cluster_weights(values, batch, cluster, landmarks, every, every)
    np.testing.assert_allclose(found, matrix @ np.eye(6)[cluster])
    same = cluster[:, None] == cluster
    assert mass_elsewhere(found, cluster) == pytest.approx((matrix * ~same).sum(axis=1).mean())


def test_a_row_that_nothing_covers_is_left_out_of_the_mass():
    values, batch = np.array([[0.0], [0.1], [0.2], [9.0]]), np.array(["a"] * 4)
    landmarks = Landmarks(np.array([0]), np.array([[0.04]]), np.array([8.0]))
    cluster, every = np.array([0, 0, 1, 1]), np.arange(4)
    weights = cluster_weights(values, batch, cluster, landmarks, every, every)
    assert np.isnan(weights[3]).all()
    assert 0 < mass_elsewhere(weights, cluster) < 1


def test_errors_of_means_have_two_parts_and_forgive_a_common_shift():
    true = np.array([[0.0, 0.0], [2.0, 0.0]])
    cluster, batch = np.repeat([0, 1], 4), np.tile([0, 1], 4)
    perfect = true[cluster] + [7.0, -3.0]
    assert mean_errors(perfect, cluster, batch, true) == pytest.approx(
        {"mean_error": 0, "between_batches": 0, "of_centres": 0, "spread_kept": 1}, abs=1e-12
    )
    collapsed = mean_errors(0 * perfect, cluster, batch, true)
    assert collapsed["mean_error"] == collapsed["of_centres"] == pytest.approx(1)
    apart = mean_errors(perfect + batch[:, None] * [0.0, 4.0], cluster, batch, true)
    assert apart["between_batches"] == apart["mean_error"] == pytest.approx(2)
    both = mean_errors(values_of(perfect, batch), cluster, batch, true)
    squares = both["between_batches"] ** 2 + both["of_centres"] ** 2
    assert both["mean_error"] ** 2 == pytest.approx(squares)


def values_of(perfect, batch):
    return 0.5 * perfect + batch[:, None] * [1.0, 0.3]
