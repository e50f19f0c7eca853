"""Total, bootstrap, null models, and what is said where a library is missing."""

import sys

import numpy as np
import pytest

from balans_dask.errors import InvalidInputError
from balans_dask.evaluate.null_models import oversmoothed, paired_bootstrap, shuffled
from balans_dask.evaluate.scib import library
from balans_dask.evaluate.scoring import BATCH_SIDE, BIOLOGY_SIDE, totals


def test_the_total_is_four_tenths_batch_and_six_tenths_biology():
    scores = dict.fromkeys(BATCH_SIDE, 0.5) | dict.fromkeys(BIOLOGY_SIDE, 1.0) | {"map": 9.0}
    found = totals(scores)
    assert (found.batch, found.biology) == (0.5, 1.0)
    assert found.total == pytest.approx(0.8)


def test_a_score_that_does_not_exist_is_left_out_of_its_mean():
    scores = dict.fromkeys(BATCH_SIDE, 0.5) | dict.fromkeys(BIOLOGY_SIDE, 1.0)
    assert totals(scores | {"kbet": float("nan")}).batch == 0.5


def test_the_interval_of_a_sure_difference_excludes_zero(rng):
    second = rng.uniform(size=200)
    first = second + 0.1 + 0.01 * rng.normal(size=200)
    difference, low, high = paired_bootstrap(first, second, np.arange(200))
    assert 0 < low < difference < high < 0.11


def test_rows_of_a_group_count_as_one_observation(rng):
    group = np.repeat(np.arange(20), 50)
    first = rng.normal(size=20)[group]
    together = paired_bootstrap(first, np.zeros(1000), group)
    alone = paired_bootstrap(first, np.zeros(1000), np.arange(1000))
    assert together[0] == pytest.approx(alone[0])
    assert together[2] - together[1] > 4 * (alone[2] - alone[1])


def test_a_drawn_group_weighs_as_much_as_it_has_rows():
    """One row of 1 and nine of 0: without the first group 0, both .1, without the second 1."""
    first, group = np.eye(10)[0], np.array([0] + 9 * [1])
    means = [paired_bootstrap(first, np.zeros(10), group, level)[1:] for level in (0.4, 0.95)]
    assert means == [(0.1, 0.1), (0.0, 1.0)]


def test_rows_that_one_method_cannot_score_are_left_out():
    first = np.array([1.0, np.nan, 3.0])
    assert paired_bootstrap(first, np.array([0.0, 5.0, 2.0]), np.arange(3))[0] == 1.0


def test_shuffled_labels_are_the_same_labels_elsewhere():
    label = np.repeat(list("abcd"), 25)
    found = shuffled(label, seed=1)
    assert sorted(found) == sorted(label)
    assert (found == label).mean() < 0.5


def test_oversmoothing_mixes_batches_and_labels_alike(rng):
    batch, label = np.arange(400) % 2, np.arange(400) // 2 % 2
    profiles = rng.normal(size=(400, 2))
    profiles += 2 * np.column_stack([batch, label])
    smooth = oversmoothed(profiles)
    assert smooth.var() < 0.6 * profiles.var()
    assert np.all(np.abs(smooth.mean(axis=0) - profiles.mean(axis=0)) < 0.5)


def test_a_missing_library_is_named_with_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "scib_metrics", None)
    with pytest.raises(InvalidInputError, match=r'scib_metrics.*pip install "balans-dask\[eval'):
        library("scib_metrics")
