"""Which arrays an estimator takes; told by type and shape, so nothing lazy is computed."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import compress
from typing import Any

import numpy as np
import pandas as pd
import zarr
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.base import BaseEstimator
from sklearn.utils.validation import validate_data

from balans_dask.errors import InvalidInputError, WrongTypeError, did_you_mean, first_names
from balans_dask.io.matrices import H5Matrix, checked_array
from balans_dask.io.sources import HeldArray, LazyRows, RowSource, StoredRows
from balans_dask.io.tables.columns import METADATA_PREFIX, ColumnRule, require_features
from balans_dask.io.tables.row_stream import float32
from balans_dask.labels import batch_labels
from balans_dask.model.anchors import given_mask
from balans_dask.model.inputs import Inputs, require_sizes
from balans_dask.passes.engine import Engine
from balans_dask.passes.threads import embedded_engine
from balans_dask.passes.workers import require_usable

__all__ = [
    "NO_BATCH",
    "check_features",
    "current_engine",
    "inputs_of",
    "is_lazy",
    "key_names",
    "matrix_of",
    "numbered_names",
    "source_of",
    "table_of",
]

NO_BATCH = "all"
"""Label of every row where none is given."""
NUMBERS = ("i", "u", "f")
"""Kinds of types that a feature may have, of numpy, pandas and Arrow."""
INTEGERS = ("i", "u")


def is_lazy(X: Any) -> bool:
    """Tell whether an array is read when it is needed."""
    return isinstance(X, zarr.Array | H5Matrix) or _is_of_dask(X)


def _is_of_dask(X: Any) -> bool:
    """Tell whether something is a Dask array; none is there before Dask is imported."""
    dask_array = sys.modules.get("dask.array")
    return dask_array is not None and isinstance(X, dask_array.Array)


def matrix_of(X: Any, *, least_rows: int = 2) -> Any:
    """Return the profiles as a numpy array, or as the Dask, Zarr or HDF5 array that they are.

    Parameters
    ----------
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


