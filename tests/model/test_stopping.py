"""Newness, idle rows, what may have been missed, and the end of the loop."""

from unittest.mock import ANY

import numpy as np
import pytest

from balans_dask import Balans
from balans_dask.kernels.affinity import AffinityRows
from balans_dask.kernels.coverage import add_coverage, no_coverage
from balans_dask.model.stopping import Drawn, StopRule, Tally, stop_rule
from balans_dask.parameters import Parameters
from balans_dask.workflows.mixture import Mixture
from tests.support.screens import gaussian_screen

pytestmark = pytest.mark.filterwarnings("ignore:.*covered by no sampled row")


def kept(*rows):
    """Rows of A_S that are kept by each landmark of a block, in one tile."""
    indptr = np.append(0, np.cumsum([len(of_landmark) for of_landmark in rows]))
    columns = np.concatenate(rows).astype(np.uint16)
    return AffinityRows(len(rows), indptr, columns, np.ones(len(columns), dtype=np.float32))


def drawn(n_new, n_open=1000, was_open=None, n_left=0, n_sampled=0):
    n_new = np.array(n_new)
    was_open = np.ones(len(n_new), dtype=bool) if was_open is None else np.array(was_open)
    return Drawn(n_new, was_open, n_open, n_left, n_sampled)


def test_a_new_point_belongs_to_the_first_row_in_draw_order():
    before = add_coverage(no_coverage(0, 10, None), np.array([9]), kept([0, 1]))
    assert before.reach.n_new.tolist() == [2]
    after = add_coverage(before, np.array([5, 2, 7]), kept([0, 5], [1, 2, 5], [2, 6, 7]))
    assert after.reach.n_new.tolist() == [1, 1, 2]
    assert after.reach.n_kept.tolist() == [2, 3, 3]


def test_open_rows_are_those_that_nothing_covers_and_that_can_be_drawn():
    reference = np.array([True, True, True, True, False, True])
    before = no_coverage(0, 6, reference)
    assert before.n_open == 5
    assert add_coverage(before, np.array([0]), kept([0, 1, 4])).n_open == 3


def test_idle_rows_count_across_rounds_and_start_again_at_a_new_point():
    rule = StopRule(patience=4)
    n_kept, tally, reason = rule.follow(Tally(), drawn([3, 0, 0]))
    assert (n_kept, tally.n_idle, reason) == (3, 2, "")
    n_kept, after, reason = rule.follow(tally, drawn([0, 1, 0, 0]))
    assert (n_kept, after.n_idle, reason) == (4, 2, "")
    n_kept, after, reason = rule.follow(tally, drawn([0, 0, 0, 5]))
    assert (n_kept, after.n_idle, reason) == (2, 4, "patience")


def test_the_tolerance_counts_few_new_points_as_none():
    n_kept, tally, reason = StopRule(2, at_most_new=2.0).follow(Tally(), drawn([3, 2, 2, 9]))
    assert (n_kept, tally.n_idle, reason) == (3, 2, "patience")


def test_the_paper_s_rule_does_not_see_what_rows_were_drawn():
    everything_hit, nothing_hit = drawn([1] * 900), drawn([1] * 900, was_open=[False] * 900)
    assert StopRule(50).follow(Tally(), everything_hit) == (900, Tally(), "")
    assert StopRule(50).follow(Tally(), nothing_hit) == (900, Tally(), "")


def test_auto_stops_once_a_population_would_have_been_missed_with_a_probability_of_a_percent():
    rule = StopRule(patience=5, smallest=100)
    n_kept, _, reason = rule.follow(Tally(), drawn([1] * 900, n_open=1000))
    assert reason == "auto"
    assert (1 - 100 / 1000) ** n_kept < 0.01 < np.exp(-100 / 1000 * (n_kept - 1))


def test_only_draws_of_uncovered_rows_say_anything_about_uncovered_populations():
    rule = StopRule(patience=5, smallest=100)
    other = [True, False] * 450
    n_kept, tally, _ = rule.follow(Tally(), drawn([1] * 900, was_open=other))
    assert n_kept == 2 * rule.follow(Tally(), drawn([1] * 900))[0] - 1
    assert tally.hits == pytest.approx(100 / 1000 * (n_kept + 1) / 2)


def test_auto_does_not_stop_where_a_population_was_just_found():
    rule = StopRule(patience=5, smallest=100)
    found = [1] * 60 + [100] + [1] * 9
    assert rule.follow(Tally(hits=99.0), drawn(found[56:], n_open=10**6)) == (10, ANY, "auto")


def test_auto_waits_for_no_population_larger_than_all_that_is_uncovered():
    rule = StopRule(patience=5, smallest=100)
    assert rule.follow(Tally(), drawn([1] * 9, n_open=99))[::2] == (5, "auto")
    assert rule.follow(Tally(), drawn([1] * 9, n_open=300))[::2] == (9, "")


def test_a_tally_goes_on_from_round_to_round_as_if_there_were_one():
    rule = StopRule(patience=50, smallest=10)
    whole = rule.follow(Tally(), drawn([3, 10, 0, 0, 12, 1, 2]))
    first = rule.follow(Tally(), drawn([3, 10, 0]))
    assert rule.follow(first[1], drawn([0, 12, 1, 2]))[1:] == whole[1:]


@pytest.mark.parametrize(
    ("n_left", "n_sampled", "reason"),
    [(10, 256, "share"), (11, 256, ""), (0, 255, ""), (0, 300, "share")],
)
def test_share_stops_after_the_round_that_leaves_one_row_in_a_hundred_of_256_landmarks(
    n_left, n_sampled, reason
):
    rule = stop_rule(Parameters(stopping="share", patience=3), 5000, 1000)
    seen = drawn([1, 0, 2, 0], n_left=n_left, n_sampled=n_sampled)
    assert rule.follow(Tally(), seen) == (4, Tally(n_idle=1), reason)


