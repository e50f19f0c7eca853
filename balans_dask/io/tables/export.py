"""Writing a store as parquet tables: which rows go into which file, its name, and the manifest."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from balans_dask.errors import InvalidInputError
from balans_dask.io.atomic import WRITTEN_BY, sync_file
from balans_dask.io.matrices import checked_array
from balans_dask.io.paths import MANIFEST
from balans_dask.io.store import ProfileStore
from balans_dask.io.tables.parquet_table import JumpColumns
from balans_dask.labels import batch_labels

__all__ = [
    "TableFile",
    "export_tables",
    "file_of",
    "file_parts",
    "manifest_of",
    "row_groups",
    "tables_of",
]

SUFFIX = ".parquet"
LONGEST = 200
"""Bytes of a part of a path; most file systems take 255."""
NUMBER_BYTES = 10
NUMBER = "~"
"""Begins the number of a part; in labels it is escaped."""
EMPTY = "(empty)"
DEVICES = {"con", "prn", "aux", "nul"} | {f"{p}{n}" for p in ("com", "lpt") for n in range(10)}
"""No names of files on Windows, whatever comes after a dot."""
GROUP_BYTES = 64 * 2**20
"""Values of a row group, unless a single chunk of rows has more."""
READ_BYTES = 256 * 2**20
"""Values of the row groups that are gathered in one pass over the chunks which hold them."""


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


def export_tables(
    store: ProfileStore, matrix: str, tables: Sequence[TableFile], folder: Path
) -> list[dict[str, Any]]:
    """Write the tables into a folder.

    Parameters
    ----------
    matrix : str
        ``X``, or the name of a matrix of ``obsm``, whose columns are called ``X_1``, ``X_2``, ...
    folder : Path
        Where nothing is yet.

    Returns
    -------
    files : list of dict
        Path, labels, rows, size and hash of every file.

    Raises
    ------
    InvalidInputError
        If the matrix is not there or damaged, columns get the same name, or a file would lie
        outside the folder.

    Notes
    -----
    Memory: some 256 MiB of values beside the chunks being decoded, a copy of one row group in
    arrow's memory, and the row annotations. Rows of a file that lie apart in the store are gathered
    from the chunks that hold them; files that share chunks are gathered together as far as that
    memory allows.
    """
    array = store.features if matrix == "X" else store.embedding(matrix)
    names = [str(name) for name in store.var.index]
    if matrix != "X":
        names = [f"X_{place + 1}" for place in range(array.shape[1])]
    columns = JumpColumns(store.path, store.obs, names)
    kind = pa.from_numpy_dtype(np.result_type(array.dtype, np.float32))
    schema = pa.schema([*columns.fields(), *(pa.field(name, kind) for name in names)])
    values = row_groups(checked_array(array), [table.rows for table in tables])
    files = []
    for path, table in zip(_places(folder, tables), tables, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        # Arrow takes only text for a path, and file systems hold other names.
        with (
            path.open("wb") as file,
            pq.ParquetWriter(file, schema, compression="zstd") as writer,
        ):
            n_left = len(table.rows)
            while n_left:
                rows, block = next(values)
                features = [pa.array(block[:, place]) for place in range(block.shape[1])]
                described = columns.arrays(rows).values()
                group = pa.record_batch([*described, *features], schema=schema)
                writer.write_batch(group, row_group_size=len(rows))
                n_left -= len(rows)
        sync_file(path)
        files.append(_facts(path, table))
    return files


def manifest_of(
    store: ProfileStore,
    source: str,
    matrix: str,
    by: Sequence[str],
    files: Sequence[dict[str, Any]],
    fingerprint: str | None,
    versions: Mapping[str, str],
) -> dict[str, Any]:
    """Return what is said beside the tables.

    Parameters
    ----------
    source : str
        Path of the store, from the folder that holds the output.
    files : sequence of dict
        As ``export_tables`` returns them.
    fingerprint : str or None
        Of the correction that made the store.
    """
    return {
        "written_by": WRITTEN_BY,
        "source": source,
        "fingerprint": fingerprint,
        "matrix": matrix,
        "by": list(by),
        "n_rows": store.n_rows,
        "files": list(files),
        "versions": {**versions, "pyarrow": pa.__version__},
    }


def _places(folder: Path, tables: Sequence[TableFile]) -> list[Path]:
    places = [folder / table.name for table in tables]
    inside = folder.resolve()
    if not all(place.resolve().is_relative_to(inside) for place in places):
        raise InvalidInputError(f"a table would be written outside {folder}: nothing is exported")
    return places


def row_groups(
    array: Any, tables: Sequence[NDArray[np.intp]]
) -> Iterator[tuple[NDArray[np.intp], NDArray[Any]]]:
    """Yield rows and values of one row group after another, table by table.

    Parameters
    ----------
    array : zarr.Array or VisibleArray
    tables : sequence of ndarray of shape (n_rows,), intp
        Rows of every table.
    """
    row_bytes = array.shape[1] * array.dtype.itemsize
    chunk_rows = int(array.chunks[0])
    group_rows = max(1, GROUP_BYTES // (chunk_rows * row_bytes)) * chunk_rows
    waiting: list[NDArray[np.intp]] = []
    n_rows = 0
    for table in tables:
        for start in range(0, len(table), group_rows):
            rows = table[start : start + group_rows]
            if waiting and (n_rows + len(rows)) * row_bytes > READ_BYTES:
                yield from _groups_of(array, waiting)
                waiting, n_rows = [], 0
            waiting.append(rows)
            n_rows += len(rows)
    yield from _groups_of(array, waiting)


def _groups_of(
    array: Any, groups: Sequence[NDArray[np.intp]]
) -> Iterator[tuple[NDArray[np.intp], NDArray[Any]]]:
    """Gather the rows of some row groups together, decoding every chunk of rows once."""
    values = _rows_of(array, np.concatenate(groups))
    ends = np.cumsum([len(rows) for rows in groups])
    yield from zip(groups, np.split(values, ends[:-1]), strict=True)


def _rows_of(array: Any, rows: NDArray[np.intp]) -> NDArray[Any]:
    values = np.empty((len(rows), array.shape[1]), np.result_type(array.dtype, np.float32))
    order = np.argsort(rows, kind="stable")
    chunks = rows[order] // array.chunks[0]
    starts = np.flatnonzero(np.diff(chunks, prepend=-1))
    for places in np.split(order, starts[1:]):
        first, last = int(rows[places[0]]), int(rows[places[-1]])
        values[places] = array[first : last + 1][rows[places] - first]
    return values


def _facts(path: Path, table: TableFile) -> dict[str, Any]:
    digest = sha256()
    with path.open("rb") as file:
        n_columns = len(pq.read_schema(file))
        file.seek(0)
        while block := file.read(2**20):
            digest.update(block)
    labels = {"labels": list(table.labels)} if table.labels else {}
    return {
        "path": table.name,
        **labels,
        "rows": len(table.rows),
        "columns": n_columns,
        "bytes": path.stat().st_size,
        "sha256": digest.hexdigest(),
    }
