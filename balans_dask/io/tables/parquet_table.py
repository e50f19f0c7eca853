"""Reading parquet as a stream of rows."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from balans_dask.io.files import table_source
from balans_dask.io.tables.columns import ColumnRule, require_features
from balans_dask.io.tables.row_stream import (
    SLAB_ROWS,
    RowStream,
    Slab,
    bad_cells,
    float32,
    readable,
    warn_of_bad_cells,
)

__all__ = ["open_parquet"]

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


def open_parquet(path: str, rule: ColumnRule) -> RowStream:
    """Open a parquet file; reads its schema, and its rows when they are asked for.

    Raises
    ------
    InvalidInputError
        If the file cannot be read, or holds no features.
    """
    with readable(path, "parquet"):
        schema = pq.read_schema(table_source(path))
    features = _features(schema, rule)
    require_features(path, features, schema.names, rule)
    annotations, left_out = rule.others(schema.names, features)
    # Without names the reader takes all columns, however many there are.
    wanted = [*annotations, *features] if left_out else None
    text = [
        name
        for name in annotations
        if _is_text(schema.field(name).type) and rule.is_feature(name, True)
    ]
    slabs = _slabs(path, features, annotations, text, wanted)
    return RowStream(pd.DataFrame(index=pd.Index(features)), slabs, left_out=tuple(left_out))


def _slabs(
    path: str,
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
            warn_of_bad_cells(path, [bad_cells(name, obs[name]) for name in text])
            # As in csv, the first slab tells.
            text = []
            yield Slab(obs, _float32_matrix(batch, features))


def _features(schema: pa.Schema, rule: ColumnRule) -> list[str]:
    index = (schema.pandas_metadata or {}).get("index_columns", [])
    return [
        field.name
        for field in schema
        if rule.is_feature(field.name, _is_number(field.type)) and field.name not in index
    ]


def _is_number(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    )


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
