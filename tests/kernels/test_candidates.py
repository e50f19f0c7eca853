"""The rough comparison lets through every row that is near enough, and few others."""

import numpy as np
import pytest

from balans_dask.kernels._jit import kernel
from balans_dask.kernels.candidates import mark_below, marked, rough_limit


@kernel
def candidates(products, i, norms, landmark_norm, squared, error):
    marks = np.zeros(len(norms), dtype=np.uint8)
    limit = rough_limit(squared, landmark_norm, norms.max(), error)
    mark_below(products[i], norms.astype(np.float32), limit, marks)
    positions = np.empty(len(norms) + 1, dtype=np.int64)
    return positions[: marked(marks, marks.view(np.uint64), positions)]


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
            slack = 2.0**-19 * (norms[i] + norms.max() + abs(limit))
            assert set(np.flatnonzero(squared <= limit)) <= set(found)
            assert set(found) <= set(np.flatnonzero(squared <= limit + slack))


def test_an_infinite_limit_takes_all_rows():
    products = np.zeros((1, 16), dtype=np.float32)
    assert len(candidates(products, 0, np.ones(16), 1.0, np.inf, 0.0)) == 16


def test_positions_are_listed_in_order():
    norms = np.where(np.arange(64) % 7 == 3, 0.0, 10.0)
    found = candidates(np.zeros((1, 64), dtype=np.float32), 0, norms, 0.0, 1.0, 0.0)
    assert found.tolist() == list(range(3, 64, 7))
