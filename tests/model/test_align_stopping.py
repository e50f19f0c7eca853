"""`share`, by which `align` stops, in whole fits."""

import warnings

import numpy as np
import pytest

from balans_dask import Balans
from balans_dask.errors import InputWarning
from balans_dask.model.stopping import stop_rule
from balans_dask.parameters import Parameters
from tests.support.screens import gaussian_screen

PATIENT = {"n_components": None, "n_passes": 1, "block_rows": 64, "patience": 10**6}


def fitted(profiles, batch, anchor=None, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)
        return Balans(**{**PATIENT, **options}).fit(profiles, batch=batch, anchor=anchor)


def rows_of(step):
    return np.concatenate([block.rows for block in step.blocks])


def covered_share(model, of):
    return (model.coverage_ > 0)[of].mean()


def test_share_is_for_align_and_counts_the_rows_that_can_be_drawn():
    assert stop_rule(Parameters(), 10_000, 3_000).enough_left == 30.0
    assert stop_rule(Parameters(operator="smooth"), 10_000, 3_000).enough_left is None
    assert stop_rule(Parameters(stopping="patience"), 10_000, 3_000).enough_left is None


def test_every_step_ends_with_the_round_that_has_256_landmarks_and_99_percent_covered():
    screen = gaussian_screen(800)
    model = fitted(screen.profiles, screen.batch)
    for step in model.model_.passes:
        n_sampled, n_covered, _ = step.curve.T
        assert step.stop_reason == "share"
        assert n_sampled[-1] >= 256
        assert n_covered[-1] >= 0.99 * 800
        assert n_sampled[-2] < 256 or n_covered[-2] < 0.99 * 800
    # The first rows are those that patience alone would draw, and patience may end it before.
    more = fitted(screen.profiles, screen.batch, stopping="patience", max_rows=330)
    longer, rows = (rows_of(each.model_.passes[0]) for each in (more, model))
    assert len(longer) > len(rows)
    np.testing.assert_array_equal(longer[: len(rows)], rows)
    fewer = fitted(screen.profiles, screen.batch, patience=20)
    assert fewer.stop_reason_ == "patience"
    assert len(fewer.sampled_rows_) < 256


def test_of_fewer_than_256_rows_all_are_drawn():
    screen = gaussian_screen(200)
    model = fitted(screen.profiles, screen.batch)
    assert {step.stop_reason for step in model.model_.passes} == {"all_rows"}
    assert {step.n_landmarks for step in model.model_.passes} == {200}


def test_outliers_that_cover_only_themselves_do_not_hold_it_up():
    """2 % of the rows: half of them must be drawn, and are, as what is uncovered is drawn first."""
    screen = gaussian_screen(1500, seed=1)
    profiles, rng = screen.profiles.copy(), np.random.default_rng(0)
    far = np.arange(0, 1500, 50)
    # Ever farther apart: the rest lies at a distance that all of it shares, beyond the elbow.
    profiles[far] = rng.normal(size=(len(far), 8)) * 1e3 * 1.5 ** np.arange(len(far))[:, None]
    model = fitted(profiles, screen.batch, max_neighbors=30)
    for step in model.model_.passes:
        assert step.stop_reason == "share"
        assert step.curve[-1, 1] >= 0.99 * 1500
        drawn = np.isin(far, rows_of(step)).mean()
        assert 0.4 < drawn < 0.8


def test_rows_far_from_all_anchors_are_not_waited_for():
    screen = gaussian_screen(3000)
    anchor = np.arange(3000) % 3 == 0
    profiles = screen.profiles.copy()
    profiles[1::3] += 300.0
    model = fitted(profiles, screen.batch, anchor, max_neighbors=40)
    assert model.stop_reason_ == "share"
    assert anchor[model.sampled_rows_].all()
    assert covered_share(model, anchor) >= 0.99
    assert covered_share(model, slice(1, None, 3)) < 0.01


@pytest.mark.parametrize(("n_anchors", "reason"), [(250, "all_rows"), (600, "share")])
def test_256_are_asked_of_the_anchors_too(n_anchors, reason):
    screen = gaussian_screen(1200)
    anchor = np.arange(1200) < n_anchors
    model = fitted(screen.profiles, screen.batch, anchor)
    assert model.stop_reason_ == reason
    assert len(model.sampled_rows_) >= min(n_anchors, 256)
