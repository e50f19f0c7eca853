"""Products that wait for the next pass are those that would be computed."""

import pickle

import numpy as np
import pytest

from balans_dask.kernels.distances import KeptProducts, products_of
from balans_dask.tiling import TILE_ROWS

RNG = np.random.default_rng(0)
TILES = RNG.normal(size=(3, TILE_ROWS, 5)).astype(np.float32)
BLOCKS = RNG.normal(size=(2, 8, 5)).astype(np.float32)


def copies(products):
    return np.stack([tile.copy() for tile in products])


@pytest.fixture
def kept():
    return KeptProducts(3, 8)


def expected(block):
    return copies(products_of(TILES, block))


def test_products_are_those_of_the_tiles_whatever_was_asked_before(kept):
    for number in (0, 0, 1, 1, 0):
        assert np.array_equal(copies(kept.of(TILES, BLOCKS[number])), expected(BLOCKS[number]))


def test_the_second_pass_computes_nothing(kept):
    copies(kept.of(TILES, BLOCKS[0]))
    nothing = np.full_like(TILES, np.nan)
    assert np.array_equal(copies(kept.of(nothing, BLOCKS[0])), expected(BLOCKS[0]))


def test_a_pass_that_was_broken_off_leaves_nothing_to_be_believed(kept):
    copies(kept.of(TILES, BLOCKS[0]))
    broken = kept.of(TILES, BLOCKS[1])
    next(broken)
    broken.close()
    for block in (BLOCKS[1], BLOCKS[0]):
        assert np.array_equal(copies(kept.of(TILES, block)), expected(block))


def test_two_passes_at_once_do_not_meet(kept):
    first = kept.of(TILES, BLOCKS[0])
    next(first)
    assert np.array_equal(copies(kept.of(TILES, BLOCKS[1])), expected(BLOCKS[1]))
    assert np.array_equal(copies(first), expected(BLOCKS[0])[1:])


def test_it_travels_empty(kept):
    copies(kept.of(TILES, BLOCKS[0]))
    sent = pickle.dumps(kept)
    assert len(sent) < 1000
    assert pickle.loads(sent).nbytes == kept.nbytes == 3 * 8 * TILE_ROWS * 4
