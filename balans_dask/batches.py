"""Batch labels: any columns of a table, turned into codes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from balans_dask.errors import InvalidInputError
from balans_dask.labels import joined, names_before, spelled

__all__ = ["BatchLabels", "batch_labels", "labels_of_column"]

OF_ONE_TYPE = {"boolean", "bytes", "date", "empty", "floating", "integer", "string"}
"""Objects of which equal ones have one spelling."""


@dataclass(frozen=True)
class BatchLabels:
    """The batch of every row.

    Attributes
    ----------
    codes : ndarray of shape (n_rows,), unsigned integer
        Place in ``names``; the smallest type that holds them.
    names : tuple of str
        Batches in sorted order, so that codes do not depend on the order of rows.
    sizes : ndarray of shape (n_batches,), int64
    before : tuple of set of str
        What models of earlier versions may call each batch.
    """

    codes: NDArray[np.integer]
    names: tuple[str, ...]
    sizes: NDArray[np.int64]
    before: tuple[set[str], ...] = ()

    @property
    def n_batches(self) -> int:
        """Number of batches."""
        return len(self.names)

    def clamped(self, n_neighbors: int) -> list[str]:
        """Name the batches with too few rows for a k-th neighbour of their own."""
        return [
            name for name, size in zip(self.names, self.sizes, strict=True) if size <= n_neighbors
        ]


def batch_labels(columns: Sequence[Any], names: Sequence[str], n_rows: int) -> BatchLabels:
    """Make one batch of every combination of labels that occurs.

    Parameters
    ----------
    columns : sequence of array-like of shape (n_rows,)
        Text, numbers, booleans, dates, times, durations or categories of these. A number is a label
        here, not a quantity: 1, 1.0 and "1" are the same label, by ``labels.spelled``.
    names : sequence of str
        What to call the columns in an error.
    n_rows : int
        Rows of the profiles.

    Raises
    ------
    InvalidInputError
        If a column has another length, or a label is missing, no value or not to be stored.
    """
    factors = [_factor(column, name, n_rows) for column, name in zip(columns, names, strict=True)]
    joint = pd.MultiIndex.from_arrays([codes for codes, _ in factors])
    places, combinations = pd.factorize(joint)
    labels = [
        tuple(values[code] for code, (_, values) in zip(codes, factors, strict=True))
        for codes in combinations
    ]
    parts = [tuple(spelled(value) for value in label) for label in labels]
    order = sorted(range(len(labels)), key=parts.__getitem__)
    rank = np.empty(len(labels), dtype=np.min_scalar_type(max(len(labels) - 1, 0)))
    rank[order] = np.arange(len(labels))
    codes = rank[places]
    return BatchLabels(
        codes=codes,
        names=tuple(joined(parts[place]) for place in order),
        sizes=np.bincount(codes, minlength=len(labels)),
        before=tuple(names_before(labels[place]) for place in order),
    )


def _factor(column: Any, name: str, n_rows: int) -> tuple[NDArray[np.intp], list[Any]]:
    codes, values = labels_of_column(column, name)
    if len(codes) != n_rows:
        raise InvalidInputError(
            f"{name} has {len(codes)} labels for {n_rows} rows: give one label a row"
        )
    n_missing = int((codes < 0).sum())
    if n_missing:
        raise InvalidInputError(
            f"{name} is missing in {n_missing} of {n_rows} rows: "
            "give every row a batch label, or drop these rows"
        )
    bad = [text for text in map(spelled, values) if not _is_storable(text)]
    if bad:
        raise InvalidInputError(
            f"{name} has {len(bad)} labels with a NUL or half a character, such as {bad[0]!r}: "
            "replace these"
        )
    return codes, values


def labels_of_column(column: Any, name: str = "the column") -> tuple[NDArray[np.intp], list[Any]]:
    """Tell the labels of a column apart.

    Parameters
    ----------
    column : array-like of shape (n_rows,)
    name : str
        What to call it in an error.

    Returns
    -------
    codes : ndarray of shape (n_rows,), intp
        Place among the labels; -1 where there is none. Equal spellings have one code.
    values : list of scalar
        A value of every label, as ``spelled`` takes it, in the order in which they come.

    Raises
    ------
    InvalidInputError
        If something in it is no label.
    """
    try:
        codes, values = _factorized(_series_of(column))
        texts = [spelled(value) for value in values]
    except InvalidInputError as error:
        raise InvalidInputError(f"{name} holds what is no label: {error}") from error
    first: dict[str, Any] = {}
    for text, value in zip(texts, values, strict=True):
        first.setdefault(text, value)
    place = {text: code for code, text in enumerate(first)}
    recoded = np.array([*(place[text] for text in texts), -1], dtype=np.intp)
    return recoded[codes], list(first.values())


def _series_of(column: Any) -> pd.Series:
    """Take a column in such a way that no number becomes another one."""
    if isinstance(column, pd.Series | pd.Index | pd.api.extensions.ExtensionArray):
        return pd.Series(column)
    if hasattr(column, "dtype") or hasattr(column, "__array__"):
        return pd.Series(np.asarray(column).ravel())
    # Of a list numpy would make floats of integers beyond 64 bits, and text of what is missing.
    return pd.Series(np.asarray(column, dtype=object).ravel(), dtype=object)


def _factorized(column: pd.Series) -> tuple[NDArray[np.intp], list[Any]]:
    """Tell values apart; those of one spelling may have several codes."""
    kind: Any = column.dtype
    if isinstance(kind, pd.CategoricalDtype):
        numbers = column.cat.codes
        codes, used = pd.factorize(numbers.astype("Int64").where(numbers >= 0))
        categories = _scalars(kind.categories.to_series())
        return codes, [categories[number] for number in used]
    values = _scalars(column)
    if values.dtype != object or pd.api.types.infer_dtype(values) in OF_ONE_TYPE:
        codes, found = pd.factorize(values)
        return codes, list(found)
    # To Python True is 1, and noon in London is 13:00 in Berlin.
    place: dict[str, int] = {}
    first = []
    codes = np.full(len(values), -1, dtype=np.intp)
    for row in np.flatnonzero(~pd.isna(values)).tolist():
        text = spelled(values[row])
        if text not in place:
            place[text] = len(place)
            first.append(values[row])
        codes[row] = place[text]
    return codes, first


def _scalars(column: pd.Series) -> Any:
    """Return an array that yields its floats in their own precision."""
    kind: Any = column.dtype
    if pd.api.types.is_float_dtype(kind):
        plain = getattr(kind, "numpy_dtype", getattr(kind, "subtype", kind))
        return column.to_numpy(dtype=plain, na_value=np.nan)
    is_plain = isinstance(kind, np.dtype) and kind.kind not in "mM"
    return column.to_numpy() if is_plain else column.array


def _is_storable(text: str) -> bool:
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False
