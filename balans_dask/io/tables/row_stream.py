"""A table as a stream of rows, whatever its format."""

import csv
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from balans_dask.errors import InvalidInputError, first_names, warn_of_input
from balans_dask.io.tables.columns import METADATA_PREFIX

__all__ = [
    "SLAB_ROWS",
    "BadCells",
    "RowStream",
    "Slab",
    "are_whole",
    "bad_cells",
    "float32",
    "is_number",
    "numbers_of",
    "readable",
    "warn_of_bad_cells",
]

SLAB_ROWS = 8192
_NUMBER = {
    mark: re.compile(
        rf"\s*[+-]?((\d+[{mark}]?\d*|[{mark}]\d+)(e[+-]?\d+)?|inf(inity)?)\s*",
        re.ASCII | re.IGNORECASE,
    )
    for mark in ".,"
}
_INTEGER = re.compile(r"\s*[+-]?\d+\s*", re.ASCII)
_LONGEST_TEXT = 40


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
    untyped : bool
        Annotations are text whatever they mean, because the format knows no types.
    decimal : str
        What stands before the decimals of untyped numbers.
    described : tuple of str
        Columns of numbers that describe rows, but for those whose prefix says so.
    left_out : tuple of str
        Columns that are in none of the slabs.
    names : tuple of str
        All columns in the order of the table, of a folder those of its first one; empty where the
        format holds annotations apart.
    """

    var: pd.DataFrame
    slabs: Iterator[Slab]
    obs_complete: pd.DataFrame | None = None
    untyped: bool = False
    decimal: str = "."
    described: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    names: tuple[str, ...] = ()


@contextmanager
def readable(path: str, kind: str) -> Iterator[None]:
    """Turn whatever a reader raises on a damaged file into a refusal."""
    try:
        yield
    except InvalidInputError:
        raise
    except (
        *(OSError, ValueError, KeyError, EOFError, StopIteration, NotImplementedError),
        *(zlib.error, csv.Error),
    ) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else "it ends too early"
        raise InvalidInputError(f"{path} cannot be read as {kind} ({reason}): check it") from error


def float32(values: NDArray[Any]) -> NDArray[np.float32]:
    """Round to float32; what is out of its range becomes infinite and is counted as such."""
    with np.errstate(over="ignore"):
        return values.astype(np.float32)


@dataclass(frozen=True)
class BadCells:
    """Cells of a column that hold no number.

    Attributes
    ----------
    name : str
        Of the column.
    n_text, n_values : int
        Cells with text, and cells that are not missing.
    row : int
        The first row with text.
    text : str
        What is there.
    """

    name: str
    n_text: int
    n_values: int
    row: int
    text: str

    def __str__(self) -> str:
        """Name the column and its first bad cell."""
        more = "..." if len(self.text) > _LONGEST_TEXT else ""
        return f"{self.name}: {self.text[:_LONGEST_TEXT] + more!r} in row {self.row}"


def is_number(text: str, decimal: str = ".") -> bool:
    """Tell whether a cell holds a number."""
    return _NUMBER[decimal].fullmatch(text) is not None


def numbers_of(column: pd.Series, decimal: str = ".") -> pd.Series | None:
    """Return the numbers of a column that was read from text; ``None`` if it holds anything else.

    Readers leave whole numbers beyond 64 bits and numbers beyond the range of floats as text.
    """
    if pd.api.types.is_bool_dtype(column.dtype):
        return None
    if pd.api.types.is_numeric_dtype(column.dtype):
        return column
    if _texts(column, decimal):
        return None

    def number(cell: Any) -> float:
        return float(str(cell).replace(decimal, "."))

    numbers: pd.Series = column.astype(object).map(number, na_action="ignore").astype("float64")
    return numbers


def are_whole(column: pd.Series, decimal: str = ".") -> bool:
    """Tell whether the numbers of a column that was read from text are integers.

    Beside a missing one readers make floats of them. Cells without a number do not count.
    """
    if pd.api.types.is_integer_dtype(column.dtype):
        return True
    if pd.api.types.is_float_dtype(column.dtype):
        return bool(column.isna().any() and (column.dropna() % 1 == 0).all())
    texts = map(str, column.dropna().unique())
    return all(_INTEGER.fullmatch(text) for text in texts if is_number(text, decimal))


def bad_cells(name: str, column: pd.Series, start: int = 0, decimal: str = ".") -> BadCells | None:
    """Find the cells of a column that hold no number; ``None`` if there are none.

    Parameters
    ----------
    start : int
        Its first row, as it is counted in the table.
    """
    texts = _texts(column, decimal)
    if not texts:
        return None
    is_text = column.isin(texts).to_numpy()
    first = int(is_text.argmax())
    n_values = int(column.notna().sum())
    return BadCells(name, int(is_text.sum()), n_values, start + first, str(column.iloc[first]))


def warn_of_bad_cells(path: str, columns: Iterable[BadCells | None]) -> None:
    """Name the columns that would be features but for less than half of their first cells."""
    found = [bad for bad in columns if bad is not None and 2 * bad.n_text < bad.n_values]
    if found:
        n_text = sum(bad.n_text for bad in found)
        warn_of_input(
            f"{len(found)} columns of {path} describe rows because {n_text} cells among their "
            f"numbers hold text ({first_names(found)}): correct these cells, or begin the names "
            f"of the columns with {METADATA_PREFIX}"
        )


def _texts(column: pd.Series, decimal: str) -> Sequence[Any]:
    """Return the different values that are no numbers."""
    if pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(column.dtype):
        return []
    return [value for value in column.dropna().unique() if not is_number(str(value), decimal)]
