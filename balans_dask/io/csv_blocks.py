"""Text of a csv, cut between rows into what makes a slab, with the cells that no column has.

pandas alone drops, without a word, what is in a cell after a NUL, and cells beyond the columns that
it knows of where it begins to read.
"""

import csv
import gzip
import io
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TextIO

from balans_dask.errors import InvalidInputError, first_names
from balans_dask.io.files import open_file
from balans_dask.io.places import place_of
from balans_dask.io.tables.row_stream import SLAB_ROWS, readable

__all__ = ["CsvBlock", "CsvText", "csv_blocks", "csv_header"]

NUL = "\0"


@dataclass(frozen=True)
class CsvBlock:
    """Rows that lie together.

    Attributes
    ----------
    start, n_rows : int
        First row, not counting the header and empty lines, and how many.
    text : CsvText
    """

    start: int
    n_rows: int
    text: "CsvText"


class CsvText(io.TextIOBase):
    """Lines, to be read once."""

    def __init__(self, lines: Sequence[str]) -> None:
        self._lines = deque(lines)

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def read(self, size: int | None = -1, /) -> str:
        """Read some lines; the last one may exceed the size."""
        found, n_found = [], 0
        while self._lines and (size is None or size < 0 or n_found < size):
            line = self._lines.popleft()
            found.append(line)
            n_found += len(line)
        return "".join(found)


def csv_header(path: str) -> list[str]:
    """Read the names of the columns; a delimiter at the end names none.

    Raises
    ------
    InvalidInputError
        If there is none, or a NUL in it.
    """
    with _opened(path) as file:
        header = next(_rows(file))
        if any(NUL in name for name in header):
            raise InvalidInputError(_where_nul_is(path))
    while header and header[-1] == "":
        header.pop()
    return header


def csv_blocks(path: str, n_columns: int) -> Iterator[CsvBlock]:
    """Yield the text below the header, a slab at a time.

    Raises
    ------
    InvalidInputError
        If there is a cell beyond the columns that is not empty, or a NUL.
    """
    with _opened(path) as file:
        lines: list[str] = []
        rows = _rows(_kept(file, lines))
        next(rows)
        start = 0
        lines.clear()
        while filled := [any(row[n_columns:]) for row in islice(rows, SLAB_ROWS)]:
            if any(NUL in line for line in lines):
                raise InvalidInputError(_where_nul_is(path))
            if any(filled):
                raise InvalidInputError(
                    f"{path} has more cells than the {n_columns} columns of its header in "
                    f"{sum(filled)} rows, first in row {start + filled.index(True)}: name every "
                    "column in the header"
                )
            yield CsvBlock(start, len(filled), CsvText(lines))
            start += len(filled)
            lines.clear()


def _kept(file: TextIO, lines: list[str]) -> Iterator[str]:
    for line in file:
        lines.append(line)
        yield line


def _rows(lines: Iterator[str] | TextIO) -> Iterator[list[str]]:
    """Yield the rows that are not empty, with cells of any length."""
    limit = csv.field_size_limit(2**31 - 1)
    try:
        for row in csv.reader(lines):
            if row and not (len(row) == 1 and row[0].isspace()):
                yield row
    finally:
        csv.field_size_limit(limit)


@contextmanager
def _opened(path: str) -> Iterator[TextIO]:
    with readable(path, "csv"), open_file(place_of(path)) as content:
        plain = gzip.GzipFile(fileobj=content) if path.lower().endswith(".gz") else content
        with io.TextIOWrapper(plain, encoding="utf-8-sig", newline="") as text:
            yield text


def _where_nul_is(path: str) -> str:
    with _opened(path) as file:
        rows = _rows(file)
        header = next(rows)
        names = [name for name in header if NUL in name]
        n_cells, first = len(names), "the header"
        for place, row in enumerate(rows):
            bad = [column for column, cell in enumerate(row) if NUL in cell]
            if bad and not n_cells:
                first = f"row {place}"
            n_cells += len(bad)
            names += [header[column] for column in bad if column < len(header)]
    different = list(dict.fromkeys(names))
    return (
        f"{path} has a NUL character in {n_cells} cells of {len(different)} columns "
        f"({first_names(different)}), first in {first}: remove it"
    )
