"""Which arrays an estimator takes; told by type and shape, so nothing lazy is computed."""

from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
import zarr
from numpy.typing import NDArray
from scipy.sparse import issparse

from balans_dask.errors import InvalidInputError, WrongTypeError
from balans_dask.io.matrices import H5Matrix
from balans_dask.model.inputs import require_sizes

__all__ = ["is_lazy", "matrix_of"]


def is_lazy(X: Any) -> bool:
    """Tell whether an array is read when it is needed."""
    return isinstance(X, da.Array | zarr.Array | H5Matrix)


def matrix_of(X: Any, *, least_rows: int = 2) -> Any:
    """Return the profiles as a numpy array, or as the Dask, Zarr or HDF5 array that they are.

    Parameters
    ----------
    X : array-like, dask.array.Array, zarr.Array or H5Matrix
    least_rows : int
        A fit needs two; a fitted model corrects a single row.

    Raises
    ------
    WrongTypeError
        If they are sparse, or hold what is no number.
    InvalidInputError
        If they are no matrix of real numbers, or too small to align.
    """
    X = X if is_lazy(X) else _in_memory(X)
    if X.dtype.kind == "c":
        raise InvalidInputError(
            f"Complex data not supported: X has type {X.dtype}, give real numbers"
        )
    if X.dtype.kind not in "iuf" or X.dtype.itemsize > 8:
        raise InvalidInputError(f"X has type {X.dtype}: give integers or floats of at most 64 bits")
    if X.ndim != 2:
        raise InvalidInputError(
            f"X has {X.ndim} dimensions (shape={X.shape}): give a matrix of profiles by features. "
            "Reshape your data by X.reshape(1, -1) if it is one profile"
        )
    if any(np.isnan(length) for length in X.shape):
        raise InvalidInputError("X has chunks of unknown length: call X.compute_chunk_sizes()")
    require_sizes("X", X.shape, least_rows)
    return X


def _in_memory(X: Any) -> NDArray[Any]:
    if issparse(X):
        raise WrongTypeError(
            "X is a sparse matrix, but dense data is required: convert it by X.toarray()"
        )
    if isinstance(X, np.ma.MaskedArray) and np.ma.is_masked(X):
        n_masked = int(np.ma.getmaskarray(X).sum())
        raise InvalidInputError(f"X has {n_masked} masked values: impute them or drop their rows")
    try:
        array = X.to_numpy() if isinstance(X, pd.DataFrame) else np.asarray(X)
    except ValueError as error:
        raise InvalidInputError(
            f"X is no array ({error}): give every row the same length"
        ) from error
    return _numbers(array) if array.dtype.kind == "O" else array


def _numbers(array: NDArray[Any]) -> NDArray[np.float64]:
    """Numbers that Python objects hold; text is none, even where it could be read as one."""
    n_texts = sum(isinstance(value, str | bytes) for value in array.flat)
    if n_texts:
        raise WrongTypeError(
            f"{n_texts} of {array.size} values of X are text: keep features only, as numbers"
        )
    try:
        return array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise WrongTypeError(f"a value of X is no number ({error}): drop its feature") from error
