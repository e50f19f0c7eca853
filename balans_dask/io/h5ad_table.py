"""Reading h5ad as a stream of rows."""

from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np
import pandas as pd
from anndata.io import read_elem, sparse_dataset

from balans_dask.errors import InvalidInputError, exhaustion
from balans_dask.io.annotations import storable
from balans_dask.io.columns import require_features
from balans_dask.io.files import table_source
from balans_dask.io.h5_parts import require_parts
from balans_dask.io.slabs import SLAB_ROWS, RowStream, Slab, float32, readable

__all__ = ["open_h5ad"]


def open_h5ad(path: str) -> RowStream:
    """Open an h5ad file: its X, obs, var and the dense matrices of its obsm, nothing else.

    Raises
    ------
    InvalidInputError
        If the file cannot be read, holds no features, X as anything but dense or csr, or parts that
        lie elsewhere.
    """
    with readable(path, "h5ad"):
        file = h5py.File(table_source(path), "r")
        require_parts(path, file)
        obs, var = _frame(path, file, "obs"), _frame(path, file, "var")
        matrix = file["X"]
        if isinstance(matrix, h5py.Group):
            matrix = sparse_dataset(matrix)
    kind = getattr(matrix, "format", "dense")
    if kind not in {"dense", "csr"}:
        raise InvalidInputError(f"{path} holds X as {kind}: save it dense or as csr")
    if matrix.shape != (len(obs), len(var)):
        raise InvalidInputError(
            f"{path} has X of shape {matrix.shape} with {len(obs)} rows in obs and {len(var)} in "
            "var: write the file again"
        )
    require_features(path, list(var.index), list(var.index))
    return RowStream(var, _slabs(path, file, matrix, len(obs)), obs_complete=obs)


def _frame(path: str, file: h5py.File, key: str) -> pd.DataFrame:
    try:
        frame = read_elem(file[key])
    except Exception as error:  # anndata wraps whatever a torn element raises
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise exhaustion(error) or InvalidInputError(
            f"{path} cannot be read as h5ad ({key}: {reason}): check it"
        ) from error
    return storable(path, frame)


def _slabs(path: str, file: h5py.File, matrix: Any, n_rows: int) -> Iterator[Slab]:
    obsm = {
        name: element
        for name, element in (file["obsm"].items() if "obsm" in file else ())
        if isinstance(element, h5py.Dataset) and element.ndim == 2
    }
    with file, readable(path, "h5ad"):
        for start in range(0, n_rows, SLAB_ROWS):
            rows = slice(start, min(start + SLAB_ROWS, n_rows))
            block: Any = matrix[rows]
            dense = block if isinstance(block, np.ndarray) else block.toarray()
            extra = {name: float32(element[rows]) for name, element in obsm.items()}
            # Annotations are complete already.
            yield Slab(pd.DataFrame(), float32(dense), extra)
