"""Reading csv as a stream of rows.

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
from typing import Any, TextIO

import numpy as np
import pandas as pd

from balans_dask.errors import InvalidInputError, first_names
from balans_dask.io.files import open_file
from balans_dask.io.places import place_of
from balans_dask.io.tables.columns import (
    METADATA_PREFIX,
    ColumnRule,
    named,
    require_features,
    require_unique,
)
from balans_dask.io.tables.row_stream import (
    SLAB_ROWS,
    RowStream,
    Slab,
    bad_cells,
    float32,
    numbers_of,
    readable,
    warn_of_bad_cells,
)

__all__ = [
    "CsvBlock",
    "CsvText",
    "csv_blocks",
    "csv_header",
    "open_csv",
]

NUL = "\0"
LONGEST_CELL = 2**31 - 1
"""Characters, of which Python's own limit is 131,072."""
_NEAREST: dict[str, Any] = {"float_precision": "round_trip"}
"""Before pandas 3.1, numbers of 17 digits are not the nearest float without it."""


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
    # The limit is the process', and stays: who puts it back does so under another reader.
    csv.field_size_limit(LONGEST_CELL)
    for row in csv.reader(lines):
        if row and not (len(row) == 1 and row[0].isspace()):
            yield row


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


if tuple(map(int, pd.__version__.split(".")[:2])) >= (3, 1):
    _NEAREST = {}
_NO_NUMBER = [
    *("", "NA", "N/A", "n/a", "#NA", "#N/A", "<NA>", "nan", "NaN", "-nan", "-NaN"),
    *("null", "NULL", "None"),
]
"""What stands for a missing number. In an annotation all but the first are names."""


def open_csv(path: str, rule: ColumnRule) -> RowStream:
    """Open a csv or csv.gz file.

    A column is a feature if it is numeric in the first slab, or has no value there, and the rule
    allows it. All other columns are read as text, in which only the empty cell is missing: what a
    label looks like must not depend on the slab it is in.

    Raises
    ------
    InvalidInputError
        If the file cannot be read, has no features or rows, or rows longer than its header.
    """
    names = named(csv_header(path))
    require_unique(path, names)
    first = next((_read(path, block, names, []) for block in csv_blocks(path, len(names))), None)
    if first is None:
        raise InvalidInputError(f"{path} has no rows below its header: check the file")
    candidates = [name for name in names if rule.is_feature(name, True)]
    features = [name for name in candidates if numbers_of(first[name]) is not None]
    require_features(path, features, names, rule)
    warn_of_bad_cells(path, [bad_cells(name, first[name]) for name in candidates])
    kept, left_out = rule.others(names, features)

    def slabs() -> Iterator[Slab]:
        for block in csv_blocks(path, len(names)):
            yield _slab(path, _read(path, block, names, kept)[[*kept, *features]], features)

    var = pd.DataFrame(index=pd.Index(features))
    return RowStream(var, slabs(), untyped=True, left_out=tuple(left_out), names=tuple(names))


def _read(path: str, block: CsvBlock, names: list[str], annotations: list[str]) -> pd.DataFrame:
    """Parse rows; annotations become categories of text: a label is held once, not once a row."""
    numbers = [name for name in names if name not in set(annotations)]
    with readable(path, "csv"):
        frame: pd.DataFrame = pd.read_csv(
            block.text,
            header=None,
            names=names,
            usecols=range(len(names)),  # cells beyond are empty
            index_col=False,
            keep_default_na=False,
            low_memory=False,  # or pandas guesses types in pieces of a slab
            **_NEAREST,
            na_values=dict.fromkeys(numbers, _NO_NUMBER) | {name: [""] for name in annotations},
            # Categories at once would be numbers in pandas 3: 12 for a plate named 0012.
            dtype=dict.fromkeys(annotations, str),
        )
        if len(frame) != block.n_rows:
            raise ValueError(f"{block.n_rows} rows from row {block.start} make {len(frame)}")
    frame = frame.astype(dict.fromkeys(annotations, "category"))
    return frame.set_axis(pd.RangeIndex(block.start, block.start + block.n_rows))


def _slab(path: str, frame: pd.DataFrame, features: list[str]) -> Slab:
    values = np.empty((len(frame), len(features)), dtype=np.float32)
    bad = []
    for place, name in enumerate(features):
        numbers = numbers_of(frame[name])
        if numbers is None:
            bad.append(bad_cells(name, frame[name], frame.index[0]))
        else:
            values[:, place] = float32(numbers.to_numpy())
    if bad:
        raise InvalidInputError(
            f"{path} has text in {len(bad)} numeric features ({first_names(bad)}): correct these "
            f"cells, or begin the names of columns that describe rows with {METADATA_PREFIX}"
        )
    return Slab(frame.drop(columns=features).reset_index(drop=True), values)
