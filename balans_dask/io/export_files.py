"""Which rows of a store go into which file, and what the files are called."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from balans_dask.io.paths import MANIFEST
from balans_dask.io.store import ProfileStore
from balans_dask.labels import batch_labels

__all__ = ["TableFile", "file_of", "file_parts", "tables_of"]

SUFFIX = ".parquet"
LONGEST = 200
"""Bytes of a part of a path; most file systems take 255."""
NUMBER_BYTES = 10
NUMBER = "~"
"""Begins the number of a part; in labels it is escaped."""
EMPTY = "(empty)"
DEVICES = {"con", "prn", "aux", "nul"} | {f"{p}{n}" for p in ("com", "lpt") for n in range(10)}
"""No names of files on Windows, whatever comes after a dot."""


@dataclass(frozen=True)
class TableFile:
    """A file to write.

    Attributes
    ----------
    name : str
        Path within the folder, with / between its parts.
    rows : ndarray of shape (n_rows,), intp
        In the order of the store.
    labels : tuple of str
        What its rows have in common, by column.
    """

    name: str
    rows: NDArray[np.intp]
    labels: tuple[str, ...] = ()


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
    suffixes = [""] * (len(keys) - 1) + [SUFFIX]
    parts = [file_parts(key.names, suffix) for key, suffix in zip(keys, suffixes, strict=True)]
    codes = np.column_stack([key.codes for key in keys])
    groups, of_row = np.unique(codes, axis=0, return_inverse=True)
    order = np.argsort(of_row.ravel(), kind="stable")
    ends = np.cumsum(np.bincount(of_row.ravel(), minlength=len(groups)))
    tables = [
        TableFile(
            "/".join(names[i] for names, i in zip(parts, group, strict=True)),
            rows,
            tuple(key.names[i] for key, i in zip(keys, group, strict=True)),
        )
        for group, rows in zip(groups, np.split(order, ends[:-1]), strict=True)
    ]
    # Files whose rows lie together in the store are written one after the other.
    return sorted(tables, key=lambda table: int(table.rows[0]))


def file_of(stem: str) -> str:
    """Name the only table of a folder by its store."""
    is_plain = not stem.startswith(".") and len(os.fsencode(stem + SUFFIX)) <= LONGEST
    return stem + SUFFIX if is_plain else file_parts([stem], SUFFIX)[0]


def file_parts(labels: Sequence[str], suffix: str = "") -> list[str]:
    """Name a file or folder for each of some labels; no two names differ in case only.

    Letters, digits and a few other plain characters stay, all else is escaped as in a URL. No name
    is hidden, leads elsewhere or means something to a program. Labels that would get the same name
    are numbered, and so are those cut because they are long.

    Parameters
    ----------
    labels : sequence of str
    suffix : str
        End of all names.
    """
    longest = LONGEST - len(suffix)
    taken: set[str] = set()
    last_number: dict[str, int] = {}
    parts = []
    for label in labels:
        characters = _escaped(label, is_folder=not suffix)
        part = "".join(characters)
        if len(part) > longest or part.lower() in taken:
            ends = np.cumsum([len(character) for character in characters])
            n_kept = int(np.searchsorted(ends, longest - NUMBER_BYTES, side="right"))
            kept = "".join(characters[:n_kept])
            number = last_number.get(kept.lower(), int(kept.lower() in taken)) + 1
            last_number[kept.lower()] = number
            part = f"{kept}{NUMBER}{number}"
        taken.add(part.lower())
        parts.append(part + suffix)
    return parts


def _escaped(label: str, is_folder: bool) -> list[str]:
    """Escape every character that is not plain, or not plain where it stands."""
    if label == "":
        return [EMPTY]
    characters = [_quoted(c) if c == NUMBER else quote(c, safe=" +,()") for c in label]
    # What begins with a dot is hidden, or another folder; readers of folders pass over _ as well.
    is_device = label.partition(".")[0].rstrip().lower() in DEVICES
    if label[0] in "._ " or is_device or label.lower() == MANIFEST:
        characters[0] = _quoted(label[0])
    # Windows drops these.
    if is_folder and label[-1] in ". ":
        characters[-1] = _quoted(label[-1])
    return characters


def _quoted(character: str) -> str:
    return f"%{ord(character):02X}"
