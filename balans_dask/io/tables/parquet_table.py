"""Parquet: read as a stream of rows, and what the annotations of a store are in it."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from balans_dask.errors import InvalidInputError, first_names
from balans_dask.io.files import table_source
from balans_dask.io.tables.columns import METADATA_PREFIX, ColumnRule, require_features
from balans_dask.io.tables.row_stream import (
    SLAB_ROWS,
    RowStream,
    Slab,
    are_whole,
    bad_cells,
    float32,
    readable,
    warn_of_bad_cells,
)
from balans_dask.labels import labels_of_column, spelled

__all__ = ["Columns", "JumpColumns", "open_parquet"]

_NULLABLE = {
    pa.int8(): pd.Int8Dtype(),
    pa.int16(): pd.Int16Dtype(),
    pa.int32(): pd.Int32Dtype(),
    pa.int64(): pd.Int64Dtype(),
    pa.uint8(): pd.UInt8Dtype(),
    pa.uint16(): pd.UInt16Dtype(),
    pa.uint32(): pd.UInt32Dtype(),
    pa.uint64(): pd.UInt64Dtype(),
    pa.bool_(): pd.BooleanDtype(),
}
"""Without these, an integer beside a missing one becomes a float: 12 becomes 12.0."""
KEYS = tuple(METADATA_PREFIX + name for name in ("Source", "Batch", "Plate", "Well", "JCP2022"))
"""Tables are joined by these, so that they are text in all of them."""
ROW_NAMES = [METADATA_PREFIX + name for name in ("row", "row_name", "row_label", "obs_name")]
"""For the names of rows: the first that no other column has, also in another case."""


def open_parquet(
    path: str, rule: ColumnRule, settled: Mapping[str, bool] | None = None
) -> RowStream:
    """Open a parquet file; reads its schema, and its rows when they are asked for.

    Parameters
    ----------
    settled : mapping of str to bool, or None
        Columns of which it is known whether they hold integers.

    Raises
    ------
    InvalidInputError
        If the file cannot be read, or holds no features.
    """
    with readable(path, "parquet"):
        schema = pq.read_schema(table_source(path))
    numbers = {
        field.name: (settled or {}).get(field.name, _is_integer(field.type))
        for field in schema
        if _is_number(field.type)
    }
    index = (schema.pandas_metadata or {}).get("index_columns", [])
    features = [
        name
        for name in schema.names
        if name in numbers and rule.is_feature(name, True, numbers[name]) and name not in index
    ]
    require_features(path, features, schema.names, rule)
    annotations, left_out = rule.others(schema.names, features)
    # Without names the reader takes all columns, however many there are.
    wanted = [*annotations, *features] if left_out else None
    text = [name for name in annotations if _is_text(schema.field(name).type)]
    slabs = _slabs(path, rule, features, annotations, text, wanted)
    return RowStream(
        pd.DataFrame(index=pd.Index(features)),
        slabs,
        described=rule.unnamed(numbers, annotations),
        left_out=tuple(left_out),
        names=tuple(schema.names),
    )


def _slabs(
    path: str,
    rule: ColumnRule,
    features: list[str],
    annotations: list[str],
    text: list[str],
    wanted: list[str] | None,
) -> Iterator[Slab]:
    with readable(path, "parquet"):
        # Buffered in small pieces: by default the whole file is fetched ahead.
        table = pq.ParquetFile(table_source(path), pre_buffer=False, buffer_size=65_536)
        for batch in table.iter_batches(batch_size=SLAB_ROWS, columns=wanted):
            obs = batch.select(annotations).to_pandas(
                ignore_metadata=True, types_mapper=_NULLABLE.get
            )
            wanted_numbers = [
                name for name in text if rule.is_feature(name, True, are_whole(obs[name]))
            ]
            warn_of_bad_cells(path, [bad_cells(name, obs[name]) for name in wanted_numbers])
            # As in csv, the first slab tells.
            text = []
            yield Slab(obs, _float32_matrix(batch, features))


def _is_number(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    )


def _is_integer(kind: pa.DataType) -> bool:
    """Tell whether a type has no decimals; databases give keys as such ones of many digits."""
    return bool(pa.types.is_integer(kind) or (pa.types.is_decimal(kind) and kind.scale <= 0))


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _float32_matrix(batch: pa.RecordBatch, features: list[str]) -> NDArray[np.float32]:
    values = np.empty((batch.num_rows, len(features)), dtype=np.float32)
    for place, name in enumerate(features):
        column: Any = batch.column(batch.schema.get_field_index(name))
        if pa.types.is_decimal(column.type):
            column = column.cast(pa.float64())
        values[:, place] = float32(column.to_numpy(zero_copy_only=False))
    return values


class Columns:
    """Columns that describe rows, in a table.

    Parameters
    ----------
    columns : mapping of str to Series
    keys : collection of str
        Columns that are text, whatever they hold.
    """

    def __init__(self, columns: Mapping[str, pd.Series], keys: Collection[str] = ()) -> None:
        self._columns = columns
        self._kinds = {
            name: pa.string() if name in keys else _kind(column) for name, column in columns.items()
        }

    def fields(self) -> list[pa.Field]:
        """Names and types."""
        return [pa.field(name, kind) for name, kind in self._kinds.items()]

    def arrays(self, rows: NDArray[np.intp]) -> dict[str, pa.Array]:
        """Values of some rows, by name."""
        return {
            name: _array(column.iloc[rows], self._kinds[name])
            for name, column in self._columns.items()
        }


class JumpColumns(Columns):
    """All columns of a JUMP table but the values of the features.

    Columns of ``obs`` get the prefix ``Metadata_`` where they lack it, as any other column would be
    read as a feature. Names of rows that are no mere numbers become ``Metadata_row``, or
    ``Metadata_row_name`` where that is a column, as on plates with rows and columns.

    Parameters
    ----------
    path : str
        What to call the store in an error.

    Raises
    ------
    InvalidInputError
        If two columns get the same name.
    """

    def __init__(self, path: str, obs: pd.DataFrame, features: Sequence[str]) -> None:
        named = {str(name): obs[name] for name in obs.columns}
        columns = [(_prefixed(name), column) for name, column in named.items()]
        if list(obs.index) != [str(row) for row in range(len(obs))]:
            taken = {name.lower() for name in (*(name for name, _ in columns), *features)}
            free = next((name for name in ROW_NAMES if name.lower() not in taken), ROW_NAMES[0])
            columns.append((free, obs.index.to_series()))
        names = [*(name for name, _ in columns), *features]
        repeated = sorted(name for name, count in Counter(names).items() if count > 1)
        if repeated:
            raise InvalidInputError(
                f"{path} has {len(repeated)} columns that get the same name in a table, where all "
                f"of obs begin with {METADATA_PREFIX} ({first_names(repeated)}): rename them"
            )
        order = {name: place for place, name in enumerate(KEYS)}
        columns.sort(key=lambda pair: order.get(pair[0], len(order)))
        super().__init__(dict(columns), KEYS)


def _prefixed(name: str) -> str:
    return name if name.startswith(METADATA_PREFIX) else METADATA_PREFIX + name


def _kind(column: pd.Series) -> pa.DataType:
    """Type of a column: that of its values, not of the codes by which they are stored."""
    kind = pa.Array.from_pandas(column.iloc[:0]).type if column.dtype != object else pa.string()
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    is_text = pa.types.is_large_string(kind) or pa.types.is_null(kind)
    return pa.string() if is_text else kind


def _array(column: pd.Series, kind: pa.DataType) -> pa.Array:
    if pa.types.is_string(kind):
        codes, values = labels_of_column(column)
        texts = np.array([*(spelled(value) for value in values), None], dtype=object)
        return pa.array(texts[codes], kind)
    missing = column.isna().to_numpy()
    if isinstance(column.dtype, pd.CategoricalDtype):
        return pa.array(column.to_numpy(dtype=object), kind, mask=missing)
    return pa.array(column, kind, from_pandas=True)
