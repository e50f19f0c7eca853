"""Batch labels: any columns of a table, turned into codes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from balans_dask.errors import InvalidInputError

__all__ = ["BatchLabels", "batch_labels"]

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
        Text, numbers, booleans or categories; a number is a label here, not a quantity.
    names : sequence of str
        What to call the columns in an error.
    n_rows : int
        Rows of the profiles.

    Raises
    ------
    InvalidInputError
        If a column has another length, or a label is missing.
    """
    texts = []
    for column, name in zip(columns, names, strict=True):
        labels = pd.Series(np.asarray(column, dtype=object).ravel())
        if len(labels) != n_rows:
            raise InvalidInputError(
                f"{name} has {len(labels)} labels for {n_rows} rows: give one label a row"
            )
        n_missing = int(labels.isna().sum())
        if n_missing:
            raise InvalidInputError(
                f"{name} is missing in {n_missing} of {n_rows} rows: "
                "give every row a batch label, or drop these rows"
            )
        texts.append(labels.map(str))
    joint = pd.MultiIndex.from_arrays(texts) if len(texts) > 1 else pd.Index(texts[0])
    codes, uniques = pd.factorize(joint, sort=True)
    labels_of = [label if isinstance(label, tuple) else (label,) for label in uniques]
    return BatchLabels(
        codes=codes.astype(np.min_scalar_type(max(len(uniques) - 1, 0))),
        names=tuple(SEPARATOR.join(label) for label in labels_of),
        sizes=np.bincount(codes, minlength=len(uniques)),
    )
