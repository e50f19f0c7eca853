"""Coverage of a partition's rows, and what a block of landmarks adds to it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from balans_dask.kernels._jit import kernel, read_only
from balans_dask.kernels.affinity import AffinityRows
from balans_dask.tiling import TILE_ROWS

__all__ = ["Reach", "RowCoverage", "add_coverage", "no_coverage"]


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
    before : RowCoverage
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
