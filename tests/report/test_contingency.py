"""When batch and label count as confounded."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats.contingency import association

from balans_dask.errors import InvalidInputError
from balans_dask.report.row_sections import confounding
from balans_dask.report.source import reported
from balans_dask.workflows.confounding import contingency, factor
from tests.report.pages import corrected
from tests.support.screens import gaussian_screen


def counted(batch, label):
    (b, batches), (c, labels) = pd.factorize(batch), pd.factorize(label)
    return contingency(b, list(batches), c, list(labels))


def test_the_uncorrected_v_is_that_of_scipy(rng):
    batch = rng.integers(4, size=100_000)
    label = np.where(rng.random(len(batch)) < 0.5, batch, rng.integers(7, size=len(batch)))
    expected = association(pd.crosstab(batch, label).to_numpy(), method="cramer")
    # With many rows the correction for chance vanishes.
    assert counted(batch, label).cramers_v == pytest.approx(expected, abs=1e-3)


def test_labels_in_one_batch_each_are_confounded():
    table = counted(np.arange(6000) % 3, np.arange(6000) % 15)
    assert table.single.all()
    assert table.cramers_v > 0.95
    assert table.is_confounded


def test_all_labels_in_all_batches_are_not():
    table = counted(np.arange(60) % 3, np.arange(60) // 3)
    assert not table.single.any()
    assert table.cramers_v == 0.0
    assert not table.is_confounded


@pytest.mark.parametrize("per_label", [1, 2, 3])
def test_few_rows_a_label_are_not_confounded_by_chance(rng, per_label):
    """Of two rows in two batches, half the labels lie in one batch only."""
    table = counted(rng.integers(2, size=1200), np.arange(1200) // per_label)
    assert not table.is_confounded


def test_common_controls_do_not_hide_compounds_of_one_batch_each():
    batch = np.arange(400) % 4
    label = np.where(np.arange(400) < 240, "DMSO", [f"c{i % 20}" for i in range(400)])
    assert counted(batch, label).is_confounded


def test_a_number_is_a_label_and_spelled_as_in_scores():
    found = factor(np.array([1.0, 2.5, np.nan, 1.0]), "dose")
    assert found.names == ["1", "2.5"]
    assert found.codes.tolist() == [0, 1, -1, 0]


def test_rows_without_a_label_do_not_count_and_one_batch_confounds_nothing():
    table = contingency(np.zeros(5, int), ["b"], np.array([0, 0, 1, 1, -1]), ["x", "y"])
    assert table.n_rows.sum() == 4
    assert not table.is_confounded
    empty = contingency(np.zeros(2, int), ["b"], np.array([-1, -1]), [])
    assert not empty.is_confounded


def test_controls_do_not_dilute_what_lies_in_one_batch(tmp_path):
    screen = gaussian_screen(400, n_features=6)
    is_control = np.arange(400) % 2 == 0
    label = np.where(is_control, "DMSO", np.char.add("on ", screen.batch.astype(str)))
    kind = np.where(is_control, "negcon", "trt")
    out = corrected(tmp_path, Metadata_drug=label, Metadata_pert_type=kind)
    (_, counts), *_ = confounding(reported(str(out), "Metadata_drug", None))
    assert counts.n_rows.sum() == 200
    assert counts.is_confounded


def test_a_report_refuses_a_query_that_names_no_control(tmp_path):
    out = corrected(tmp_path, Metadata_pert_type=["trt"] * 400)
    with pytest.raises(InvalidInputError, match=r"names no row: Metadata_pert_type has 'trt'"):
        reported(str(out), None, "Metadata_pert_type == 'poscon'")
