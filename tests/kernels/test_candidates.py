"""The rough comparison lets through every row that is near enough, and few others."""

import numpy as np
import pytest

from balans_dask.kernels._jit import kernel
from balans_dask.kernels.distances import mark_below, marked, no_marks, rough_limit, rough_norms


@kernel
def candidates(products, i, norms, landmark_norm, squared, error):
    marks, words, positions = no_marks(len(norms))
    limit = rough_limit(squared, landmark_norm, error)
    mark_below(products[i], rough_norms(norms, error), limit, marks)
    return positions[: marked(marks, words, positions)]


@pytest.mark.parametrize("spread", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_no_row_within_the_limit_is_missed_and_few_beyond_it_are_taken(spread, offset):
    rng = np.random.default_rng(0)
    rows = (offset + spread * rng.normal(size=(4096, 20))).astype(np.float32)
    products = (rows[:3] @ rows.T).astype(np.float32)
    norms = (rows.astype(np.float64) ** 2).sum(axis=1)
    for i in range(3):
        squared = norms[i] + norms - 2.0 * products[i].astype(np.float64)
        for limit in np.quantile(squared, [0.0, 0.01, 0.5, 1.0]):
            found = candidates(products, i, norms, norms[i], limit, 0.0)
            slack = 2.0**-19 * (norms[i] + norms + abs(limit))
            assert set(np.flatnonzero(squared <= limit)) <= set(found)
            assert set(found) <= set(np.flatnonzero(squared <= limit + slack))


def test_an_infinite_limit_takes_all_rows():
    products = np.zeros((1, 16), dtype=np.float32)
    assert len(candidates(products, 0, np.ones(16), 1.0, np.inf, 0.0)) == 16


def test_positions_are_listed_in_order():
    norms = np.where(np.arange(64) % 7 == 3, 0.0, 10.0)
    found = candidates(np.zeros((1, 64), dtype=np.float32), 0, norms, 0.0, 1.0, 0.0)
    assert found.tolist() == list(range(3, 64, 7))


@pytest.mark.parametrize("error", [0.0, 2.0**-10])
def test_an_outlying_row_makes_no_candidates_of_others(error):
    norms = np.append(np.full(63, 1.0), 1e12)
    found = candidates(np.zeros((1, 64), dtype=np.float32), 0, norms, 1.0, 1.99, error)
    assert found.tolist() == []
    assert len(candidates(np.zeros((1, 64), dtype=np.float32), 0, norms, 1.0, 2.0, error)) == 63


def test_rows_beyond_the_range_of_float32_are_candidates_wherever_they_may_be_near():
    norms = np.full(8, 3.5e38)
    products = np.float32([[1.6e38, 3e38, np.inf, np.nan, 1e38, 0.0, -1e38, -3e38]])
    assert candidates(products, 0, norms, 1e38, 1.4e38, 0.0).tolist() == [0, 1, 2, 3]
