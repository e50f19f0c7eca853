"""Text where numbers are meant: a few cells that make a feature a description of rows."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from balans_dask.errors import first_names, warn_of_input
from balans_dask.io.tables.columns import METADATA_PREFIX

__all__ = ["BadCells", "bad_cells", "numbers_of", "warn_of_bad_cells"]

_NUMBER = re.compile(
    r"\s*[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|inf(inity)?)\s*", re.ASCII | re.IGNORECASE
)
_LONGEST_TEXT = 40


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


def numbers_of(column: pd.Series) -> pd.Series | None:
    """Return the numbers of a column that was read from text; ``None`` if it holds anything else.

    Readers leave whole numbers beyond 64 bits and numbers beyond the range of floats as text.
    """
    if pd.api.types.is_bool_dtype(column.dtype):
        return None
    if pd.api.types.is_numeric_dtype(column.dtype):
        return column
    if _texts(column):
        return None
    numbers: pd.Series = column.astype(object).map(float, na_action="ignore").astype("float64")
    return numbers


def bad_cells(name: str, column: pd.Series, start: int = 0) -> BadCells | None:
    """Find the cells of a column that hold no number; ``None`` if there are none.

    Parameters
    ----------
    name : str
    column : Series
    start : int
        Its first row, as it is counted in the table.
    """
    texts = _texts(column)
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


def _texts(column: pd.Series) -> Sequence[Any]:
    """Return the different values that are no numbers."""
    if pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(column.dtype):
        return []
    return [value for value in column.dropna().unique() if not _NUMBER.fullmatch(str(value))]
