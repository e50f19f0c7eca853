"""One table out: parquet, csv.gz or h5ad, with the columns of its input and a mark of its maker."""

import csv
import io
import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from balans_dask.io.atomic import WRITTEN_BY, sync_file
from balans_dask.io.elements import ARRAY, encoded
from balans_dask.io.files import table_source
from balans_dask.io.matrices import checked_array
from balans_dask.io.paths import H5AD, PARQUET
from balans_dask.io.places import place_of
from balans_dask.io.store import ProfileStore
from balans_dask.io.tables.columns import ColumnRule
from balans_dask.io.tables.export import row_groups
from balans_dask.io.tables.folders import open_table
from balans_dask.io.tables.parquet_table import Columns, JumpColumns

__all__ = [
    "TableColumns",
    "as_exported",
    "columns_as_given",
    "mark_of",
    "write_h5ad",
    "write_table",
]

PANDAS = b"pandas"
GZIP_WITH_COMMENT = b"\x1f\x8b\x08\x10\0\0\0\0\0\xff"
"""Magic number, deflate, a comment follows, no time, no system: equal tables are equal files."""
H5_ROWS_BYTES = 64 * 2**20
LONGEST_MARK = 2**16
"""Bytes; what an attribute of HDF5 holds."""


@dataclass(frozen=True)
class TableColumns:
    """Columns of a table in their order, of which the features take their values from a matrix.

    Attributes
    ----------
    schema : pyarrow.Schema
    features : list of str
        In the order of the matrix.
    described : callable
        Returns the values of all other columns in some rows.
    """

    schema: pa.Schema
    features: list[str]
    described: Callable[[NDArray[np.intp]], Mapping[str, pa.Array]]

    def rows(self, rows: NDArray[np.intp], block: NDArray[Any]) -> pa.RecordBatch:
        """Return some rows, with the features of a block."""
        found = dict(self.described(rows))
        found |= {name: pa.array(block[:, place]) for place, name in enumerate(self.features)}
        arrays = [found[name] for name in self.schema.names]
        return pa.record_batch(arrays, schema=self.schema)


def columns_as_given(
    source: str, rule: ColumnRule, store: ProfileStore, suffix: str, added: Sequence[str] = ()
) -> TableColumns:
    """Return the columns of a table whose features a store holds, corrected.

    From parquet to parquet all else is what it was, types and the index of pandas too. Of other
    tables it is what ``convert`` has made of it. What was h5ad has the columns of ``export``.

    Parameters
    ----------
    source : str
        Path of the table.
    rule : ColumnRule
        By which it was converted.
    store : ProfileStore
        With the rows of the table.
    suffix : str
        Format of the output.
    added : sequence of str
        Columns that the store has in the place of those of the table, and the output has not.
    """
    stream = open_table(source, rule)
    if not stream.names:
        return as_exported(store)
    features = [str(name) for name in store.var.index]
    kind = _kind(store)
    others = [name for name in stream.names if name not in {*features, *stream.left_out}]
    if suffix == PARQUET and source.lower().endswith(PARQUET) and not place_of(source).is_dir():
        given = pq.ParquetFile(table_source(source)).read(columns=others)
        fields = {field.name: field for field in given.schema}
        described = _slices(given)
    else:
        # A folder may tell more columns than its first file, and a store may rename some.
        others = [name for name in others if name not in added]
        others += [str(name) for name in store.obs.columns[len(others) :]]
        told = [store.obs[name] for name in store.obs.columns]
        columns = Columns(dict(zip(others, told, strict=True)))
        fields = {field.name: field for field in columns.fields()}
        described = columns.arrays
        given = None
    fields |= {name: pa.field(name, kind) for name in features}
    order = [name for name in dict.fromkeys((*stream.names, *others)) if name in fields]
    schema = pa.schema([fields[name] for name in order])
    if given is not None:
        schema = schema.with_metadata(_pandas_metadata(given.schema, schema, set(features)))
    return TableColumns(schema, features, described)


def as_exported(store: ProfileStore) -> TableColumns:
    """Return the columns of a store as ``export`` names them."""
    features = [str(name) for name in store.var.index]
    columns = JumpColumns(store.path, store.obs, features)
    fields = [*columns.fields(), *(pa.field(name, _kind(store)) for name in features)]
    return TableColumns(pa.schema(fields), features, columns.arrays)


def _kind(store: ProfileStore) -> pa.DataType:
    return pa.from_numpy_dtype(np.result_type(store.features.dtype, np.float32))


def _slices(table: pa.Table) -> Callable[[NDArray[np.intp]], Mapping[str, pa.Array]]:
    def described(rows: NDArray[np.intp]) -> dict[str, pa.Array]:
        some = table.slice(int(rows[0]), len(rows)).combine_chunks()
        return {name: some.column(name).chunk(0) for name in table.column_names}

    return described


