"""Coverage of a partition's rows, and what a block of landmarks adds to it.

Weighted sampling without replacement by exponential keys (Efraimidis and Spirakis 2006): the key of
row j is E_j (eps + c_j) with E_j standard exponential, so that the rows of the smallest keys are
drawn with probability proportional to 1 / (eps + c_j). E_j = -log1p(-U_j), where U_j is number j of
one stream of uniforms a round: a partition jumps to its own rows, and the draw knows nothing of
chunks, partitions, workers or earlier rounds.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import log1p

import numpy as np
from numpy.typing import NDArray

from balans_dask.kernels._jit import kernel, read_only
from balans_dask.kernels.affinity import AffinityRows
from balans_dask.tiling import TILE_ROWS, tile_slices

__all__ = [
    "COVERAGE_OFFSET",
    "ELBOW_ROWS",
    "Draw",
    "DrawnRows",
    "Reach",
    "RowCoverage",
    "add_coverage",
    "draw_rows",
    "elbow_rows",
    "first_of",
    "fit_rows",
    "no_coverage",
]

COVERAGE_OFFSET = 1e-3
"""eps of the draw: an uncovered row is drawn with weight 1 / eps."""
NUMBERS_PER_STEP = 4
"""Random numbers that one step of Philox makes."""
ELBOW_ROWS = 32_768
"""Rows on which ``align`` finds elbows: what rank one has is known to some hundredths."""
ELBOW_DRAW = 2**32 - 1
"""Number of their draw, which is that of no round."""
FIT_DRAW = 2**32 - 2
"""Number of the draw of the rows that ``align`` is fitted on."""
DRAWN_AT_ONCE = 2**20


@dataclass(frozen=True)
class Reach:
    """How far the landmarks of one round reach, in draw order.

    Attributes
    ----------
    n_kept : ndarray of shape (n_landmarks,), int64
        Rows of kept affinity, the landmark itself included.
    n_new : ndarray of shape (n_landmarks,), int64
        Rows among them that no landmark drawn before covers.
    """

    n_kept: NDArray[np.int64]
    n_new: NDArray[np.int64]


@dataclass(frozen=True)
class RowCoverage:
    """Coverage of the rows of one partition after some round.

    Attributes
    ----------
    start : int
        Global number of the first row.
    coverage : ndarray of shape (n_rows,), float64
        c of the paper: the sum of kept affinities of the rows sampled so far.
    drawn : ndarray of shape (n_rows,), bool
        Rows that cannot be drawn: those sampled so far, and those that are no landmarks for the
        run.
    reach : Reach
        Of the last block, within this partition.
    piece_bytes : int
        Memory of the affinities that are kept of the last block.
    """

    start: int
    coverage: NDArray[np.float64]
    drawn: NDArray[np.bool_]
    reach: Reach
    piece_bytes: int

    @property
    def n_rows(self) -> int:
        """Rows of the partition."""
        return len(self.coverage)

    def __sizeof__(self) -> int:
        return self.coverage.nbytes + self.drawn.nbytes

    @property
    def n_open(self) -> int:
        """Rows that nothing covers and that can be drawn."""
        return int(np.count_nonzero((self.coverage == 0.0) & ~self.drawn))

    def here(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Find which of some rows of the data set are here, counted from the start."""
        local = rows - self.start
        return local[(local >= 0) & (local < self.n_rows)]


def no_coverage(start: int, n_rows: int, reference: NDArray[np.bool_] | None) -> RowCoverage:
    """Begin: nothing is covered, and landmarks are drawn among the reference rows, mostly all.

    Parameters
    ----------
    start, n_rows : int
        The rows of the partition.
    reference : ndarray of shape (n_rows,), bool, or None
    """
    drawn = np.zeros(n_rows, dtype=bool) if reference is None else ~reference
    none = np.zeros(0, dtype=np.int64)
    return RowCoverage(start, np.zeros(n_rows), drawn, Reach(none, none), 0)


