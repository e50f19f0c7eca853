"""Reading tables of profiles as a stream of rows: parquet, csv, and h5ad."""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from anndata.io import read_elem, sparse_dataset
from numpy.typing import NDArray

from balans_dask.errors import InvalidInputError
from balans_dask.io.columns import is_annotation, require_features
from balans_dask.io.store import first_names

__all__ = ["RowStream", "Slab", "open_table"]

SLAB_ROWS = 8192


@dataclass(frozen=True)
class Slab:
    """Consecutive rows.

    Attributes
    ----------
    obs : DataFrame
    features : ndarray of shape (n_rows, n_features), float32
    obsm : dict of str to ndarray of shape (n_rows, n_columns)
    """

    obs: pd.DataFrame
    features: NDArray[np.float32]
    obsm: dict[str, NDArray[np.float32]] = field(default_factory=dict)


@dataclass(frozen=True)
class RowStream:
    """A table, read slab by slab.

    Attributes
    ----------
    var : DataFrame
        One row a feature, in the order of the slabs' columns.
    slabs : iterator of Slab
        The rows, once.
    obs_complete : DataFrame or None
        All annotations, where the format holds them apart from the features.
    """

    var: pd.DataFrame
    slabs: Iterator[Slab]
    obs_complete: pd.DataFrame | None = None


def open_table(path: str) -> RowStream:
    """Open a parquet, csv, csv.gz or h5ad file, or a folder of parquet files.

    Raises
    ------
    InvalidInputError
        If the format is none of these, or the table holds no features.
    """
    source = Path(path)
    if not source.exists():
        raise InvalidInputError(f"{path} does not exist: check the path of the input")
    if source.is_dir():
        files = sorted(source.rglob("*.parquet"))
        if not files:
            raise InvalidInputError(f"{path} is a folder without a .parquet file: check the path")
        return _parquet(path, files)
    if source.suffix == ".parquet":
        return _parquet(path, [source])
    if source.name.endswith((".csv", ".csv.gz")):
        return _csv(path)
    if source.suffix == ".h5ad":
        return _h5ad(path)
    raise InvalidInputError(
        f"{path} has no known format: give .parquet, .csv, .csv.gz, .h5ad or a folder of .parquet"
    )


def _parquet(path: str, files: list[Path]) -> RowStream:
    features = _parquet_features(files[0])
    require_features(path, features, _schema(files[0]).names)
    for file in files[1:]:
        _require_same_features(file, features)

    known = set(features)

    def slabs() -> Iterator[Slab]:
        for file in files:
            with _readable(str(file), "parquet"):
                # Buffered in small pieces: by default the whole file is fetched ahead.
                table = pq.ParquetFile(file, pre_buffer=False, buffer_size=65_536)
                for batch in table.iter_batches(batch_size=SLAB_ROWS):
                    others = [name for name in batch.schema.names if name not in known]
                    obs = batch.select(others).to_pandas(ignore_metadata=True)
                    yield Slab(obs, _arrow_features(batch, features))

    return RowStream(pd.DataFrame(index=pd.Index(features)), slabs())


def _schema(file: Path) -> pa.Schema:
    with _readable(str(file), "parquet"):
        return pq.read_schema(file)


def _parquet_features(file: Path) -> list[str]:
    schema = _schema(file)
    index = (schema.pandas_metadata or {}).get("index_columns", [])
    return [
        field.name
        for field in schema
        if not is_annotation(field.name, _is_arrow_number(field.type)) and field.name not in index
    ]


def _is_arrow_number(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    )


def _require_same_features(file: Path, features: list[str]) -> None:
    found = set(_parquet_features(file))
    missing = [name for name in features if name not in found]
    extra = sorted(found - set(features))
    if missing or extra:
        raise InvalidInputError(
            f"{file} lacks {len(missing)} and adds {len(extra)} features against the first file "
            f"({first_names(missing + extra)}): select the same features in all files"
        )


def _arrow_features(batch: pa.RecordBatch, features: list[str]) -> NDArray[np.float32]:
    values = np.empty((batch.num_rows, len(features)), dtype=np.float32)
    for place, name in enumerate(features):
        column = batch.column(batch.schema.get_field_index(name))
        if pa.types.is_decimal(column.type):
            column = column.cast(pa.float64())
        values[:, place] = _float32(column.to_numpy(zero_copy_only=False))
    return values


def _csv(path: str) -> RowStream:
    with _readable(path, "csv"):
        names = pd.read_csv(path, nrows=1, header=None, dtype=str).iloc[0].fillna("").tolist()
        reader = pd.read_csv(path, chunksize=SLAB_ROWS)
        first = next(iter(reader))
    if first.empty:
        raise InvalidInputError(f"{path} has no rows below its header: check the file")
    features = [
        name for name in first.columns if not is_annotation(name, _is_pandas_number(first[name]))
    ]
    require_features(path, features, names)

    def slabs() -> Iterator[Slab]:
        yield _frame_slab(path, first, features)
        with _readable(path, "csv"):
            for frame in reader:
                yield _frame_slab(path, frame, features)

    return RowStream(pd.DataFrame(index=pd.Index(features)), slabs())


def _is_pandas_number(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def _frame_slab(path: str, frame: pd.DataFrame, features: list[str]) -> Slab:
    text = [name for name in features if not _is_pandas_number(frame[name])]
    if text:
        raise InvalidInputError(
            f"{path} has text in {len(text)} numeric features ({first_names(text)}) between rows "
            f"{frame.index[0]} and {frame.index[-1]}: correct these cells"
        )
    return Slab(
        frame.drop(columns=features).reset_index(drop=True), _float32(frame[features].to_numpy())
    )


def _h5ad(path: str) -> RowStream:
    with _readable(path, "h5ad"):
        file = h5py.File(path, "r")
        obs, var = read_elem(file["obs"]), read_elem(file["var"])
        matrix = file["X"]
    if isinstance(matrix, h5py.Group):
        matrix = sparse_dataset(matrix)
        if matrix.format != "csr":
            raise InvalidInputError(f"{path} holds X as {matrix.format}: save it dense or as csr")
    require_features(path, list(var.index), list(var.index))
    obsm = {
        name: element
        for name, element in (file["obsm"].items() if "obsm" in file else ())
        if isinstance(element, h5py.Dataset) and element.ndim == 2
    }

    def slabs() -> Iterator[Slab]:
        with file, _readable(path, "h5ad"):
            for start in range(0, len(obs), SLAB_ROWS):
                rows = slice(start, min(start + SLAB_ROWS, len(obs)))
                block: Any = matrix[rows]
                dense = block if isinstance(block, np.ndarray) else block.toarray()
                extra = {name: _float32(element[rows]) for name, element in obsm.items()}
                yield Slab(obs.iloc[rows], _float32(dense), extra)

    return RowStream(var, slabs(), obs_complete=obs)


@contextmanager
def _readable(path: str, kind: str) -> Iterator[None]:
    """Turn whatever a reader raises on a damaged file into a refusal."""
    try:
        yield
    except InvalidInputError:
        raise
    except (OSError, ValueError, KeyError, EOFError, StopIteration, zlib.error) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else "it ends too early"
        raise InvalidInputError(f"{path} cannot be read as {kind} ({reason}): check it") from error


def _float32(values: NDArray[Any]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        return values.astype(np.float32)
