"""The pair of scores of a sweep, and the rows that are scored."""

import numpy as np
import pytest

from balans_dask.errors import InvalidInputError
from balans_dask.evaluate.scoring import cross_batch_signal, neighbour_pair


def by_the_definition(embedding, batch, label):
    rows = embedding - embedding.mean(axis=0)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    shares = {}
    for i, row in enumerate(rows):
        others = np.flatnonzero(batch != batch[i])
        n = min(10, int((label[others] == label[i]).sum()))
        if n:
            nearest = others[np.argsort(-(rows[others] @ row))[:n]]
            shares.setdefault(label[i], []).append(np.mean(label[nearest] == label[i]))
    return np.mean([np.mean(values) for values in shares.values()])


def test_signal_is_what_its_definition_says(rng):
    label, batch = rng.integers(15, size=300), rng.integers(4, size=300)
    label[batch == 0] = 99
    embedding = rng.normal(size=(15 + 85, 6))[label] + 0.8 * rng.normal(size=(300, 6))
    found = cross_batch_signal(embedding, batch, label)
    assert found == pytest.approx(by_the_definition(embedding, batch, label))
    assert 0.2 < found < 0.9


def test_separate_labels_are_all_found_and_a_collapsed_embedding_finds_them_by_chance(rng):
    label, batch = np.repeat(np.arange(8), 40), np.tile(np.arange(4), 80)
    apart = rng.normal(scale=20, size=(8, 10))[label] + rng.normal(size=(320, 10))
    assert cross_batch_signal(apart, batch, label) == 1.0
    assert cross_batch_signal(np.zeros((320, 10)), batch, label) < 0.3


def test_labels_of_one_batch_each_have_no_signal(rng):
    batch = np.repeat(["a", "b"], 10)
    with pytest.raises(InvalidInputError, match="no label is in two batches"):
        cross_batch_signal(rng.normal(size=(20, 3)), batch, batch)


def test_mixing_is_at_most_perfect(rng):
    label, batch = np.zeros(60, dtype=int), np.tile([0, 1], 30)
    pairs = np.repeat(rng.normal(size=(30, 2)), 2, axis=0)
    _, mixing = neighbour_pair.measure(pairs, pairs, batch, label)
    assert 0.9 < mixing <= 1.0