def test_patience_ends_share_too():
    rule = stop_rule(Parameters(stopping="share", patience=3), 5000, 1000)
    seen = drawn([1, 0, 0, 0, 5], n_left=500, n_sampled=300)
    assert rule.follow(Tally(), seen) == (4, Tally(n_idle=3), "patience")


@pytest.mark.parametrize(("n_rows", "smallest"), [(5, 1), (19_999, 1), (200_000, 20)])
def test_the_smallest_population_is_a_ten_thousandth_of_the_rows(n_rows, smallest):
    assert stop_rule(Parameters(stopping="auto"), n_rows, n_rows).smallest == smallest
    assert stop_rule(Parameters(stopping="patience"), n_rows, n_rows).smallest is None


def test_on_small_screens_both_rules_stop_at_the_same_row():
    screen = gaussian_screen(1500)
    fits = [
        Balans(operator="smooth", n_components=None, patience=9, stopping=rule).fit(
            screen.profiles, batch=screen.batch
        )
        for rule in ("auto", "patience")
    ]
    np.testing.assert_array_equal(fits[0].sampled_rows_, fits[1].sampled_rows_)
    assert fits[0].stop_reason_ == fits[1].stop_reason_ == "patience"


@pytest.fixture(scope="module")
def with_rare_clusters():
    """Large enough for a long tail; five clusters of 20 rows in 40,000."""
    mixture = Mixture(40_000, n_features=16, n_clusters=8, n_rare=5, rare_share=5e-4)
    profiles = np.concatenate([rows for _, rows in mixture.slabs(8192)])
    obs = mixture.annotations()
    fits = {
        rule: Balans(operator="smooth", n_components=None, stopping=rule).fit(
            profiles, batch=obs["Metadata_batch"]
        )
        for rule in ("auto", "patience")
    }
    return mixture, obs["Metadata_treatment"].cat.codes.to_numpy(), fits


def test_auto_draws_the_first_rows_of_patience_and_fewer(with_rare_clusters):
    _, _, fits = with_rare_clusters
    auto, patience = (fits[rule].sampled_rows_ for rule in ("auto", "patience"))
    assert (fits["auto"].stop_reason_, fits["patience"].stop_reason_) == ("auto", "patience")
    assert len(auto) < 0.85 * len(patience)
    np.testing.assert_array_equal(auto, patience[: len(auto)])


def test_auto_covers_rare_clusters(with_rare_clusters):
    mixture, cluster, fits = with_rare_clusters
    covered = fits["auto"].coverage_ > 0
    for rare in range(mixture.n_clusters, mixture.n_clusters + mixture.n_rare):
        assert (cluster == rare).sum() == mixture.rare_rows == 20
        assert covered[cluster == rare].mean() > 0.9
    assert covered.mean() > 0.98


@pytest.mark.parametrize("block_rows", [pytest.param(1, marks=pytest.mark.long), 7, 64])
def test_rows_after_the_stopping_row_are_discarded(block_rows):
    screen = gaussian_screen(1500)
    model = Balans(operator="smooth", n_components=None, patience=9, block_rows=block_rows)
    model.fit(screen.profiles, batch=screen.batch)
    assert model.stop_reason_ == "patience"
    n_sampled = len(model.sampled_rows_)
    assert n_sampled == len(set(model.sampled_rows_))
    assert len(model.scales_) == len(model.thresholds_) == n_sampled
    assert model.coverage_curve_[-1].tolist() == [n_sampled, (model.coverage_ > 0).sum()]
    again = Balans(
        operator="smooth",
        n_components=None,
        patience=500,
        block_rows=block_rows,
        max_rows=n_sampled,
    ).fit(screen.profiles, batch=screen.batch)
    np.testing.assert_array_equal(again.sampled_rows_, model.sampled_rows_)
    np.testing.assert_allclose(again.coverage_, model.coverage_, rtol=1e-12)


def test_a_larger_tolerance_stops_earlier():
    screen = gaussian_screen(3000, n_clusters=15)
    strict = Balans(operator="smooth", n_components=None, patience=5).fit(
        screen.profiles, batch=screen.batch
    )
    loose = Balans(operator="smooth", n_components=None, patience=5, coverage_tol=0.01)
    loose.fit(screen.profiles, batch=screen.batch)
    assert len(loose.sampled_rows_) < len(strict.sampled_rows_)


def test_coverage_never_falls():
    screen = gaussian_screen(2000)
    curve = (
        Balans(operator="smooth", n_components=None)
        .fit(screen.profiles, batch=screen.batch)
        .coverage_curve_
    )
    assert (np.diff(curve, axis=0) >= 0).all()


def test_max_neighbors_bounds_every_row_of_the_matrix():
    screen = gaussian_screen(2000)
    model = Balans(
        operator="smooth",
        n_components=None,
        max_neighbors=30,
        max_rows=64,
        block_rows=64,
        patience=99,
    )
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
    free = Balans(operator="smooth", n_components=None, max_rows=64, max_scale_ratio=None)
    free.fit(screen.profiles, batch=screen.batch)
    capped = Balans(operator="smooth", n_components=None, max_rows=64, max_scale_ratio=1.5)
    capped.fit(screen.profiles, batch=screen.batch)
    spread = lambda scales: (scales.max(axis=1) / scales.min(axis=1)).max()  # noqa: E731
    assert spread(free.scales_) > 1.6
    assert spread(capped.scales_) <= 1.5 * (1 + 1e-12)