def check_features(estimator: BaseEstimator, X: Any, *, fitting: bool) -> None:
    """Remember number and names of the features, or compare them with those of the fit.

    Parameters
    ----------
    X : ndarray, DataFrame, dask.array.Array or zarr.Array of shape (n_samples, n_features)
        As the user gave it; no value is read.

    Raises
    ------
    InvalidInputError
        If they are others than those of the fit, or some names are text and some are not.
    """
    try:
        validate_data(estimator, X, reset=fitting, skip_check_array=True)
    except (TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        remedy = "name all features by text" if fitting else "give the features of the fit"
        raise InvalidInputError(f"{reason.rstrip('.')}: {remedy}") from error


def source_of(engine: Engine, X: Any) -> tuple[RowSource, list[str]]:
    """Wrap what the user gave, after checking its shape and type."""
    names = [str(name) for name in X.columns] if isinstance(X, pd.DataFrame) else []
    X = matrix_of(X, least_rows=1)
    names = names or numbered_names(X.shape[1])
    if _is_of_dask(X):
        return LazyRows(X), names
    if isinstance(X, zarr.Array):
        return StoredRows(checked_array(X)), names
    if isinstance(X, H5Matrix):
        return StoredRows(X), names
    return StoredRows(HeldArray(X) if engine.workers().embedded else X), names


def numbered_names(n_features: int) -> list[str]:
    """Names of features that the user has not named."""
    return [f"feature {i}" for i in range(n_features)]


@contextmanager
def current_engine(*matrices: Any) -> Iterator[Engine]:
    """Use the client of the caller, which stays open, or an engine for this call.

    Parameters
    ----------
    *matrices : ndarray, dask.array.Array, zarr.Array or H5Matrix
        What is corrected, by ``matrix_of``. What is lazy goes to Dask.

    Raises
    ------
    InvalidInputError
        If nobody could wait for the client of the caller.
    """
    client = _client_of_caller()
    if client is None:
        with embedded_engine(lazy=any(map(is_lazy, matrices))) as engine:
            yield engine
        return
    from balans_dask.passes.dask_engine import DaskEngine  # noqa: PLC0415  (others need no Dask)

    require_usable(client)
    engine_of_client = DaskEngine(client)
    try:
        yield engine_of_client
    finally:
        engine_of_client.leave()


def _client_of_caller() -> Any:
    """Return the current client of Dask, if there is one; there is none before it is imported."""
    distributed = sys.modules.get("distributed")
    try:
        return None if distributed is None else distributed.default_client()
    except ValueError:
        return None


def _keys(batch: Any) -> list[Any]:
    """Return the labels of every key, as they are in a list, an array or a table."""
    if isinstance(batch, pd.DataFrame):
        return [batch.iloc[:, place] for place in range(batch.shape[1])]
    if getattr(batch, "ndim", 1) == 2:
        return list(np.asarray(batch).T)
    is_rows = isinstance(batch, list | tuple) and all(
        isinstance(row, list | tuple) for row in batch
    )
    if is_rows and len({len(row) for row in batch}) == 1:
        return [list(column) for column in zip(*batch, strict=True)]
    return [batch]


def key_names(batch: Any) -> tuple[str, ...]:
    """Name the keys of batches: columns of a table by their names, others by their places."""
    if isinstance(batch, pd.DataFrame):
        return tuple(str(name) for name in batch.columns)
    return tuple(str(place) for place in range(len(_keys(batch))))


@dataclass(frozen=True)
class Table:
    """A table of profiles: what is corrected in it, and what comes back as it was.

    Attributes
    ----------
    frame : DataFrame
        As the user gave it.
    places : ndarray of shape (n_features,), intp
        Of the columns that are features.
    batch : array-like or DataFrame
        Labels.
    """

    frame: pd.DataFrame
    places: NDArray[np.intp]
    batch: Any

    @property
    def features(self) -> pd.DataFrame:
        """Features as a conversion reads them."""
        values = np.empty((len(self.frame), len(self.places)), dtype=np.float32)
        for column, place in enumerate(self.places):
            values[:, column] = _float32(self.frame.iloc[:, place])
        return pd.DataFrame(values, self.frame.index, self.frame.columns[self.places])

    def corrected(self, values: Any) -> pd.DataFrame:
        """Return the table with other values of its features."""
        others = np.setdiff1d(np.arange(self.frame.shape[1]), self.places)
        features = pd.DataFrame(np.asarray(values), self.frame.index)
        parts = [self.frame.iloc[:, others], features]
        both = pd.concat(parts, axis=1, ignore_index=True)
        found = both.iloc[:, np.argsort(np.concatenate([others, self.places]))]
        return found.set_axis(self.frame.columns, axis=1)


def _float32(column: pd.Series) -> NDArray[np.float32]:
    """Round as conversions do; what is missing becomes NaN."""
    if column.hasnans:
        return float32(column.to_numpy(dtype=np.float64, na_value=np.nan))
    return float32(column.to_numpy())


def table_of(X: Any, batch: Any) -> Table | None:
    """Tell features and metadata of a DataFrame apart; ``None`` for any other array.

    Parameters
    ----------
    X : DataFrame or array
    batch : str, sequence of str, or array-like
        Names of columns, or labels.

    Raises
    ------
    InvalidInputError
        If a column is missing, none is a feature, or two have one name.
    """
    if not isinstance(X, pd.DataFrame):
        return None
    keys = _named_columns(X, batch)
    rule = ColumnRule().knowing(keys or _columns_given(X, batch))
    names = [str(name) for name in X.columns]
    kinds = [getattr(dtype, "kind", "") for dtype in X.dtypes]
    are_features = [
        rule.is_feature(name, kind in NUMBERS, kind in INTEGERS)
        for name, kind in zip(names, kinds, strict=True)
    ]
    require_features("X", list(compress(names, are_features)), names, rule)
    columns = [X.iloc[:, names.index(key)] for key in keys]
    labels = pd.concat(columns, axis=1) if len(columns) > 1 else next(iter(columns), batch)
    return Table(X, np.flatnonzero(are_features), labels)


def _named_columns(X: pd.DataFrame, batch: Any) -> list[str]:
    """Return the columns that are named in the place of labels; none where these are given."""
    columns = [str(name) for name in X.columns]
    named = [batch] if isinstance(batch, str) else batch
    is_list = isinstance(named, list | tuple) and all(isinstance(each, str) for each in named)
    # As many texts as rows are labels, unless there is a column of every name.
    if not is_list or (len(named) == len(X) and not set(named) <= set(columns)):
        return []
    for name in named:
        if name not in columns:
            near = did_you_mean(name, columns, METADATA_PREFIX)
            listed = f": choose one of its {len(columns)} columns, {first_names(columns)}"
            raise InvalidInputError(f"X has no column {name!r}{near or listed}")
    return list(dict.fromkeys(named))


def _columns_given(X: pd.DataFrame, batch: Any) -> list[str]:
    """Return the columns that labels were taken from, as ``X["plate"]`` is."""
    given = batch.to_frame() if isinstance(batch, pd.Series) else batch
    if not isinstance(given, pd.DataFrame) or len(given) != len(X):
        return []
    columns = {str(name): place for place, name in enumerate(X.columns)}
    places = [(str(name), place) for place, name in enumerate(given.columns)]
    return [
        name
        for name, place in places
        if name in columns
        and np.array_equal(X.iloc[:, columns[name]].astype(str), given.iloc[:, place].astype(str))
    ]


def inputs_of(engine: Engine, X: Any, batch: Any, anchor: Any, controls: Any = None) -> Inputs:
    """Wrap what the user gave."""
    source, names = source_of(engine, X)
    n_rows = source.shape[0]
    columns = [np.full(n_rows, NO_BATCH)] if batch is None else _keys(batch)
    if not columns:
        raise InvalidInputError("batch has no column: give one label a row")
    named = ["batch"] if len(columns) == 1 else [f"batch key {key!r}" for key in key_names(batch)]
    return Inputs(
        features=source,
        labels=batch_labels(columns, named, n_rows),
        feature_names=names,
        in_memory=not is_lazy(X),
        reference=None if anchor is None else given_mask(anchor, n_rows, "anchor"),
        controls=None if controls is None else given_mask(controls, n_rows, "controls"),
    )
