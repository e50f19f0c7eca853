"""What counts as better, as held back and as worse, on rows of which the truth is known."""

import numpy as np
import pytest

from balans_dask.evaluate.scoring import neighbour_pair
from balans_dask.evaluate.sweep.result import MIXING_SHARE, SIGNAL_SHARE
from balans_dask.evaluate.verdict import BETTER, HELD_BACK, NOT_JUDGED, WORSE, measured, meetings

N_ROWS, N_LABELS, N_BATCHES = 600, 15, 3
LABEL, BATCH = np.arange(N_ROWS) % N_LABELS, np.arange(N_ROWS) // N_LABELS % N_BATCHES


def clean(seed=0, spread=1.5):
    """Labels that are told apart, not perfectly, in batches that do not differ."""
    means = np.random.default_rng(0).normal(scale=spread, size=(N_LABELS, 8))
    return means[LABEL] + np.random.default_rng([seed, 1]).normal(size=(N_ROWS, 8))


def shifted(rows, by=3.0):
    return rows + by * np.random.default_rng(7).normal(size=(N_BATCHES, 8))[BATCH]


def test_a_shift_of_batches_that_is_gone_is_better():
    found = measured(shifted(clean()), clean(), BATCH, LABEL)
    assert found.verdict == BETTER
    assert found.signal.moved == found.mixing.moved == 1
    assert found.variance_kept < 1


def test_labels_that_are_gone_are_worse_however_well_batches_mix():
    noise = np.random.default_rng(5).normal(size=(N_ROWS, 8))
    found = measured(shifted(clean(), by=1.0), noise, BATCH, LABEL)
    assert found.verdict == WORSE
    assert found.signal.moved == -1
    assert found.mixing.moved == 1


def test_batches_that_part_are_worse():
    assert measured(clean(), shifted(clean()), BATCH, LABEL).verdict == WORSE


@pytest.mark.parametrize("by", [0.0, 3.0])
def test_rows_that_stay_are_held_back_and_whether_they_were_mixed_is_told(by):
    rows = shifted(clean(), by)
    found = measured(rows, rows.copy(), BATCH, LABEL)
    assert found.verdict == HELD_BACK
    assert found.signal.difference == found.mixing.difference == found.signal.noise == 0
    assert found.variance_kept == 1
    assert found.was_mixed == (by == 0.0)


def test_what_another_draw_of_the_noise_changes_is_seldom_a_verdict():
    verdicts = [
        measured(clean(2 * i, 0.7), clean(2 * i + 1, 0.7), BATCH, LABEL).verdict for i in range(60)
    ]
    # Of 60 draws, 3 are expected beyond an interval of 95 %, and more than 9 once in 900 times.
    assert verdicts.count(HELD_BACK) >= 51


def test_signal_and_mixing_are_those_of_a_sweep_and_the_total_has_its_weights():
    before, after = shifted(clean()), shifted(clean(), 0.5)
    found = measured(before, after, BATCH, LABEL)
    for rows, name in ((before, "before"), (after, "after")):
        signal, mixing = neighbour_pair.measure(rows, before, BATCH, LABEL)
        assert getattr(found.signal, name) == pytest.approx(signal)
        assert getattr(found.mixing, name) == pytest.approx(mixing)
        total = SIGNAL_SHARE * signal + MIXING_SHARE * mixing
        assert getattr(found.total, name) == pytest.approx(total)


def test_noise_is_the_interval_of_the_labels_mean_difference(rng):
    found = measured(clean(0, 0.7), clean(1, 0.7), BATCH, LABEL)
    gained = [each.difference for each in found.labels]
    assert found.signal.difference == pytest.approx(np.mean(gained))
    # Student's t of 14 degrees of freedom, 97.5 %.
    expected = 2.14479 * np.std(gained, ddof=1) / len(gained) ** 0.5
    assert found.signal.noise == pytest.approx(expected, rel=1e-4)


def test_a_label_that_lost_its_rows_is_the_last_of_all():
    before = clean(spread=3.0)
    after = before.copy()
    after[LABEL == 4] = np.random.default_rng(2).normal(scale=9, size=(N_ROWS // N_LABELS, 8))
    found = measured(before, after, BATCH, LABEL)
    assert found.labels[-1].name == "4"
    assert found.labels[-1].n_rows == N_ROWS // N_LABELS
    assert found.labels[-1].difference < -0.5


@pytest.mark.parametrize(
    ("label", "reason"),
    [
        (None, "--label-key"),
        (BATCH, "no label is in two batches"),
        (np.where(LABEL % 2, BATCH.astype(str), "DMSO"), "DMSO alone is in two batches"),
    ],
)
def test_where_labels_tell_nothing_mixing_and_variance_are_left_and_nothing_is_judged(
    label, reason
):
    found = measured(shifted(clean()), clean(), BATCH, label)
    assert found.verdict == NOT_JUDGED
    assert reason in found.not_judged
    assert found.mixing.moved == 1
    assert 0 < found.variance_kept < 1


def test_a_batch_that_is_apart_meets_itself_alone_and_mixed_ones_each_other():
    apart = clean()
    apart[BATCH == 2] += 50
    found = meetings(apart, BATCH, N_BATCHES)
    assert found[2] == pytest.approx([0, 0, (N_ROWS - 1) / ((BATCH == 2).sum() - 1)])
    assert found[:2, 2] == pytest.approx([0, 0])
    assert meetings(clean(), BATCH, N_BATCHES) == pytest.approx(np.ones((3, 3)), abs=0.15)
