"""The scores of some rows of every store, and of the same rows before."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from balans_dask.evaluate.cautions import RAW
from balans_dask.evaluate.raw_scores import RawScores, project
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
    found: dict[Any, Embedding] = {}
    for one in stores:
        if one.before is not None and one.before.identity not in found:
            name = f"{RAW} of {one.name}" if found else RAW
            found[one.before.identity] = _raw(name, one.before, rows)
    corrected = []
    for one in stores:
        if one.corrected is None:
            continue
        scores = _corrected(one.corrected, one.projection, rows)
        before = None if one.before is None else found[one.before.identity].scores
        corrected.append(Embedding(one.name, scores, before))
    return [*found.values(), *corrected]


def _raw(name: str, raw: RawScores, rows: NDArray[np.int64]) -> Embedding:
    scores = project(raw.projection, _read(raw.matrix, rows))
    return Embedding(name, scores, scores)


def _corrected(
    matrix: zarr.Array, projection: Projection, rows: NDArray[np.int64]
) -> NDArray[np.float64]:
    values = _read(matrix, rows)
    if projection.weights is None:
        # A corrected embedding is in the unit of its input, and has its centre.
        return project(projection, values)
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
