"""What describes the rows, as types that a store can hold, the same in every slab and file."""

import json
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import union_categoricals

from balans_dask.errors import InvalidInputError, first_names
from balans_dask.io.tables.columns import stored_index_name, with_stored_names
from balans_dask.labels import EXACT, labels_of_column, spelled

__all__ = [
    "joined_annotations",
    "joined_as_text",
    "joined_numbers",
    "require_no_nul",
    "spelled_numbers",
    "storable",
]

_COMMA_AND_POINT = str.maketrans(",.", ".,")
_BOOLEANS = [
    {"True": True, "False": False},
    {"TRUE": True, "FALSE": False},
    {"true": True, "false": False},
]


def spelled_numbers(text: Any, decimal: str = ".") -> Any:
    """Turn text into numbers or booleans if every value is the usual spelling of one.

    ``12`` and ``0.5`` are; ``0012``, ``1.50``, ``nan`` and ``1e3`` are not, and one of them keeps
    the whole column as text. Booleans must have no missing value.

    Parameters
    ----------
    text : Series
    decimal : str
        What stands before decimals: with a comma ``0,5`` is a number, and ``0.5`` is not.
    """
    labels = [str(label) for label in text.dropna().unique()]
    if not labels:
        return text
    for spelling in _BOOLEANS:
        if spelling.keys() >= set(labels) and text.notna().all():
            return text.astype(object).map(spelling).astype(bool)
    if all(_spells(label, int) for label in labels):
        numbers: dict[str, Any] = {label: int(label) for label in labels}
        if all(-(2**63) <= number < 2**63 for number in numbers.values()):
            column: pd.Series = text.astype(object).map(numbers).astype("Int64")
            return column if column.isna().any() else column.astype("int64")
        return text
    pointed = labels
    if decimal == ",":
        pointed = [label.translate(_COMMA_AND_POINT) for label in labels]
    if all(_spells(label, int) or _spells(label, float) for label in pointed):
        numbers = {label: float(number) for label, number in zip(labels, pointed, strict=True)}
        if all(abs(int(label)) < EXACT for label in labels if _spells(label, int)):
            return text.astype(object).map(numbers).astype("float64")
    return text


def _spells(label: str, kind: Callable[[str], Any]) -> bool:
    try:
        number = kind(label)
        return str(number) == label and abs(number) != np.inf and number == number
    except ValueError:
        return False


def joined_numbers(pieces: list[pd.Series]) -> pd.Series | None:
    """Join integers and floats: integers if all are whole, else floats; ``None`` if none is exact.

    A file in which a value is missing often holds its integers as floats.
    """
    if len({piece.dtype for piece in pieces}) == 1:
        return _end_to_end(pieces)
    integers = [piece for piece in pieces if pd.api.types.is_integer_dtype(piece.dtype)]
    floats = [_as_float64(piece) for piece in pieces if piece.dtype.kind == "f"]
    whole = all((piece.dropna() % 1 == 0).all() for piece in floats)
    largest = max([float(piece.dropna().abs().max()) for piece in floats], default=0)
    if integers and whole and largest < EXACT:
        return _joined_integers(integers + [piece.astype("Int64") for piece in floats])
    if any(max(int(piece.max()), -int(piece.min())) >= EXACT for piece in integers):
        return None
    return pd.concat([piece.astype("float64") for piece in integers] + floats)


def _as_float64(piece: pd.Series) -> pd.Series:
    """Widen floats to those of the same spelling: a label that is 0.1 stays 0.1."""
    codes, values = labels_of_column(piece)
    wide = np.array([*(float(spelled(value)) for value in values), np.nan])
    return pd.Series(wide[codes], index=piece.index)


def _end_to_end(pieces: list[pd.Series]) -> pd.Series:
    column: pd.Series = pd.concat(pieces)
    return column


def _joined_integers(pieces: list[pd.Series]) -> pd.Series | None:
    negative = min(int(piece.min()) for piece in pieces) < 0
    beyond_signed = max(int(piece.max()) for piece in pieces) >= 2**63
    if negative and beyond_signed:
        return None
    return pd.concat([piece.astype("UInt64" if beyond_signed else "Int64") for piece in pieces])


def joined_as_text(path: str, name: str, pieces: list[pd.Series]) -> pd.Series:
    """Join text, and numbers in their usual spelling, as categories.

    Raises
    ------
    InvalidInputError
        If text spells a number of another piece in another way: ``0012`` beside 12.
    """
    texts = [_spelled(piece) for piece in pieces]
    _require_one_spelling(path, name, pieces, texts)
    if len({text.dtype for text in texts}) == 1:
        return _end_to_end(texts)
    joined = union_categoricals(
        [_categories(text) for text in texts], sort_categories=True, ignore_order=True
    )
    return pd.Series(joined, index=np.concatenate([text.index for text in texts]))


def _categories(text: pd.Series) -> pd.Categorical:
    """Make categories of one type: pandas 3 has two for text, which it does not join."""
    found = pd.Categorical(text)
    return pd.Categorical.from_codes(found.codes, found.categories.astype(object))


def _spelled(piece: pd.Series) -> pd.Series:
    if isinstance(piece.dtype, pd.CategoricalDtype) or piece.dtype == object:
        return piece
    codes, values = labels_of_column(piece)
    texts = np.array([*(spelled(value) for value in values), None], dtype=object)
    return pd.Series(pd.Categorical(texts[codes]), index=piece.index)


def _require_one_spelling(
    path: str, name: str, pieces: list[pd.Series], texts: list[pd.Series]
) -> None:
    numbers: dict[int | float, str] = {}
    for piece, text in zip(pieces, texts, strict=True):
        if pd.api.types.is_numeric_dtype(piece.dtype):
            numbers |= {
                number: label
                for label in text.dropna().unique()
                if (number := _number(label)) is not None
            }
    if not numbers:
        return
    usual = set(numbers.values())
    labels = {label for text in texts for label in text.dropna().unique()} - usual
    other = sorted(label for label in labels if _number(label) in numbers)
    if other:
        raise InvalidInputError(
            f"{path} has {name} as number in some files and as text in others, where "
            f"{len(other)} labels look like the same number ({first_names(other)} and "
            f"{numbers[_number(other[0]) or 0]}): write it as text in all files"
        )


def _number(label: str) -> int | float | None:
    for kind in (int, float):
        try:
            return kind(label)
        except ValueError:
            continue
    return None


def joined_annotations(
    path: str, frames: Iterable[pd.DataFrame], untyped: bool = False, decimal: str = "."
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
    untyped : bool
        Columns are text, and become numbers or booleans if that loses nothing.
    decimal : str
        Of numbers in text.

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
        columns[name] = (spelled_numbers(column, decimal) if untyped else column).array
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
    labels = column.to_numpy()
    # One look at all labels together: a million of them take as long as to correct their rows.
    if pd.api.types.infer_dtype(labels, skipna=False) == "string" and "\0" not in "".join(labels):
        return 0
    return sum(map(_has_nul, labels))


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
