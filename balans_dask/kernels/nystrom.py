"""The Nystrom operator A_S^T (A_SS)^+ (A_S X): smoothing that undoes what landmarks share."""

from collections.abc import Sequence

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from balans_dask.kernels.affinity import kept_affinities
from balans_dask.kernels.batch_tiles import tile_by_batch
from balans_dask.kernels.landmarks import LandmarkBlock
from balans_dask.tiling import TILE_ROWS

__all__ = ["landmark_affinities", "pseudo_inverse"]

SMALLEST_EIGENVALUE = 1e-3
"""Share of the largest eigenvalue below which one is dropped."""


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
