"""The parts of an AnnData object that a correction takes, in memory, backed by a file or lazy."""

from collections.abc import Sequence
from typing import Any

import h5py
import numpy as np
import pandas as pd
from anndata import AnnData
from anndata.abc import CSCDataset, CSRDataset
from numpy.typing import NDArray
from scipy.sparse import issparse

from balans_dask.arrays import source_of
from balans_dask.errors import InvalidInputError, first_names
from balans_dask.io.matrices import H5Matrix
from balans_dask.io.sources import RowSource, StoredRows
from balans_dask.labels import BatchLabels, batch_labels
from balans_dask.model.anchors import anchor_mask, rows_by_query
from balans_dask.passes.engine import Engine
from balans_dask.workflows.array_inputs import matrix_of

__all__ = [
    "anchors_of",
    "basis_of",
    "features_of",
    "labels_of",
    "require_room",
    "row_source",
]


def require_room(adata: AnnData, basis: str | None, adjusted_basis: str) -> None:
    """Refuse an object to which results cannot be added.

    Raises
    ------
    InvalidInputError
        If the basis would be lost, or the object is a view of a backed one.
    """
    if adjusted_basis == basis:
        raise InvalidInputError(
            f"adjusted_basis is the basis {basis!r} itself, which stays as it is: give another name"
        )
    if adata.isbacked and adata.is_view:
        raise InvalidInputError(
            f"adata is a view of {adata.n_obs} rows of a backed object, to which nothing can be "
            "added: take adata.to_memory(), or adata.copy(filename)"
        )


def labels_of(adata: AnnData, keys: Sequence[str]) -> BatchLabels:
    """Read the batch of every row; several columns make joint batches.

    Parameters
    ----------
    adata : AnnData
    keys : sequence of str
        Columns of ``obs``.

    Raises
    ------
    InvalidInputError
        If a column or a label is missing.
    """
    if not keys:
        raise InvalidInputError(
            "key names no column of obs: give the one with the batch, or several for joint batches"
        )
    there = list(adata.obs.keys())
    for key in keys:
        if key not in there:
            raise InvalidInputError(
                f"adata has no column {key!r} in obs: choose one of its {len(there)} columns"
                f"{_listed(there)}"
            )
    columns = _in_memory(adata.obs[list(keys)])
    return batch_labels(
        [columns[key] for key in keys], [f"obs column {key!r}" for key in keys], adata.n_obs
    )


def anchors_of(adata: AnnData, anchor: Any) -> NDArray[np.bool_] | None:
    """Find the anchor rows by a query on ``obs`` or a mask; ``None`` for all rows.

    Raises
    ------
    InvalidInputError
        If the query or the mask cannot be used.
    """
    if anchor is None:
        return None
    if isinstance(anchor, str):
        return rows_by_query(_in_memory(adata.obs), anchor)
    return anchor_mask(anchor, adata.n_obs)


def basis_of(adata: AnnData, basis: str) -> Any:
    """Return a matrix of ``obsm``: numpy, or lazy.

    Raises
    ------
    InvalidInputError
        If it is missing or no matrix of numbers.
    """
    there = list(adata.obsm.keys())
    if basis not in there:
        raise InvalidInputError(
            f"adata has no {basis!r} in obsm, which holds {len(there)} matrices{_listed(there)}: "
            "choose one of them, make principal components by sc.pp.pca(adata), or give basis=None"
        )
    return _matrix(adata.obsm[basis], f"obsm[{basis!r}]")


def features_of(adata: AnnData) -> Any:
    """Return ``X``: numpy, or lazy, as that of a backed object is.

    Raises
    ------
    InvalidInputError
        If it is missing or no dense matrix of numbers.
    """
    if adata.X is None:
        raise InvalidInputError("adata has no X: give a basis, and leave correct_features out")
    return _matrix(adata.X, "X")


def row_source(engine: Engine, matrix: Any, lazy: bool) -> RowSource:
    """Wrap a matrix of ``features_of`` or ``basis_of``.

    Parameters
    ----------
    engine : Engine
    matrix : array
    lazy : bool
        It stands beside a lazy one: the results outlive the engine, and hold rows of numpy.
    """
    if lazy and isinstance(matrix, np.ndarray):
        return StoredRows(matrix)
    return source_of(engine, matrix)[0]


def _matrix(matrix: Any, what: str) -> Any:
    sparse = isinstance(matrix, CSRDataset | CSCDataset)
    if sparse or issparse(getattr(matrix, "_meta", matrix)):
        raise InvalidInputError(
            f"{what} is sparse, but dense data is required: correct a dense embedding such as "
            "X_pca, without correct_features"
        )
    return matrix_of(H5Matrix.of(matrix) if isinstance(matrix, h5py.Dataset) else matrix)


def _in_memory(table: Any) -> pd.DataFrame:
    """Read a table of a lazy object; one in memory stays."""
    return table if isinstance(table, pd.DataFrame) else table.to_memory()


def _listed(names: Sequence[Any]) -> str:
    return f" ({first_names(names)})" if names else ""
