"""What describes the rows, as types that a store can hold, the same in every slab and file."""

import json
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from balans_dask.errors import InvalidInputError, first_names
from balans_dask.io.spelling import joined_as_text, joined_numbers, spelled_numbers
from balans_dask.io.tables.columns import stored_index_name, with_stored_names
from balans_dask.labels import spelled

__all__ = ["joined_annotations", "require_no_nul", "storable"]


def joined_annotations(
    path: str, frames: Iterable[pd.DataFrame], untyped: bool = False
) -> pd.DataFrame:
    """Join the annotations of consecutive rows into one table that a store can hold.

    Columns that some files lack are empty there. Text that repeats becomes categories. Integers
    stay integers beside missing ones. A column with integers in some files and floats in others
    becomes integers if all values are whole; of other mixed types, and of numbers that no type
    holds exactly together, text.

    Parameters
    ----------
    path : str
        What to call the table in an error.
    frames : iterable of DataFrame
    untyped : bool
        Columns are text, and become numbers or booleans if that loses nothing.

    Raises
    ------
    InvalidInputError
        If a store cannot hold a name, or a column writes one number in two ways.
    """
    pieces: dict[str, list[pd.Series]] = {}
    start = 0
    for frame in frames:
        require_no_nul(path, frame)
        frame = with_stored_names(path, frame)
        rows = pd.RangeIndex(start, start + len(frame))
        for name in frame.columns:
            piece = _values(_storable(frame[name])).set_axis(rows)
            if piece.notna().any():
                pieces.setdefault(name, []).append(piece)
            else:
                pieces.setdefault(name, [])
        start += len(frame)
    columns = {}
    for name in list(pieces):
        column = _joined(path, name, pieces.pop(name), start)
        columns[name] = (spelled_numbers(column) if untyped else column).array
    return pd.DataFrame(columns, index=pd.Index(np.arange(start).astype(str)))


def storable(path: str, frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table of AnnData with the columns that a store cannot hold turned into text.

    Raises
    ------
    InvalidInputError
        If a store cannot hold a name.
    """
    require_no_nul(path, frame)
    frame = with_stored_names(path, frame)
    columns = {name: _storable(frame[name]) for name in frame.columns}
    index = frame.index.astype(str)
    index.name = stored_index_name(frame)
    return pd.DataFrame({name: column.array for name, column in columns.items()}, index=index)


def require_no_nul(path: str, frame: pd.DataFrame) -> None:
    """Refuse labels with a NUL: pandas and others end them there, and take two for one.

    Raises
    ------
    InvalidInputError
    """
    counts = {str(name): _n_with_nul(frame[name]) for name in frame.columns}
    counts["the names of rows"] = _n_with_nul(frame.index.to_series())
    found = [name for name, count in counts.items() if count]
    if found:
        n_labels = sum(counts.values())
        raise InvalidInputError(
            f"{path} has a NUL character in {n_labels} labels of {len(found)} columns "
            f"({first_names(found)}): remove it"
        )


def _n_with_nul(column: pd.Series) -> int:
    if isinstance(column.dtype, pd.CategoricalDtype):
        is_bad = [_has_nul(label) for label in column.cat.categories]
        return int(np.isin(column.cat.codes, np.flatnonzero(is_bad)).sum()) if any(is_bad) else 0
    if not pd.api.types.is_string_dtype(column.dtype) and column.dtype != object:
        return 0
    return sum(map(_has_nul, column))


def _has_nul(label: Any) -> bool:
    return (isinstance(label, str) and "\0" in label) or (isinstance(label, bytes) and 0 in label)


def _storable(column: pd.Series) -> pd.Series:
    """Keep numbers, booleans and categories of these or of text; make text of all else."""
    kind: Any = column.dtype
    if isinstance(kind, pd.CategoricalDtype):
        if kind.categories.inferred_type in {"string", "integer", "floating", "boolean", "empty"}:
            return column
        return _as_text(column.astype(object))
    if pd.api.types.is_float_dtype(kind):
        return column.astype(getattr(kind, "numpy_dtype", kind))
    return column if pd.api.types.is_numeric_dtype(kind) else _as_text(column)


def _as_text(column: pd.Series) -> pd.Series:
    """Make text of any values: as labels are spelled, and nested values in JSON."""
    missing = column.isna()
    values = column.astype(object)
    text = values.where(missing, values[~missing].map(_text)).where(~missing, None)
    return _categories_where_repeated(text)


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple, dict, np.ndarray)):
        return json.dumps(value, default=_json_part, ensure_ascii=False)
    return spelled(value)


def _json_part(value: Any) -> Any:
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else _text(value)


def _categories_where_repeated(text: pd.Series) -> pd.Series:
    if text.nunique(dropna=True) < len(text):
        return pd.Series(pd.Categorical(text), index=text.index, name=text.name)
    return text.astype(object)


def _values(column: pd.Series) -> pd.Series:
    """Replace categories of numbers by the numbers, as other files may hold them plain."""
    if not isinstance(column.dtype, pd.CategoricalDtype):
        return column
    kind: Any = column.dtype.categories.dtype
    if not pd.api.types.is_numeric_dtype(kind):
        return column
    if column.isna().any() and not pd.api.types.is_float_dtype(kind):
        return column.astype(object).convert_dtypes()
    return column.astype(kind)


def _joined(path: str, name: str, pieces: list[pd.Series], n_rows: int) -> pd.Series:
    rows = pd.RangeIndex(n_rows)
    if not pieces:
        return pd.Series(pd.Categorical([None] * n_rows), index=rows)
    kinds = {_kind(piece) for piece in pieces}
    column: Any = None
    if kinds == {"boolean"}:
        column = pd.concat(pieces)
    elif kinds <= {"integer", "float"}:
        column = joined_numbers(pieces)
    if column is None:
        column = joined_as_text(path, name, pieces)
    if len(column) < n_rows and _kind(column) in {"integer", "boolean"}:
        column = column.convert_dtypes()
    joined: pd.Series = column.reindex(rows)
    if _kind(joined) == "text":
        return _categories_where_repeated(joined)
    return _without_mask(joined)


def _without_mask(column: pd.Series) -> pd.Series:
    """Return plain numbers if no value is missing."""
    plain = getattr(column.dtype, "numpy_dtype", None)
    return column if plain is None or column.isna().any() else column.astype(plain)


def _kind(column: pd.Series) -> str:
    if pd.api.types.is_bool_dtype(column.dtype):
        return "boolean"
    if pd.api.types.is_integer_dtype(column.dtype):
        return "integer"
    if pd.api.types.is_float_dtype(column.dtype):
        return "float"
    return "text"
