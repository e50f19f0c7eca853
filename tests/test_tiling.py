"""Partitions are nodes of one summation tree, so their size never changes a sum."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from balans_dask.tiling import TILE_ROWS, PairwiseSum, Tiling, tree_sum


def sum_by_partitions(values, tiles_per_partition, arity):
    nodes = [
        tree_sum(values[i : i + tiles_per_partition], np.add)
        for i in range(0, len(values), tiles_per_partition)
    ]
    while len(nodes) > 1:
        nodes = [tree_sum(nodes[i : i + arity], np.add) for i in range(0, len(nodes), arity)]
    return nodes[0]


@given(
    n_tiles=st.integers(1, 70),
    q=st.integers(0, 5),
    arity=st.sampled_from([2, 4, 8, 16]),
    seed=st.integers(0, 1000),
)
def test_a_sum_has_the_same_bits_for_any_partition_size(n_tiles, q, arity, seed):
    values = list(np.random.default_rng(seed).normal(size=n_tiles) * 10.0 ** np.arange(n_tiles))
    assert sum_by_partitions(values, 2**q, arity) == tree_sum(values, np.add)


@given(n_tiles=st.integers(1, 70), seed=st.integers(0, 1000))
def test_summing_one_after_another_follows_the_same_tree(n_tiles, seed):
    values = np.random.default_rng(seed).normal(size=n_tiles) * 10.0 ** np.arange(n_tiles)
    running = PairwiseSum(np.add)
    for value in values:
        running.push(value)
    assert running.total() == tree_sum(list(values), np.add)


def test_the_order_of_summation_matters_at_all():
    values = [1.0, 1e16, -1e16, 1.0]
    assert tree_sum(values, np.add) != sum(values)


@given(n_rows=st.integers(1, 200_000), q=st.integers(0, 6))
def test_partitions_cover_every_row_once(n_rows, q):
    parts = Tiling(n_rows, 2**q).partitions()
    assert parts[0].start == 0
    assert parts[-1].stop == n_rows
    assert all(a.stop == b.start for a, b in pairwise(parts))
    assert all(part.start % (2**q * TILE_ROWS) == 0 and part.n_rows > 0 for part in parts)


def test_a_partition_must_be_a_node_of_the_tree():
    with pytest.raises(ValueError, match="power of two, got 3"):
        Tiling(10, 3)
