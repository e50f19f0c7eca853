"""What a block of landmarks adds to the coverage of a partition's rows."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from balans_dask.kernels._jit import kernel, read_only
from balans_dask.kernels.affinity import AffinityRows
from balans_dask.tiling import TILE_ROWS

__all__ = ["CoverageGain", "coverage_gain"]


@dataclass(frozen=True)
class CoverageGain:
    """The rows that a block touches, and by how much.

    Attributes
    ----------
    rows : ndarray of shape (n_touched,), int64
        Global row numbers, increasing.
    gain : ndarray of shape (n_touched,), float64
        Sum of the block's affinities, in draw order.
    first : ndarray of shape (n_touched,), int32
        Place in draw order of the first landmark that touches the row.
    n_bytes : int
        Memory of the kept affinities themselves.
    n_kept : ndarray of shape (n_landmarks,), int64
        Rows that each landmark touches; in one sum with those of other partitions, its neighbours.
    """

    rows: NDArray[np.int64]
    gain: NDArray[np.float64]
    first: NDArray[np.int32]
    n_bytes: int
    n_kept: NDArray[np.int64]


def coverage_gain(start: int, n_rows: int, affinities: AffinityRows) -> CoverageGain:
    """Sum the affinities of a block by row.

    Parameters
    ----------
    start, n_rows : int
        The rows of the partition.
    affinities : AffinityRows
    """
    gain = np.zeros(affinities.n_tiles * TILE_ROWS)
    first = np.full(len(gain), -1, dtype=np.int32)
    _add_by_row(
        affinities.n_landmarks,
        read_only(affinities.indptr),
        read_only(affinities.columns),
        read_only(affinities.values),
        gain,
        first,
    )
    touched = np.flatnonzero(first[:n_rows] >= 0)
    return CoverageGain(
        touched + start, gain[touched], first[touched], affinities.nbytes, affinities.n_kept
    )


@kernel
def _add_by_row(
    n_landmarks: int,
    indptr: NDArray[np.int64],
    columns: NDArray[np.uint16],
    values: NDArray[np.float32],
    gain: NDArray[np.float64],
    first: NDArray[np.int32],
) -> None:
    for segment in range(indptr.shape[0] - 1):
        offset = segment // n_landmarks * TILE_ROWS
        landmark = segment % n_landmarks
        for entry in range(indptr[segment], indptr[segment + 1]):
            row = offset + np.int64(columns[entry])
            gain[row] += np.float64(values[entry])
            if first[row] < 0:
                first[row] = landmark
