"""Which rows of a store go into which file."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from balans_dask.batches import batch_labels
from balans_dask.io.store import ProfileStore

__all__ = ["TableFile", "tables_of"]


@dataclass(frozen=True)
class TableFile:
    """A file to write.

    Attributes
    ----------
    name : str
        Path within the folder, with / between its parts.
    rows : ndarray of shape (n_rows,), intp
        In the order of the store.
    """

    name: str
    rows: NDArray[np.intp]


def tables_of(store: ProfileStore, by: Sequence[str], name: str) -> list[TableFile]:
    """Divide the rows of a store into files.

    Parameters
    ----------
    store : ProfileStore
    by : sequence of str
        Columns of ``obs``: a file for every combination of labels, folders for all but the last.
    name : str
        Of the only file, where there is no column.

    Raises
    ------
    InvalidInputError
        If a column is missing, or a label of it.
    """
    if not by:
        return [TableFile(name, np.arange(store.n_rows))]
    keys = [batch_labels([store.column(key)], [f"obs column {key!r}"], store.n_rows) for key in by]
    codes = np.column_stack([key.codes for key in keys])
    groups, of_row = np.unique(codes, axis=0, return_inverse=True)
    order = np.argsort(of_row.ravel(), kind="stable")
    ends = np.cumsum(np.bincount(of_row.ravel(), minlength=len(groups)))
    tables = [
        TableFile(_file_name([key.names[i] for key, i in zip(keys, group, strict=True)]), rows)
        for group, rows in zip(groups, np.split(order, ends[:-1]), strict=True)
    ]
    # Files whose rows lie together in the store are written one after the other.
    return sorted(tables, key=lambda table: int(table.rows[0]))


def _file_name(labels: Sequence[str]) -> str:
    """Name the file of some labels, in which only plain characters stay as they are."""
    plain = [quote(label, safe=" +=,()") for label in labels]
    # A name that begins with a dot is hidden, or is another folder.
    return "/".join(part.replace(".", "%2E", 1) if part[:1] == "." else part for part in plain) + (
        ".parquet"
    )
