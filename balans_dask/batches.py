"""Batch labels: any columns of a table, turned into codes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from balans_dask.errors import InvalidInputError

__all__ = ["BatchLabels", "batch_labels", "label_name"]

EXACT = 2.0**53
"""Beyond this, a float is no whole number that anybody wrote."""
SEPARATOR = " | "
"""Stands between the labels of several columns in the name of a joint batch."""


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
    """

    codes: NDArray[np.integer]
    names: tuple[str, ...]
    sizes: NDArray[np.int64]

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
        Text, numbers, booleans or categories. A number is a label here, not a quantity: 1, 1.0 and
        "1" are the same label.
    names : sequence of str
        What to call the columns in an error.
    n_rows : int
        Rows of the profiles.

    Raises
    ------
    InvalidInputError
        If a column has another length, or a label is missing.
    """
    factors = [_factor(column, name, n_rows) for column, name in zip(columns, names, strict=True)]
    joint = pd.MultiIndex.from_arrays([codes for codes, _ in factors])
    places, combinations = pd.factorize(joint)
    labels = [
        tuple(texts[code] for code, (_, texts) in zip(codes, factors, strict=True))
        for codes in combinations
    ]
    order = sorted(range(len(labels)), key=labels.__getitem__)
    rank = np.empty(len(labels), dtype=np.min_scalar_type(max(len(labels) - 1, 0)))
    rank[order] = np.arange(len(labels))
    codes = rank[places]
    return BatchLabels(
        codes=codes,
        names=tuple(SEPARATOR.join(labels[place]) for place in order),
        sizes=np.bincount(codes, minlength=len(labels)),
    )


def _factor(column: Any, name: str, n_rows: int) -> tuple[NDArray[np.intp], list[str]]:
    """Codes of a column, and the text of every code; equal texts have one code."""
    labels = column if isinstance(column, pd.Series) else pd.Series(np.asarray(column).ravel())
    if len(labels) != n_rows:
        raise InvalidInputError(
            f"{name} has {len(labels)} labels for {n_rows} rows: give one label a row"
        )
    codes, values = pd.factorize(labels)
    n_missing = int((codes < 0).sum())
    if n_missing:
        raise InvalidInputError(
            f"{name} is missing in {n_missing} of {n_rows} rows: "
            "give every row a batch label, or drop these rows"
        )
    text_codes, texts = pd.factorize(
        np.array([label_name(value) for value in values], dtype=object)
    )
    return text_codes[codes], list(texts)


def label_name(label: Any) -> str:
    """Spell a label: a number is one, so 1.0 is 1."""
    if isinstance(label, bytes):
        return label.decode(errors="replace")
    is_whole = isinstance(label, float | np.floating) and float(label).is_integer()
    return str(int(label)) if is_whole and abs(label) < EXACT else str(label)