def add_coverage(
    before: RowCoverage, rows: NDArray[np.int64], affinities: AffinityRows
) -> RowCoverage:
    """Take a block of sampled rows and what they cover.

    The affinities of a block are summed by row in draw order, and the sum is added: so rows that
    are computed again, block by block, lead to the same bits.

    Parameters
    ----------
    rows : ndarray of shape (n_landmarks,), int64
        Global row numbers of the block.
    affinities : AffinityRows
        Of the block, over this partition.
    """
    coverage = np.zeros(before.n_rows)
    n_new = np.zeros(affinities.n_landmarks, dtype=np.int64)
    _add_by_row(
        read_only(affinities.indptr),
        read_only(affinities.columns),
        read_only(affinities.values),
        read_only(before.coverage),
        coverage,
        n_new,
    )
    coverage += before.coverage
    drawn = before.drawn.copy()
    drawn[before.here(rows)] = True
    reach = Reach(affinities.n_kept, n_new)
    return RowCoverage(before.start, coverage, drawn, reach, affinities.nbytes)


@kernel
def _add_by_row(
    indptr: NDArray[np.int64],
    columns: NDArray[np.uint16],
    values: NDArray[np.float32],
    before: NDArray[np.float64],
    gain: NDArray[np.float64],
    n_new: NDArray[np.int64],
) -> None:
    n_landmarks = n_new.shape[0]
    for segment in range(indptr.shape[0] - 1):
        offset = segment // n_landmarks * TILE_ROWS
        landmark = segment % n_landmarks
        for entry in range(indptr[segment], indptr[segment + 1]):
            row = offset + np.int64(columns[entry])
            # A new row belongs to the first landmark that covers it, in draw order.
            if gain[row] == 0.0 and before[row] == 0.0:
                n_new[landmark] += 1
            gain[row] += np.float64(values[entry])


