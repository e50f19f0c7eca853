"""Newness, idle rows and the end of the loop."""

import numpy as np
import pytest
from screens import gaussian_screen

from balans_dask import Balans
from balans_dask.idle import idle_until
from balans_dask.kernels.affinity import AffinityRows
from balans_dask.kernels.coverage import add_coverage, no_coverage

pytestmark = pytest.mark.filterwarnings("ignore:.*covered by no sampled row")


def kept(*rows):
    """Rows of A_S that are kept by each landmark of a block, in one tile."""
    indptr = np.append(0, np.cumsum([len(of_landmark) for of_landmark in rows]))
    columns = np.concatenate(rows).astype(np.uint16)
    return AffinityRows(len(rows), indptr, columns, np.ones(len(columns), dtype=np.float32))


def test_a_new_point_belongs_to_the_first_row_in_draw_order():
    before = add_coverage(no_coverage(0, 10, None), np.array([9]), kept([0, 1]))
    assert before.reach.n_new.tolist() == [2]
    after = add_coverage(before, np.array([5, 2, 7]), kept([0, 5], [1, 2, 5], [2, 6, 7]))
    assert after.reach.n_new.tolist() == [1, 1, 2]
    assert after.reach.n_kept.tolist() == [2, 3, 3]


def test_idle_rows_count_across_blocks_and_start_again_at_a_new_point():
    assert idle_until(0, np.array([3, 0, 0]), 0, 4) == (3, 2)
    assert idle_until(2, np.array([0, 1, 0, 0]), 0, 4) == (4, 2)
    assert idle_until(2, np.array([0, 0, 0, 5]), 0, 4) == (2, 4)


def test_the_tolerance_counts_few_new_points_as_none():
    assert idle_until(0, np.array([3, 2, 2, 9]), 2.0, 2) == (3, 2)


@pytest.mark.parametrize("block_rows", [1, 7, 64])
def test_rows_after_the_stopping_row_are_discarded(block_rows):
    screen = gaussian_screen(1500)
    model = Balans(n_components=None, patience=9, block_rows=block_rows)
    model.fit(screen.profiles, batch=screen.batch)
    assert model.stop_reason_ == "patience"
    n_sampled = len(model.sampled_rows_)
    assert n_sampled == len(set(model.sampled_rows_))
    assert len(model.scales_) == len(model.thresholds_) == n_sampled
    assert model.coverage_curve_[-1].tolist() == [n_sampled, (model.coverage_ > 0).sum()]
    again = Balans(n_components=None, patience=500, block_rows=block_rows, max_rows=n_sampled).fit(
        screen.profiles, batch=screen.batch
    )
    np.testing.assert_array_equal(again.sampled_rows_, model.sampled_rows_)
    np.testing.assert_allclose(again.coverage_, model.coverage_, rtol=1e-12)


def test_a_larger_tolerance_stops_earlier():
    screen = gaussian_screen(3000, n_clusters=15)
    strict = Balans(n_components=None, patience=5).fit(screen.profiles, batch=screen.batch)
    loose = Balans(n_components=None, patience=5, coverage_tol=0.01)
    loose.fit(screen.profiles, batch=screen.batch)
    assert len(loose.sampled_rows_) < len(strict.sampled_rows_)


def test_coverage_never_falls():
    screen = gaussian_screen(2000)
    curve = Balans(n_components=None).fit(screen.profiles, batch=screen.batch).coverage_curve_
    assert (np.diff(curve, axis=0) >= 0).all()


def test_max_neighbors_bounds_every_row_of_the_matrix():
    screen = gaussian_screen(2000)
    model = Balans(n_components=None, max_neighbors=30, max_rows=64, block_rows=64, patience=99)
    model.fit(screen.profiles, batch=screen.batch)
    centred = screen.profiles - screen.profiles.mean(axis=0)
    codes = np.unique(screen.batch, return_inverse=True)[1]
    for row, scales, threshold in zip(
        model.sampled_rows_, model.scales_, model.thresholds_, strict=True
    ):
        u = ((centred - centred[row]) ** 2).sum(axis=1) / scales[codes] ** 2
        assert (u < threshold * (1 - 1e-6)).sum() <= 30


def test_a_cap_on_scales_keeps_them_within_the_ratio():
    screen = gaussian_screen(2000, offset=3.0)
    free = Balans(n_components=None, max_rows=64, max_scale_ratio=None)
    free.fit(screen.profiles, batch=screen.batch)
    capped = Balans(n_components=None, max_rows=64, max_scale_ratio=1.5)
    capped.fit(screen.profiles, batch=screen.batch)
    spread = lambda scales: (scales.max(axis=1) / scales.min(axis=1)).max()  # noqa: E731
    assert spread(free.scales_) > 1.6
    assert spread(capped.scales_) <= 1.5 * (1 + 1e-12)
