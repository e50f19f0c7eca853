"""The user's arrays: wrapped as sources of rows, and filled with corrected ones."""

from typing import Any

import dask.array as da
import pandas as pd
import zarr

from balans_dask.io.matrices import H5Matrix, checked_array
from balans_dask.io.sources import HeldArray, LazyRows, RowSource, StoredRows
from balans_dask.passes.engine import Engine
from balans_dask.workflows.array_inputs import matrix_of

__all__ = [
    "numbered_names",
    "source_of",
]


def source_of(engine: Engine, X: Any) -> tuple[RowSource, list[str]]:
    """Wrap what the user gave, after checking its shape and type."""
    names = [str(name) for name in X.columns] if isinstance(X, pd.DataFrame) else []
    X = matrix_of(X, least_rows=1)
    names = names or numbered_names(X.shape[1])
    if isinstance(X, da.Array):
        return LazyRows(X), names
    if isinstance(X, zarr.Array):
        return StoredRows(checked_array(X)), names
    if isinstance(X, H5Matrix):
        return StoredRows(X), names
    return StoredRows(HeldArray(X) if engine.workers().embedded else X), names


def numbered_names(n_features: int) -> list[str]:
    """Names of features that the user has not named."""
    return [f"feature {i}" for i in range(n_features)]
