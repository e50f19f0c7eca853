"""Tiles order rows by batch and know where every row went."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from balans_dask.kernels.batch_tiles import tile_by_batch
from balans_dask.tiling import TILE_ROWS


@given(n_rows=st.integers(1, 3 * TILE_ROWS), n_batches=st.integers(1, 40), seed=st.integers(0, 99))
def test_runs_and_order_describe_every_row(n_rows, n_batches, seed):
    rng = np.random.default_rng(seed)
    codes = rng.integers(n_batches, size=n_rows) * 3
    scores = rng.normal(size=(n_rows, 2)).astype(np.float32)
    reference = rng.random(n_rows) < 0.3
    tiles = tile_by_batch(TILE_ROWS, scores, codes, reference)
    seen = np.full(n_rows, -1)
    is_reference = np.zeros(n_rows, dtype=bool)
    for t in range(tiles.n_tiles):
        for start, stop, batch, n_reference in tiles.runs_of(t):
            rows = t * TILE_ROWS + tiles.order[t, start:stop]
            seen[rows] = tiles.batches[batch]
            is_reference[rows] = tiles.reference[t, start:stop]
            assert n_reference == reference[rows].sum()
    np.testing.assert_array_equal(seen, codes)
    np.testing.assert_array_equal(tiles.rows_in_input_order(), scores)
    np.testing.assert_array_equal(tiles.batches, np.unique(codes))
    np.testing.assert_array_equal(is_reference, reference)
    with_reference = tiles.batches[tiles.reference_batches]
    np.testing.assert_array_equal(with_reference, np.unique(codes[reference]))


def test_without_a_choice_every_row_is_a_reference(rng):
    scores, codes = rng.normal(size=(5000, 2)).astype(np.float32), rng.integers(7, size=5000)
    every, chosen = (tile_by_batch(0, scores, codes, r) for r in (None, np.ones(5000, dtype=bool)))
    np.testing.assert_array_equal(every.runs, chosen.runs)
    np.testing.assert_array_equal(every.order, chosen.order)
    np.testing.assert_array_equal(every.reference, chosen.reference)


def test_where_a_row_stands_does_not_depend_on_the_references(rng):
    scores, codes = rng.normal(size=(5000, 2)).astype(np.float32), rng.integers(7, size=5000)
    every, some = (tile_by_batch(0, scores, codes, r) for r in (None, rng.random(5000) < 0.4))
    np.testing.assert_array_equal(every.order, some.order)
    np.testing.assert_array_equal(every.scores, some.scores)


def test_rows_are_found_by_their_global_number(rng):
    scores = rng.normal(size=(TILE_ROWS + 10, 3)).astype(np.float32)
    tiles = tile_by_batch(8 * TILE_ROWS, scores, rng.integers(4, size=len(scores)))
    rows = 8 * TILE_ROWS + np.array([TILE_ROWS + 9, 0, 77])
    np.testing.assert_array_equal(tiles.rows(rows), scores[[TILE_ROWS + 9, 0, 77]])
    tile, position = tiles.positions(np.array([0, 8 * TILE_ROWS + len(scores)]))
    assert (tile == -1).all()
    assert (position == -1).all()


def test_norms_are_of_the_ordered_rows(rng):
    scores = rng.normal(size=(100, 5)).astype(np.float32)
    tiles = tile_by_batch(0, scores, rng.integers(3, size=100))
    expected = (tiles.scores.astype(np.float64) ** 2).sum(axis=2)
    np.testing.assert_allclose(tiles.norms, expected, rtol=1e-15)
