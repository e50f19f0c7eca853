"""Average precision by copairs, against the definition written out."""

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("copairs", reason='needs pip install "balans-dask[evaluate]"')

from balans_dask.evaluate.retrieval import (
    control_precision,
    cross_batch_precision,
    replicate_precision,
    significant_share,
)

N_ROWS = 60


@pytest.fixture
def screen(rng):
    label = rng.integers(8, size=N_ROWS).astype(str)
    batch = rng.integers(3, size=N_ROWS).astype(str)
    return rng.normal(size=(N_ROWS, 5)), label, batch


def precision(embedding, positive, negative):
    """Mean over the positives of the share of positives among the rows up to each."""
    unit = embedding / np.linalg.norm(embedding, axis=1, keepdims=True)
    found = np.full(len(unit), np.nan)
    for i, similarity in enumerate(unit @ unit.T):
        listed = [j for j in np.argsort(-similarity) if positive[i, j] or negative[i, j]]
        hits = [positive[i, j] for j in listed]
        shares = [sum(hits[: rank + 1]) / (rank + 1) for rank, hit in enumerate(hits) if hit]
        if shares and len(shares) < len(hits):
            found[i] = np.mean(shares)
    return found


def relations(label, batch):
    same = label[:, None] == label
    return same & ~np.eye(len(label), dtype=bool), ~same, batch[:, None] == batch


def test_replicates_are_ranked_against_all_other_labels(screen):
    embedding, label, batch = screen
    replicate, other, _ = relations(label, batch)
    found = replicate_precision(embedding, label)["average_precision"]
    np.testing.assert_allclose(found, precision(embedding, replicate, other), rtol=1e-6)


def test_across_batches_the_own_batch_is_not_in_the_list(screen):
    embedding, label, batch = screen
    replicate, other, own = relations(label, batch)
    found = cross_batch_precision(embedding, label, batch)["average_precision"]
    expected = precision(embedding, replicate & ~own, other & ~own)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_across_batches_negatives_of_the_own_batch_may_be_asked_for(screen):
    embedding, label, batch = screen
    replicate, other, own = relations(label, batch)
    found = cross_batch_precision(embedding, label, batch, own_batch_negatives=True)
    expected = precision(embedding, replicate & ~own, other)
    np.testing.assert_allclose(found["average_precision"], expected, rtol=1e-6)


def test_replicates_are_ranked_against_the_controls_of_their_batch(screen):
    embedding, label, batch = screen
    control = np.arange(N_ROWS) % 4 == 0
    label[control] = "DMSO"
    replicate, _, own = relations(label, batch)
    found = control_precision(embedding, label, batch, control)["average_precision"]
    expected = precision(embedding, replicate, (control[:, None] ^ control) & own)
    expected[control] = np.nan
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_label_in_one_batch_only_has_no_precision_across_batches(rng):
    label = np.repeat(["a", "b", "c"], 6)
    batch = np.array(["1"] * 6 + ["1", "2"] * 6)
    found = cross_batch_precision(rng.normal(size=(18, 4)), label, batch)
    assert found["average_precision"].isna().tolist() == [True] * 6 + [False] * 12


@pytest.mark.parametrize("spread", [0, 1e-12, 1e-5])
def test_a_collapsed_embedding_does_not_profit_from_ties(rng, spread):
    label = np.repeat(np.arange(20), 4)
    collapsed = np.array([3.0, 1.0, 2.0]) + spread * rng.normal(size=(80, 3))
    assert replicate_precision(collapsed, label)["average_precision"].mean() < 0.15


def test_the_ranking_is_that_of_the_cosine_of_copairs(screen):
    from copairs.map import average_precision

    embedding, label, _ = screen
    theirs = average_precision(
        pd.DataFrame({"label": label}), embedding, ["label"], [], [], ["label"], progress_bar=False
    )
    found = replicate_precision(embedding, label)
    np.testing.assert_allclose(found["average_precision"], theirs["average_precision"])


def test_separated_labels_are_significant_and_shuffled_ones_are_not(rng):
    label = np.repeat(np.arange(12), 8)
    separated = 5 * rng.normal(size=(12, 6))[label] + rng.normal(size=(96, 6))
    assert significant_share(replicate_precision(separated, label)) == 1
    shuffled = rng.permutation(label)
    assert significant_share(replicate_precision(separated, shuffled)) <= 1 / 12
