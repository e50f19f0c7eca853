"""The scores of some rows of every store, and of the same rows before."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import zarr
from numpy.typing import NDArray

from balans_dask.evaluate.cautions import RAW
from balans_dask.evaluate.raw_scores import Preprocessing, project, raw_projection
from balans_dask.evaluate.stores import EvaluatedStore
from balans_dask.io.matrices import checked_array
from balans_dask.kernels.projection import Projection
from balans_dask.tiling import TILE_ROWS

__all__ = ["Embedding", "read_embeddings"]

SLAB_ROWS = 4 * TILE_ROWS
"""Rows read at a time."""


@dataclass(frozen=True)
class Embedding:
    """Scores of the chosen rows.

    Attributes
    ----------
    name : str
    scores : ndarray of shape (n_rows, n_components), float64
        Centred.
    before : ndarray of shape (n_rows, n_components), float64, or None
        The same rows before the correction, if they are known.
    """

    name: str
    scores: NDArray[np.float64]
    before: NDArray[np.float64] | None

    @property
    def is_raw(self) -> bool:
        """Whether nothing was corrected."""
        return self.scores is self.before


def read_embeddings(stores: Sequence[EvaluatedStore], rows: NDArray[np.int64]) -> list[Embedding]:
    """Read the scores of the chosen rows, raw ones first.

    Parameters
    ----------
    stores : sequence of EvaluatedStore
    rows : ndarray of shape (n_rows,), int64
        In increasing order.

    Returns
    -------
    embeddings : list of Embedding
        Raw scores of every preprocessor that the corrections had, then every correction.
    """
    fitted: dict[Preprocessing, tuple[Projection, Embedding]] = {}
    for one in stores:
        if one.before is not None and one.before not in fitted:
            name = f"{RAW} of {one.name}" if fitted else RAW
            fitted[one.before] = _raw(name, one.before, rows)
    corrected = []
    for one in stores:
        if one.corrected is None:
            continue
        projection, raw = (None, None) if one.before is None else fitted[one.before]
        scores = _corrected(one.corrected, projection, rows)
        corrected.append(Embedding(one.name, scores, None if raw is None else raw.scores))
    return [raw for _, raw in fitted.values()] + corrected


def _raw(name: str, asked: Preprocessing, rows: NDArray[np.int64]) -> tuple[Projection, Embedding]:
    projection, run = raw_projection(asked)
    matrix = run.store.features if asked.basis is None else run.store.embedding(asked.basis)
    scores = project(projection, _read(matrix, rows))
    return projection, Embedding(name, scores, scores)


def _corrected(
    matrix: zarr.Array, projection: Projection | None, rows: NDArray[np.int64]
) -> NDArray[np.float64]:
    values = _read(matrix, rows)
    if projection is not None and projection.weights is None:
        # A corrected embedding is in the unit of its input, and has its centre.
        return project(projection, values)
    if projection is None:
        values = values - values.mean(axis=0, dtype=np.float64)
    return values.astype(np.float64)


def _read(matrix: zarr.Array, rows: NDArray[np.int64]) -> NDArray[np.number]:
    source = checked_array(matrix)
    pieces = []
    for start in range(0, matrix.shape[0], SLAB_ROWS):
        stop = min(start + SLAB_ROWS, matrix.shape[0])
        first, last = np.searchsorted(rows, [start, stop])
        if last > first:
            pieces.append(np.asarray(source[start:stop])[rows[first:last] - start])
    return np.concatenate(pieces)