def _pandas_metadata(given: pa.Schema, schema: pa.Schema, features: set[str]) -> dict[bytes, bytes]:
    """Return what pandas says of its table, with the types that the features have now."""
    said = dict(given.metadata or {})
    if PANDAS in said:
        record = json.loads(said[PANDAS])
        of_index = {name for name in record["index_columns"] if isinstance(name, str)}
        columns = []
        for column in record["columns"]:
            name = column["field_name"]
            if name in features:
                kind = str(schema.field(name).type.to_pandas_dtype().__name__)
                column = {**column, "pandas_type": kind, "numpy_type": kind, "metadata": None}
            if name in schema.names or name in of_index:
                columns.append(column)
        said[PANDAS] = json.dumps(record | {"columns": columns}).encode()
    return said


def write_table(
    store: ProfileStore, columns: TableColumns, path: Path, suffix: str, mark: Mapping[str, Any]
) -> None:
    """Write a store as one file of parquet or csv.gz, which is then on disk.

    Parameters
    ----------
    path : Path
        Where nothing is yet.
    suffix : str
        By ``io.paths.table_suffix``.
    mark : mapping
        Text and numbers that ``mark_of`` finds again.

    Notes
    -----
    Memory: as ``io.tables.export.export_tables`` says.
    """
    if suffix == PARQUET:
        said = {**(columns.schema.metadata or {}), WRITTEN_BY.encode(): json.dumps(mark).encode()}
        schema = columns.schema.with_metadata(said)
        with path.open("wb") as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
            for group in _groups(store, columns):
                writer.write_batch(group, row_group_size=len(group))
    else:
        with path.open("wb") as file, _Gzip(file, json.dumps(mark)) as packed:
            header = io.StringIO()
            csv.writer(header, lineterminator="\n").writerow(columns.schema.names)
            packed.write(header.getvalue().encode())
            options = pa_csv.WriteOptions(include_header=False)
            with pa_csv.CSVWriter(packed, columns.schema, write_options=options) as writer:
                for group in _groups(store, columns):
                    writer.write(group)
    sync_file(path)


def _groups(store: ProfileStore, columns: TableColumns) -> Iterator[pa.RecordBatch]:
    array = checked_array(store.features)
    for rows, block in row_groups(array, [np.arange(store.n_rows)]):
        yield columns.rows(rows, block)


def write_h5ad(store: ProfileStore, path: Path, mark: Mapping[str, Any]) -> None:
    """Write all that a corrected store holds, matrices a few rows at a time; it is then on disk."""
    from anndata import AnnData, settings  # noqa: PLC0415  (slow to import)

    rest = {name: store.element(name) for name in store.elements if name.startswith("uns/")}
    uns = {name.removeprefix("uns/"): element for name, element in rest.items()}
    frame = AnnData(obs=store.obs, var=store.var, uns=uns)
    with settings.override(allow_write_nullable_strings=True):
        frame.write_h5ad(path)
        with h5py.File(path, "r+") as file:
            file.attrs[WRITTEN_BY] = json.dumps(mark)
            for name in ("X", *(f"obsm/{name}" for name in store.embeddings)):
                array = checked_array(store.root[name])
                file.pop(name, None)
                matrix = file.create_dataset(name, array.shape, array.dtype)
                matrix.attrs.update(encoded(ARRAY))
                step = max(1, H5_ROWS_BYTES // (array.shape[1] * array.dtype.itemsize))
                for start in range(0, len(matrix), step):
                    matrix[start : start + step] = array[start : start + step]
    sync_file(path)


def mark_of(path: Path, suffix: str) -> Mapping[str, Any] | None:
    """Read what the writer has noted of a table; ``None`` for any other file."""
    try:
        if suffix == H5AD:
            with h5py.File(path, "r") as file:
                said = file.attrs[WRITTEN_BY]
        elif suffix == PARQUET:
            said = (pq.read_schema(path).metadata or {})[WRITTEN_BY.encode()]
        else:
            with path.open("rb") as content:
                if content.read(len(GZIP_WITH_COMMENT)) != GZIP_WITH_COMMENT:
                    return None
                said = content.read(LONGEST_MARK).partition(b"\0")[0]
        found = json.loads(said)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, dict) else None


class _Gzip(io.RawIOBase):
    """A gzip file with a comment, which Python's own writer cannot give it."""

    def __init__(self, file: BinaryIO, comment: str) -> None:
        self._file = file
        self._packer = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
        self._checksum = self._size = 0
        file.write(GZIP_WITH_COMMENT + comment.encode("ascii") + b"\0")

    def writable(self) -> bool:
        return True

    def write(self, content: Any, /) -> int:
        self._checksum = zlib.crc32(content, self._checksum)
        self._size += len(content)
        self._file.write(self._packer.compress(content))
        return len(content)

    def close(self) -> None:
        if not self.closed:
            self._file.write(self._packer.flush())
            for number in (self._checksum, self._size % 2**32):
                self._file.write(number.to_bytes(4, "little"))
        super().close()
