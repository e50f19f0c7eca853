"""NSCB, batch purity and mixing, on examples that can be checked by eye and on the real wells."""

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from balans_dask.evaluate.neighbours import (
    batch_purity,
    nearest_label_elsewhere,
    neighbour_shares,
    profile_means,
)

DIRECTIONS = np.deg2rad([0, 1, 2, 40, 41])
PROFILES = np.column_stack([np.cos(DIRECTIONS), np.sin(DIRECTIONS)])


def test_neither_the_same_compound_nor_the_same_batch_answers():
    label = np.array(["x", "x", "y", "x", "y"])
    compound = np.array(["A", "A", "B", "C", "D"])
    batch = np.array([1, 2, 1, 3, 1])
    # x A1 -> C: right; x A2 -> B: wrong; y B1 has no y elsewhere; x C3 -> D: wrong; y D1 has none.
    assert nearest_label_elsewhere(PROFILES, label, compound, batch) == pytest.approx(1 / 3)


def test_the_length_of_a_profile_does_not_matter():
    label, compound, batch = list("xxxyy"), list("ABCDE"), list("12345")
    stretched = PROFILES * np.array([[1], [9], [2], [5], [3]])
    assert nearest_label_elsewhere(stretched, label, compound, batch) == 1


def test_without_a_partner_there_is_no_accuracy():
    assert np.isnan(nearest_label_elsewhere(PROFILES, list("abcde"), list("ABCDE"), list("12345")))


def test_a_treatment_is_the_mean_of_its_rows():
    means, (label,) = profile_means(np.array([[0.0], [4.0], [2.0]]), ["t", "s", "t"], list("xyx"))
    assert means.tolist() == [[4.0], [1.0]]
    assert label.tolist() == ["y", "x"]


def test_purity_is_one_apart_and_the_share_of_the_batch_when_mixed(rng):
    batch = np.repeat([0, 1], 100)
    apart = rng.normal(size=(200, 3)) + 50 * batch[:, None]
    assert batch_purity(apart, batch) == 1
    assert batch_purity(rng.normal(size=(200, 3)), batch) == pytest.approx(0.5, abs=0.05)


def test_mixing_is_measured_against_the_other_rows_of_a_label():
    """Of two in each batch, the three others of a row are one of its batch and two of another."""
    profiles = np.array([[0.0], [1.0], [2.0], [3.0]])
    found = neighbour_shares(profiles, ["x"] * 4, [0, 1, 0, 1], n_neighbors=3)
    assert (found.same_label, found.batch_mixing) == (1.0, 1.0)


def test_the_published_figures_of_bbbc021_are_reproduced(real_data):
    """NSCB 0.707 (cosine, mean treatment profiles) and DMSO week purity 0.72 of the raw scores."""
    table = pd.read_parquet(real_data / "bbbc021_well.parquet")
    rows = table[[name for name in table if name.startswith("Metadata_")]]
    features = StandardScaler().fit_transform(table.drop(columns=rows.columns).to_numpy(float))
    scores = PCA(50, svd_solver="full").fit_transform(features)
    controls = (rows["Metadata_pert_type"] == "negcon").to_numpy()
    treated = rows[~controls]
    columns = [treated[f"Metadata_{name}"] for name in ("moa", "compound", "week")]
    means, columns = profile_means(scores[~controls], treated["Metadata_treatment"], *columns)
    assert nearest_label_elsewhere(means, *columns) == pytest.approx(0.707, abs=0.001)
    assert batch_purity(scores[controls], rows["Metadata_week"][controls]) == pytest.approx(
        0.72, abs=0.01
    )
