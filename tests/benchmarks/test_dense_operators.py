"""The dense operators of the experiments against the package, on the same sampled rows."""

import numpy as np
import pytest

from balans_dask import Balans
from benchmarks.harness import dense_operators as dense
from tests.support.screens import gaussian_screen

pytestmark = pytest.mark.filterwarnings("ignore:.*covered by no sampled row")


def sampled(profiles, batch, rows, n_neighbors=5):
    squared = dense.squared_distances(profiles, rows)
    scales = dense.batch_scales(squared, rows, batch, n_neighbors)
    return dense.affinity_rows(squared, rows, scales)


@pytest.mark.parametrize("max_rows", [None, 6])
def test_batch_dependent_scales_give_what_the_package_gives(max_rows):
    screen = gaussian_screen(500, n_clusters=12)
    model = Balans(
        n_components=None, max_scale_ratio=None, operator="smooth", max_rows=max_rows, patience=9
    )
    corrected = model.fit_transform(screen.profiles, batch=screen.batch)
    found = sampled(screen.profiles, screen.batch, model.sampled_rows_)
    np.testing.assert_array_equal(found.covered, model.coverage_ > 0)
    by_equations = dense.smooth(found, screen.profiles.astype(np.float64))
    np.testing.assert_allclose(by_equations, corrected, rtol=1e-3, atol=1e-3)


def test_the_kth_neighbour_is_another_row_and_the_farthest_where_there_are_few():
    line = np.array([[0.0], [1.0], [3.0], [7.0], [20.0]])
    rows = np.array([0, 4])
    squared = dense.squared_distances(line, rows)
    np.testing.assert_array_equal(dense.kth_squared_distance(squared, rows, 2), [9.0, 17.0**2])
    first_two = np.arange(5) < 2
    found = dense.kth_squared_distance(squared, rows, 5, first_two)
    np.testing.assert_array_equal(found, [1.0, 400.0])
    alone = np.arange(5) == 4
    assert dense.kth_squared_distance(squared, rows, 5, alone)[1] == 0.0


def test_operators_average_with_weights_that_sum_to_1():
    screen = gaussian_screen(200, n_clusters=4)
    found = sampled(screen.profiles, screen.batch, np.arange(0, 200, 9))
    identity = np.eye(200)
    np.testing.assert_allclose(dense.smooth(found, identity).sum(axis=1), 1.0, rtol=1e-8)
    graph = dense.graph_per_batch(screen.profiles, screen.batch, 3, identity)
    n_batches = len(np.unique(screen.batch))
    np.testing.assert_allclose(graph.max(axis=1), 1 / (3 * n_batches))
    np.testing.assert_array_equal(graph.diagonal(), 0.0)