@dataclass(frozen=True)
class Draw:
    """One draw.

    Attributes
    ----------
    seed : int
    pass_number : int
        Each pass draws its own landmarks.
    n_round : int
    size : int
        Rows to draw, if there are so many.
    """

    seed: int
    pass_number: int
    n_round: int
    size: int

    def uniforms(self, start: int) -> np.random.Generator:
        """Return the stream from a row on, which begins a tile."""
        key = np.array([self.seed, (self.pass_number << 32) + self.n_round], dtype=np.uint64)
        return np.random.Generator(np.random.Philox(key=key).advance(start // NUMBERS_PER_STEP))


@dataclass(frozen=True)
class DrawnRows:
    """Rows in the order of their keys; of a partition, those that may be drawn.

    Attributes
    ----------
    rows : ndarray of shape (n,), int64
        Global row numbers.
    keys : ndarray of shape (n,), float64
        Increasing.
    was_open : ndarray of shape (n,), bool
        Nothing covered them when they were drawn.
    scores : ndarray of shape (n, n_components), float32, or None
        Their coordinates, where the scores are at hand.
    """

    rows: NDArray[np.int64]
    keys: NDArray[np.float64]
    was_open: NDArray[np.bool_]
    scores: NDArray[np.float32] | None = None

    def with_scores(self, scores: NDArray[np.float32]) -> "DrawnRows":
        """Return the rows with their coordinates."""
        return replace(self, scores=scores)

    def chosen(self, which: NDArray[np.intp] | slice) -> "DrawnRows":
        """Return some of the rows."""
        scores = None if self.scores is None else self.scores[which]
        return DrawnRows(self.rows[which], self.keys[which], self.was_open[which], scores)


def draw_rows(draw: Draw, coverage: RowCoverage) -> DrawnRows:
    """Find the rows of the smallest keys in a partition."""
    rows = np.full(draw.size, -1, dtype=np.int64)
    keys = np.full(draw.size, np.inf)
    stream = draw.uniforms(coverage.start)
    uniforms = np.empty(TILE_ROWS)
    for tile in tile_slices(coverage.n_rows) if draw.size else ():
        n_rows = tile.stop - tile.start
        stream.random(out=uniforms[:n_rows])
        _take_first(
            coverage.start + tile.start,
            read_only(uniforms[:n_rows]),
            read_only(coverage.coverage[tile]),
            read_only(coverage.drawn[tile]),
            keys,
            rows,
        )
    n_found = np.count_nonzero(rows >= 0)
    rows = rows[:n_found]
    was_open = coverage.coverage[rows - coverage.start] == 0.0
    return DrawnRows(rows, keys[:n_found], was_open)


def first_of(parts: Sequence[DrawnRows], size: int) -> DrawnRows:
    """Merge the rows of several partitions: those of the smallest keys, the lower row on a tie."""
    scores = [part.scores for part in parts if part.scores is not None]
    joined = DrawnRows(
        np.concatenate([part.rows for part in parts]),
        np.concatenate([part.keys for part in parts]),
        np.concatenate([part.was_open for part in parts]),
        np.concatenate(scores) if scores else None,
    )
    return joined.chosen(np.lexsort((joined.rows, joined.keys))[:size])


def elbow_rows(seed: int, pass_number: int, n_rows: int) -> NDArray[np.int64]:
    """Draw the rows on which a pass finds its elbows.

    Returns
    -------
    rows : ndarray of shape (min(n_rows, ELBOW_ROWS),), int64
        Those of the smallest keys, one for every row of the data set, in increasing order.
    """
    draw = Draw(seed, pass_number, ELBOW_DRAW, ELBOW_ROWS)
    return _smallest_keys(draw, np.broadcast_to(np.uint8(0), n_rows), None)


def fit_rows(
    seed: int, codes: NDArray[np.integer], reference: NDArray[np.bool_] | None, n_each: int
) -> NDArray[np.int64]:
    """Draw the rows of every batch on which ``align`` is fitted.

    Parameters
    ----------
    codes : ndarray of shape (n_rows,), integer
        Batch of every row.
    reference : ndarray of shape (n_rows,), bool, or None
        Rows that may be drawn; ``None`` for all.
    n_each : int
        Rows of a batch, if it has so many.

    Returns
    -------
    rows : ndarray of shape (n,), int64
        Those of the smallest keys, one for every row of the data set, in increasing order.
    """
    return _smallest_keys(Draw(seed, 0, FIT_DRAW, n_each), codes, reference)


def _smallest_keys(
    draw: Draw, codes: NDArray[np.integer], reference: NDArray[np.bool_] | None
) -> NDArray[np.int64]:
    """Find the ``draw.size`` rows of every batch with the smallest keys, some rows at a time."""
    stream, n_rows, n_batches = draw.uniforms(0), len(codes), int(codes.max()) + 1
    rows, keys = np.empty(0, dtype=np.int64), np.empty(0)
    bounds = np.full(n_batches, np.inf)
    for first in range(0, n_rows, DRAWN_AT_ONCE):
        some = slice(first, min(first + DRAWN_AT_ONCE, n_rows))
        drawn = stream.random(some.stop - first)
        counts = drawn < bounds[codes[some]]
        if reference is not None:
            counts &= reference[some]
        here = np.flatnonzero(counts)
        rows, keys = np.concatenate([rows, first + here]), np.concatenate([keys, drawn[here]])
        order = np.lexsort((rows, keys, codes[rows]))
        batches = codes[rows[order]]
        starts = np.searchsorted(batches, np.arange(n_batches))
        places = np.arange(len(order)) - starts[batches]
        full = batches[places == draw.size - 1]
        bounds[full] = keys[order[places == draw.size - 1]]
        kept = order[places < draw.size]
        rows, keys = rows[kept], keys[kept]
    return np.sort(rows)


@kernel
def _take_first(
    start: int,
    uniforms: NDArray[np.float64],
    coverage: NDArray[np.float64],
    drawn: NDArray[np.bool_],
    keys: NDArray[np.float64],
    rows: NDArray[np.int64],
) -> None:
    """Sort a tile's rows into the first ones so far; a later row stands behind its equals."""
    last = keys.shape[0] - 1
    for j in range(coverage.shape[0]):
        weighted = COVERAGE_OFFSET + coverage[j]
        # -log1p(-u) >= u, so few rows need the logarithm. A little above, so that rounding
        # excludes nothing; the key itself decides.
        if drawn[j] or uniforms[j] * weighted > keys[last] * (1.0 + 2.0**-40):
            continue
        key = -log1p(-uniforms[j]) * weighted
        if not key < keys[last]:
            continue
        place = last
        while place > 0 and key < keys[place - 1]:
            keys[place] = keys[place - 1]
            rows[place] = rows[place - 1]
            place -= 1
        keys[place] = key
        rows[place] = start + j
