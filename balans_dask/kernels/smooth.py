"""The two products of the smoother, X_hat = D^-1 A_S^T (A_S X), over one tile or one row."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from balans_dask.kernels._jit import kernel, read_only
from balans_dask.kernels.affinity import AffinityRows
from balans_dask.kernels.distances import difference_squared

__all__ = ["landmark_sums", "nearest_landmark", "spread_to_rows"]


def landmark_sums(
    affinities: Sequence[AffinityRows], values: NDArray[np.float64], out: NDArray[np.float64]
) -> None:
    """Add A_S V over one tile to ``out``: for each landmark the affinity-weighted sum of its rows.

    Parameters
    ----------
    affinities : sequence of AffinityRows
        All blocks of landmarks over the tile, in draw order.
    values : ndarray of shape (n_rows, n_columns), float64
        Rows of the tile, in input order.
    out : ndarray of shape (n_landmarks, n_columns), float64
    """
    first = 0
    for block in affinities:
        rows = out[first : first + block.n_landmarks]
        _add_rows(*_arrays(block), read_only(values), rows)
        first += block.n_landmarks


def spread_to_rows(
    affinities: Sequence[AffinityRows], sums: NDArray[np.float64], out: NDArray[np.float64]
) -> None:
    """Add A_S^T U over one tile to ``out``: for each row the weighted sum of its landmarks.

    Parameters
    ----------
    affinities : sequence of AffinityRows
        All blocks of landmarks over the tile, in draw order.
    sums : ndarray of shape (n_landmarks, n_columns), float64
        U = A_S V.
    out : ndarray of shape (n_rows, n_columns), float64
        Rows of the tile, in input order.
    """
    first = 0
    for block in affinities:
        landmarks = sums[first : first + block.n_landmarks]
        _add_landmarks(*_arrays(block), read_only(landmarks), out)
        first += block.n_landmarks


def nearest_landmark(
    rows: NDArray[np.float32],
    batches: NDArray[np.intp],
    landmarks: NDArray[np.float32],
    scales: NDArray[np.float64],
) -> NDArray[np.int64]:
    """Landmark of smallest u for rows that no landmark covers; the first drawn on a tie.

    Parameters
    ----------
    rows : ndarray of shape (n_rows, n_components), float32
    batches : ndarray of shape (n_rows,), intp
        Columns of ``scales``.
    landmarks : ndarray of shape (n_landmarks, n_components), float32
    scales : ndarray of shape (n_landmarks, n_batches), float64
        Squared.
    """
    nearest = np.empty(len(rows), dtype=np.int64)
    _nearest_landmark(
        read_only(np.ascontiguousarray(rows)),
        read_only(batches),
        read_only(np.ascontiguousarray(landmarks)),
        read_only(np.ascontiguousarray(scales)),
        nearest,
    )
    return nearest


def _arrays(
    block: AffinityRows,
) -> tuple[NDArray[np.int64], NDArray[np.uint16], NDArray[np.float32]]:
    return read_only(block.indptr), read_only(block.columns), read_only(block.values)


@kernel
def _add_rows(
    indptr: NDArray[np.int64],
    columns: NDArray[np.uint16],
    values: NDArray[np.float32],
    rows: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    for i in range(indptr.shape[0] - 1):
        for entry in range(indptr[i], indptr[i + 1]):
            weight = np.float64(values[entry])
            row = columns[entry]
            for column in range(rows.shape[1]):
                out[i, column] += weight * rows[row, column]


@kernel
def _add_landmarks(
    indptr: NDArray[np.int64],
    columns: NDArray[np.uint16],
    values: NDArray[np.float32],
    sums: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    for i in range(indptr.shape[0] - 1):
        for entry in range(indptr[i], indptr[i + 1]):
            weight = np.float64(values[entry])
            row = columns[entry]
            for column in range(sums.shape[1]):
                out[row, column] += weight * sums[i, column]


@kernel
def _nearest_landmark(
    rows: NDArray[np.float32],
    batches: NDArray[np.intp],
    landmarks: NDArray[np.float32],
    scales: NDArray[np.float64],
    nearest: NDArray[np.int64],
) -> None:
    for j in range(rows.shape[0]):
        smallest = np.inf
        for i in range(landmarks.shape[0]):
            scaled = difference_squared(landmarks, i, rows, j) / scales[i, batches[j]]
            if scaled < smallest:
                smallest = scaled
                nearest[j] = i
