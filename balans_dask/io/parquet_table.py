"""Reading parquet as a stream of rows."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from balans_dask.errors import InvalidInputError, first_names
from balans_dask.io.columns import is_annotation, require_features, require_unique
from balans_dask.io.slabs import SLAB_ROWS, RowStream, Slab, float32, readable

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


def open_parquet(path: str, files: list[Path]) -> RowStream:
    """Open parquet files that follow each other.

    Raises
    ------
    InvalidInputError
        If a file cannot be read, holds no features, or others than the first file.
    """
    features = _features(files[0])
    require_features(path, features, _schema(files[0]).names)
    for file in files[1:]:
        _require_same_features(file, features)
    return RowStream(pd.DataFrame(index=pd.Index(features)), _slabs(files, features))


def _slabs(files: list[Path], features: list[str]) -> Iterator[Slab]:
    known = set(features)
    for file in files:
        with readable(str(file), "parquet"):
            # Buffered in small pieces: by default the whole file is fetched ahead.
            table = pq.ParquetFile(file, pre_buffer=False, buffer_size=65_536)
            for batch in table.iter_batches(batch_size=SLAB_ROWS):
                others = [name for name in batch.schema.names if name not in known]
                obs = batch.select(others).to_pandas(
                    ignore_metadata=True, types_mapper=_NULLABLE.get
                )
                yield Slab(obs, _float32_matrix(batch, features))


def _schema(file: Path) -> pa.Schema:
    with readable(str(file), "parquet"):
        return pq.read_schema(file)


def _features(file: Path) -> list[str]:
    schema = _schema(file)
    index = (schema.pandas_metadata or {}).get("index_columns", [])
    return [
        field.name
        for field in schema
        if not is_annotation(field.name, _is_number(field.type)) and field.name not in index
    ]


def _is_number(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    )


def _require_same_features(file: Path, features: list[str]) -> None:
    require_unique(str(file), _schema(file).names)
    found = set(_features(file))
    missing = [name for name in features if name not in found]
    extra = sorted(found - set(features))
    if missing or extra:
        raise InvalidInputError(
            f"{file} lacks {len(missing)} and adds {len(extra)} features against the first file "
            f"({first_names(missing + extra)}): select the same features in all files"
        )


def _float32_matrix(batch: pa.RecordBatch, features: list[str]) -> NDArray[np.float32]:
    values = np.empty((batch.num_rows, len(features)), dtype=np.float32)
    for place, name in enumerate(features):
        column: Any = batch.column(batch.schema.get_field_index(name))
        if pa.types.is_decimal(column.type):
            column = column.cast(pa.float64())
        values[:, place] = float32(column.to_numpy(zero_copy_only=False))
    return values
