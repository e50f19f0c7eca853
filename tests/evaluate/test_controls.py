"""Treated wells that follow the controls of their plate, and those that do not."""

import numpy as np
import pytest

from balans_dask.evaluate.null_models import shift_followed

PLATE = np.repeat(["a", "b"], 20)
CONTROL = np.tile([True, False, False, False], 10)
SHIFT = np.where(PLATE == "a", 3.0, -1.0)[:, None] * np.array([1.0, 2.0])


def test_wells_that_move_with_their_controls_follow_wholly(rng):
    before = rng.normal(size=(40, 2))
    assert shift_followed(before, before + SHIFT, PLATE, CONTROL) == pytest.approx(1)


def test_wells_that_stay_do_not_follow(rng):
    before = rng.normal(size=(40, 2))
    after = before + np.where(CONTROL[:, None], SHIFT, 0.25 * SHIFT)
    assert shift_followed(before, after, PLATE, CONTROL) == pytest.approx(0.25)


def test_the_controls_of_another_plate_do_not_count(rng):
    before = rng.normal(size=(40, 2))
    swapped = np.where(PLATE == "a", -1.0, 3.0)[:, None] * np.array([1.0, 2.0])
    after = before + np.where(CONTROL[:, None], SHIFT, swapped)
    assert shift_followed(before, after, PLATE, CONTROL) == pytest.approx(-0.6)


def test_a_plate_without_controls_is_left_out(rng):
    before = rng.normal(size=(40, 2))
    only_a = CONTROL & (PLATE == "a")
    assert shift_followed(before, before + SHIFT, PLATE, only_a) == pytest.approx(1)


def test_where_no_control_moved_there_is_nothing_to_follow(rng):
    before = rng.normal(size=(40, 2))
    assert np.isnan(shift_followed(before, before, PLATE, CONTROL))
