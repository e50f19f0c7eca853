"""The two products of the smoother, X_hat = D^-1 A_S^T (A_S X), over one tile or one row."""

from collections.abc import Sequence

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from balans_dask.kernels._jit import kernel, read_only
from balans_dask.kernels.affinity import AffinityRows, kept_affinities
from balans_dask.kernels.batch_tiles import BatchTiles, tile_by_batch
from balans_dask.kernels.distances import difference_squared
from balans_dask.kernels.landmarks import LandmarkBlock
from balans_dask.tiling import TILE_ROWS

__all__ = [
    "landmark_affinities",
    "landmark_sums",
    "nearest_landmarks",
    "pseudo_inverse",
    "spread_to_rows",
]

SMALLEST_EIGENVALUE = 1e-3
"""Share of the largest eigenvalue below which one is dropped."""


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


def nearest_landmarks(
    tiles: BatchTiles,
    tile: int,
    rows: NDArray[np.intp],
    table: Sequence[LandmarkBlock],
) -> NDArray[np.int64]:
    """Landmark of smallest u for rows that no landmark covers; the first drawn on a tie.

    Parameters
    ----------
    rows : ndarray of shape (n_rows,), intp
        Rows of the tile, in input order.
    table : sequence of LandmarkBlock
        All blocks of landmarks, in draw order.

    Returns
    -------
    nearest : ndarray of shape (n_rows,), int64
        Places in draw order.
    """
    order = tiles.order[tile]
    position = np.empty(TILE_ROWS, dtype=np.int64)
    position[order] = np.arange(TILE_ROWS)
    batch = np.zeros(TILE_ROWS, dtype=np.int64)
    for start, stop, local, _ in tiles.runs_of(tile):
        batch[start:stop] = local
    smallest = np.full(len(rows), np.inf)
    nearest = np.full(len(rows), -1, dtype=np.int64)
    first = 0
    for block in table:
        _nearest_landmarks(
            read_only(tiles.scores[tile]),
            read_only(position[rows]),
            read_only(block.columns_of(tiles.batches)[batch[position[rows]]]),
            read_only(block.scores),
            read_only(block.scales),
            first,
            smallest,
            nearest,
        )
        first += block.n_landmarks
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
def _nearest_landmarks(
    tile: NDArray[np.float32],
    positions: NDArray[np.int64],
    scale_columns: NDArray[np.intp],
    landmarks: NDArray[np.float32],
    scales: NDArray[np.float64],
    first: int,
    smallest: NDArray[np.float64],
    nearest: NDArray[np.int64],
) -> None:
    for j in range(positions.shape[0]):
        for i in range(scales.shape[0]):
            squared = difference_squared(landmarks, i, tile, positions[j])
            scaled = squared / scales[i, scale_columns[j]]
            if scaled < smallest[j]:
                smallest[j] = scaled
                nearest[j] = first + i


def landmark_affinities(
    table: Sequence[LandmarkBlock], codes: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Kept affinities of the landmarks to each other, A_SS.

    Parameters
    ----------
    table : sequence of LandmarkBlock
        All blocks, in draw order.
    codes : ndarray of shape (n_landmarks,), integer
        Batch of every landmark.

    Returns
    -------
    affinities : ndarray of shape (n_landmarks, n_landmarks), float64
        Not symmetric: every row has scales and an elbow of its own.
    """
    scores = np.concatenate([block.scores[: block.n_landmarks] for block in table])
    tiles = tile_by_batch(0, scores, codes)
    dense = np.zeros((len(scores), len(scores)))
    first = 0
    for block in table:
        here = block.renumbered(first)
        for tile in range(tiles.n_tiles):
            rows = kept_affinities(tiles, here, tile)
            entry_rows = np.repeat(np.arange(block.n_landmarks), np.diff(rows.indptr))
            dense[first + entry_rows, tile * TILE_ROWS + rows.columns.astype(np.intp)] = rows.values
        first += block.n_landmarks
    return dense


def pseudo_inverse(affinities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pseudo-inverse of A_SS, symmetrised; eigenvalues below 1e-3 of the largest are dropped.

    Parameters
    ----------
    affinities : ndarray of shape (n_landmarks, n_landmarks), float64

    Notes
    -----
    Cost: one dense eigendecomposition, n_landmarks cubed.
    """
    values, vectors = scipy.linalg.eigh((affinities + affinities.T) / 2)
    kept = values > SMALLEST_EIGENVALUE * values[-1]
    inverse: NDArray[np.float64] = (vectors[:, kept] / values[kept]) @ vectors[:, kept].T
    return inverse
