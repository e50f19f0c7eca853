"""What the rows say of their matches in other batches: against every pair, and by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from balans_dask.kernels.affinity import kept_affinities
from balans_dask.kernels.batch_tiles import tile_by_batch
from balans_dask.kernels.elbow import N_BINS
from balans_dask.kernels.evidence import (
    batch_units,
    evidence_weights,
    least_elsewhere,
    pair_sums,
)
from balans_dask.kernels.landmarks import landmark_block
from balans_dask.tiling import TILE_ROWS

N_BATCHES, BLOCK = 5, 64
SIZES = (64, 30)
"""Landmarks of two blocks; the second is short."""
FLOOR = 1e-9


class Pairs:
    """Landmarks and rows, all pairs of them in numpy, and the same as the kernels take them."""

    def __init__(self, P, codes, rows, sizes=SIZES, n_batches=N_BATCHES, block_rows=BLOCK):
        rng = np.random.default_rng(len(P))
        self.P, self.codes, self.rows = P.astype(np.float32), codes, np.asarray(rows)
        self.own = codes[self.rows]
        self.scales = rng.uniform(0.5, 2.0, (len(rows), n_batches)) * P.shape[1]
        own_scales = self.scales[np.arange(len(rows)), self.own]
        self.units = batch_units(own_scales, self.own, n_batches, FLOOR)
        self.blocks = []
        for first, n in zip(np.append(0, np.cumsum(sizes)), sizes, strict=False):
            part = slice(first, first + n)
            block = landmark_block(self.rows[part], self.P[self.rows[part]], block_rows)
            block = block.with_scales(self.scales[part])
            self.blocks.append(block.with_thresholds(np.full(n, N_BINS)))

    def scaled(self):
        """e_ij of every landmark and row."""
        wide = self.P.astype(np.float64)
        d2 = np.stack([((wide - wide[row]) ** 2).sum(axis=1) for row in self.rows])
        unit = self.units.of_batch
        return 2.0 * d2 / (unit[self.own][:, None] + unit[self.codes][None, :])

    def least(self):
        """e*_j of every row."""
        across = self.own[:, None] != self.codes[None, :]
        return np.maximum(np.where(across, self.scaled(), np.inf).min(axis=0), self.units.floor)

    def evidence(self):
        """E_ij of every landmark and row."""
        least = self.least()
        with np.errstate(under="ignore"):
            E = np.exp(-np.maximum(0.0, self.scaled() / least - 1.0) / 0.1)
        E[:, np.isinf(least)] = 1.0
        return E

    def partitions(self, tiles_each, counts=None):
        each = tiles_each * TILE_ROWS
        return [
            tile_by_batch(
                start,
                self.P[start : start + each],
                self.codes[start : start + each],
                None if counts is None else counts[start : start + each],
            )
            for start in range(0, len(self.P), each)
        ]

    def found_least(self, tiles_each=4):
        parts = self.partitions(tiles_each)
        return np.concatenate([least_elsewhere(part, self.blocks, self.units) for part in parts])

    def tables(self, power, tiles_each=4):
        """A, and A E^power, as dense tables of float32; zero where there is no entry."""
        tables = np.zeros((2, len(self.rows), len(self.P)), dtype=np.float32)
        for part in self.partitions(tiles_each):
            least = least_elsewhere(part, self.blocks, self.units)
            for tile in range(part.n_tiles):
                start = part.start + tile * TILE_ROWS
                kept = [kept_affinities(part, block, tile) for block in self.blocks]
                weighed = evidence_weights(part, tile, self.blocks, kept, self.units, least, power)
                for table, found in zip(tables, (kept, weighed), strict=True):
                    first = 0
                    for rows in found:
                        i = np.repeat(np.arange(rows.n_landmarks), np.diff(rows.indptr))
                        table[first + i, start + rows.columns.astype(int)] = rows.values
                        first += rows.n_landmarks
        return tables


def screen(offset=0.0, n=2 * TILE_ROWS + 500, spread=1.0, width=7, seed=0):
    rng = np.random.default_rng(seed)
    codes = rng.integers(N_BATCHES, size=n)
    P = offset + spread * (rng.normal(size=(n, width)) + 0.4 * codes[:, None])
    return Pairs(P, codes, rng.permutation(n)[: sum(SIZES)])


def test_units_of_a_batch_are_drawn_to_those_of_all_as_if_by_five_landmarks():
    own = np.array([0, 0, 0, 3, 3, 1])
    scales = np.array([1.0, 4.0, 9.0, 16.0, 36.0, 2.0])
    units = batch_units(scales, own, 5, 3e-6)
    s = np.median(scales)
    assert units.typical == s == 6.5
    expected = [
        np.exp((3 * np.log(4.0) + 5 * np.log(s)) / 8),
        np.exp((1 * np.log(2.0) + 5 * np.log(s)) / 6),
        s,
        np.exp((2 * np.log(26.0) + 5 * np.log(s)) / 7),
        s,
    ]
    np.testing.assert_allclose(units.of_batch, expected, rtol=1e-14)
    assert units.floor == 3e-6 / s
    np.testing.assert_array_equal(units.own, own)


@pytest.mark.parametrize(
    ("offset", "spread"), [(0.0, 1.0), (100.0, 1.0), (3e4, 1.0), (0.0, 1e-6), (0.0, 1e18)]
)
def test_the_best_match_is_the_least_over_all_landmarks_of_other_batches(offset, spread):
    """Far from the origin products of float32 err by more than all distances."""
    pairs = screen(offset, n=TILE_ROWS + 300, spread=spread)
    np.testing.assert_allclose(pairs.found_least(), pairs.least(), rtol=1e-12)


def test_products_beyond_float32_hide_no_match():
    pairs = screen(spread=4e19, n=600)
    with np.errstate(over="ignore", invalid="ignore"):
        found = pairs.found_least()
    np.testing.assert_allclose(found, pairs.least(), rtol=1e-12)


@given(
    seed=st.integers(0, 1000),
    offset=st.sampled_from([0.0, 30.0, 1000.0]),
    width=st.sampled_from([1, 3, 50]),
    sizes=st.sampled_from([(1,), (7, 7, 7), (64, 1), (64, 64, 20)]),
)
def test_any_blocks_and_widths(seed, offset, width, sizes):
    rng = np.random.default_rng(seed)
    codes = rng.integers(N_BATCHES, size=900)
    P = offset + rng.normal(size=(900, width)) * rng.choice([1.0, 20.0], size=(900, 1))
    pairs = Pairs(P, codes, rng.permutation(900)[: sum(sizes)], sizes)
    np.testing.assert_allclose(pairs.found_least(), pairs.least(), rtol=1e-12)


def test_the_padding_of_a_short_block_is_no_landmark():
    """Rows lie at the origin, where the padding is, and all landmarks far away."""
    rng = np.random.default_rng(0)
    P = rng.normal(size=(500, 3))
    P[:8] += 1000.0
    codes = rng.integers(N_BATCHES, size=500)
    pairs = Pairs(P, codes, np.arange(8), sizes=(5, 3))
    found = pairs.found_least()
    assert found[8:].min() > 1e5
    np.testing.assert_allclose(found, pairs.least(), rtol=1e-12)


def test_where_no_landmark_is_of_another_batch_all_matches_count_whole():
    rng = np.random.default_rng(0)
    P, codes = rng.normal(size=(700, 4)), np.repeat([2, 4], [500, 200])
    pairs = Pairs(P, codes, rng.choice(500, size=94, replace=False))
    least = pairs.found_least()
    assert np.isinf(least[:500]).all()
    assert np.isfinite(least[500:]).all()
    kept, weighed = pairs.tables(1.0)
    assert (weighed[:, :500] == kept[:, :500]).all()
    assert (weighed[:, 500:] < kept[:, 500:]).any()


def test_exact_duplicates_across_batches_divide_by_no_zero_and_are_the_only_match():
    rng = np.random.default_rng(1)
    P = rng.normal(size=(600, 4))
    P[300:] = P[:300]
    codes = np.repeat([0, 1], 300)
    pairs = Pairs(P, codes, np.arange(94), n_batches=2)
    least = pairs.found_least()
    assert (least[300:394] == pairs.units.floor).all()
    kept, weighed = pairs.tables(0.5)
    i = np.arange(94)
    np.testing.assert_array_equal(weighed[i, 300 + i], kept[i, 300 + i])
    np.testing.assert_array_equal(weighed[i, 300 + i], 1.0)
    others = weighed[:, 300:394].copy()
    others[i, i] = 0.0
    assert (kept[:, 300:394] > 0.0).sum() > 94
    assert not others.any()


@pytest.mark.parametrize("power", [1.0, 0.5, 0.2])
@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_weights_are_affinities_times_a_power_of_the_evidence(offset, power):
    pairs = screen(offset)
    kept, weighed = pairs.tables(power)
    assert (kept > 0.0).sum() > 10 * len(pairs.P)
    with np.errstate(under="ignore"):
        expected = kept * pairs.evidence() ** power
    # Of float32; what is below its range is nothing.
    np.testing.assert_allclose(weighed, expected, rtol=3e-7, atol=1e-44)
    assert (weighed[:, 5:] > 0.0).sum() > (0.9 if power < 0.5 else 0.2) * (kept > 0.0).sum()


def test_no_power_of_the_evidence_leaves_the_affinities_as_they_are():
    kept, weighed = screen(n=300).tables(0.0)
    assert weighed.tobytes() == kept.tobytes()


@pytest.mark.parametrize("tiles_each", [1, 2])
def test_any_cut_into_partitions_gives_the_same_bits(tiles_each):
    pairs = screen(10.0)
    assert pairs.found_least(tiles_each).tobytes() == pairs.found_least().tobytes()
    for cut, whole in zip(pairs.tables(0.7, tiles_each), pairs.tables(0.7), strict=True):
        assert cut.tobytes() == whole.tobytes()


def test_a_match_does_not_depend_on_which_rows_are_reference_rows():
    pairs = screen(n=TILE_ROWS + 300)
    counts = np.random.default_rng(0).random(len(pairs.P)) < 0.3
    found = np.concatenate(
        [least_elsewhere(part, pairs.blocks, pairs.units) for part in pairs.partitions(1, counts)]
    )
    assert found.tobytes() == pairs.found_least().tobytes()


@pytest.mark.parametrize("share", [1.0, 0.4])
def test_sums_over_pairs_leave_out_landmarks_and_rows_that_do_not_count(share):
    pairs = screen(n=1000)
    counts = np.random.default_rng(0).random(1000) < share
    kept, sure = pairs.tables(1.0)
    (part,) = pairs.partitions(1)
    affinities = [kept_affinities(part, block, 0) for block in pairs.blocks]
    confirmed = evidence_weights(
        part, 0, pairs.blocks, affinities, pairs.units, pairs.found_least(), 1.0
    )
    out = np.zeros((N_BATCHES, len(pairs.rows), 3))
    batch = np.where(counts, pairs.codes, -1)
    pair_sums(affinities, confirmed, pairs.rows, batch, out)
    wide = kept.astype(np.float64)
    others = np.ones(kept.shape, dtype=bool)
    others[np.arange(len(pairs.rows)), pairs.rows] = False
    for b in range(N_BATCHES):
        rows = counts & (pairs.codes == b)
        expected = [(sure * others), wide * others, wide / wide.sum(axis=0)]
        for column, table in enumerate(expected):
            found = table[:, rows].sum(axis=1, dtype=np.float64)
            np.testing.assert_allclose(out[b, :, column], found, rtol=1e-12)
    # Every row is shared out among the landmarks whole.
    reached = counts & (wide.sum(axis=0) > 0.0)
    assert out[:, :, 2].sum() == pytest.approx(reached.sum(), rel=1e-12)
