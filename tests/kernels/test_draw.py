"""The draw of a round: the same rows however they are cut, and those of the plain formula."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from balans_dask.kernels.coverage import Draw, DrawnRows, draw_rows, first_of, no_coverage
from balans_dask.tiling import TILE_ROWS, Tiling

N_ROWS = 11 * TILE_ROWS + 1234
DRAW = Draw(seed=5, pass_number=1, n_round=9, size=64)


@pytest.fixture(scope="module")
def covered():
    """Coverage of many orders of magnitude, in runs and singly, and rows that are drawn."""
    rng = np.random.default_rng(3)
    coverage = 10.0 ** rng.uniform(-6, 3, size=N_ROWS) * rng.integers(2, size=N_ROWS)
    coverage[5000:20_000] = 0.0
    drawn = rng.random(N_ROWS) < 0.1
    return replace(no_coverage(0, N_ROWS, None), coverage=coverage, drawn=drawn)


def keys_of(draw, covered):
    """E_j (eps + c_j) with E_j = -log(1 - U_j), for all rows at once."""
    key = np.array([draw.seed, draw.pass_number * 2**32 + draw.n_round], dtype=np.uint64)
    uniforms = np.random.Generator(np.random.Philox(key=key)).random(N_ROWS)
    return np.where(covered.drawn, np.inf, -np.log1p(-uniforms) * (1e-3 + covered.coverage))


def drawn_by_parts(draw, covered, tiles_per_partition):
    parts = [
        replace(
            covered,
            start=part.start,
            coverage=covered.coverage[part.start : part.stop],
            drawn=covered.drawn[part.start : part.stop],
        )
        for part in Tiling(N_ROWS, tiles_per_partition).partitions()
    ]
    return first_of([draw_rows(draw, part) for part in parts], draw.size)


@settings(max_examples=30)
@given(
    seed=st.integers(0, 2**63),
    n_round=st.integers(0, 5000),
    pass_number=st.integers(0, 9),
    size=st.sampled_from([1, 7, 64, 500]),
    tiles_per_partition=st.sampled_from([1, 2, 4, 8, 16]),
)
def test_the_rows_are_those_of_the_formula_for_partitions_of_any_size(
    covered, seed, n_round, pass_number, size, tiles_per_partition
):
    draw = Draw(seed, pass_number, n_round, size)
    keys = keys_of(draw, covered)
    found = drawn_by_parts(draw, covered, tiles_per_partition)
    np.testing.assert_array_equal(found.rows, np.argsort(keys)[:size])
    np.testing.assert_allclose(found.keys, np.sort(keys)[:size], rtol=1e-15)
    whole = drawn_by_parts(draw, covered, 16)
    assert found.keys.tobytes() == whole.keys.tobytes()


def test_other_seeds_passes_and_rounds_draw_other_rows(covered):
    found = draw_rows(DRAW, covered).rows
    for other in ({"seed": 6}, {"pass_number": 2}, {"n_round": 10}):
        assert len(set(found) & set(draw_rows(replace(DRAW, **other), covered).rows)) < 32


def test_no_more_rows_are_drawn_than_are_left():
    few = no_coverage(4096, 100, np.arange(100) < 9)
    found = draw_rows(DRAW, few)
    assert sorted(found.rows) == list(range(4096, 4105))
    assert (np.diff(found.keys) >= 0).all()
    assert len(draw_rows(replace(DRAW, size=0), few).rows) == 0


def test_the_lower_row_is_first_where_clocks_are_equal():
    rows = [np.array([3, 9]), np.array([4, 5])]
    closed = np.zeros(2, dtype=bool)
    parts = [
        DrawnRows(of_part, np.ones(2), closed, np.float32(of_part)[:, None]) for of_part in rows
    ]
    found = first_of(parts[::-1], 3)
    assert found.rows.tolist() == found.scores[:, 0].tolist() == [3, 4, 5]
