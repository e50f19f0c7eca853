"""Numbers and their spellings: joining them so that no label is split in two or merged with one."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import union_categoricals

from balans_dask.errors import InvalidInputError, first_names
from balans_dask.labels import EXACT, labels_of_column, spelled

__all__ = ["joined_as_text", "joined_numbers", "spelled_numbers"]

_BOOLEANS = [
    {"True": True, "False": False},
    {"TRUE": True, "FALSE": False},
    {"true": True, "false": False},
]


def spelled_numbers(text: Any) -> Any:
    """Turn text into numbers or booleans if every value is the usual spelling of one.

    ``12`` and ``0.5`` are; ``0012``, ``1.50``, ``nan`` and ``1e3`` are not, and one of them keeps
    the whole column as text. Booleans must have no missing value.
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
    if all(_spells(label, int) or _spells(label, float) for label in labels):
        numbers = {label: float(label) for label in labels}
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
