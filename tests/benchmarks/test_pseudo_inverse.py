"""The experiment on the pseudo-inverse: its figures by hand, and what a run says."""

import numpy as np
import pytest

from benchmarks.experiments import pseudo_inverse
from benchmarks.harness import dense_operators as dense
from tests.benchmarks.experiment_runs import tiny
from tests.support.screens import gaussian_screen


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    return tiny(pseudo_inverse.EXPERIMENT, tmp_path_factory.mktemp("inverse"))


def test_leaked_mass_counts_absolute_weights_on_other_labels():
    weights = np.array([[0.5, 0.5, 0.0], [1.2, 0.3, -0.5], [0.0, 0.25, 0.75]])
    leaked = pseudo_inverse.leaked_mass(weights, np.array([0, 0, 1]))
    np.testing.assert_allclose(leaked, [0.0, 0.25, 0.25])


def test_a_cluster_is_asked_for_as_many_neighbours_as_it_has_rows():
    line = np.array([[0.0], [1.0], [2.1], [3.3], [50.0]])
    label = np.array([0, 0, 1, 1, 2])
    shares = pseudo_inverse.same_label_of(line, label)
    np.testing.assert_array_equal(shares, [1.0, 1.0, 0.0, 1.0, np.nan])


def test_all_rows_as_landmarks_are_the_limits():
    screen = gaussian_screen(150, n_clusters=4)
    everywhere = np.arange(150)
    squared = dense.squared_distances(screen.profiles, everywhere)
    scales = dense.batch_scales(squared, everywhere, screen.batch, 5)
    rows = dense.affinity_rows(squared, everywhere, scales)
    sums = rows.kept.sum(axis=1)
    for operator, trust in ((dense.smooth, np.ones(150)), (dense.landmark_normalised, 1 / sums)):
        limit = pseudo_inverse._two_steps(rows.kept, trust)
        np.testing.assert_allclose(operator(rows, np.eye(150)), limit, atol=1e-12)


def test_rows_whose_own_weights_cancel_are_given_up():
    screen = gaussian_screen(300, n_clusters=12)
    everywhere = np.arange(300)
    squared = dense.squared_distances(screen.profiles, everywhere)
    scales = dense.batch_scales(squared, everywhere, screen.batch, 5)
    rows = dense.affinity_rows(squared, everywhere, scales)
    by_row, as_package = (
        np.abs(dense.nystrom(rows, np.eye(300), by_row)).sum(axis=1).max()
        for by_row in (True, False)
    )
    assert by_row <= 10 + 1e-9
    assert as_package > by_row


def test_operators_stand_beside_their_limits(ran):
    record, text = ran
    by_operator = {}
    for run in record["runs"]:
        by_operator.setdefault(run["operator"], []).append(run)
    assert list(by_operator) == ["raw", *pseudo_inverse.OPERATORS, *pseudo_inverse.LIMITS]
    for limit in pseudo_inverse.LIMITS:
        assert all(run["errors"][limit] == 0 for run in by_operator[limit])
    for operator in pseudo_inverse.OPERATORS:
        for run in by_operator[operator]:
            assert all(each > 0 for each in run["errors"].values())
            assert 0 <= run["leaked"] <= 1
    assert all(run["amplified"] == 0 for run in by_operator["nystrom, by row"])
    assert "| 1:100, 1:1, smooth |" in text
