"""Reading csv as a stream of rows.

pandas alone drops, without a word, what is in a cell after a NUL, and cells beyond the columns that
it knows of where it begins to read.
"""

import csv
import gzip
import io
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
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
    are_whole,
    bad_cells,
    float32,
    is_number,
    numbers_of,
    readable,
    warn_of_bad_cells,
)

__all__ = [
    "CsvBlock",
    "CsvForm",
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


DELIMITERS = (",", ";", "\t")
TAB_SUFFIXES = (".tsv", ".tsv.gz")
HEAD_LINES = 256
"""Lines that tell the form."""
COMPARED_ROWS = 5
_MAYBE_THOUSANDS = re.compile(r"\s*[+-]?[1-9]\d{0,2},\d{3}\s*", re.ASCII)


@dataclass(frozen=True)
class CsvForm:
    """How cells and decimals are told apart.

    Attributes
    ----------
    delimiter, decimal : str
    """

    delimiter: str = ","
    decimal: str = "."


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


def csv_header(path: str, rule: ColumnRule) -> tuple[list[str], CsvForm]:
    """Read the names of the columns, of which a delimiter at the end names none, and the form.

    The delimiter is that of ``DELIMITERS`` by which the header has most names and the rows below
    as many cells; of several, and if there is none, the first. Beside another one than the comma,
    decimals may have a comma.

    Parameters
    ----------
    rule : ColumnRule
        Says which columns may be features, of which the decimals are looked at.

    Raises
    ------
    InvalidInputError
        If there is no header, a NUL in it, or no telling what a comma in a number means.
    """
    with _opened(path) as file:
        head = list(islice(file, HEAD_LINES))
        delimiter = "\t" if path.lower().endswith(TAB_SUFFIXES) else _delimiter(head)
        header = next(_rows(chain(head, file), delimiter))
        if any(NUL in name for name in header):
            raise InvalidInputError(_where_nul_is(path, delimiter))
        header = header[: _n_filled(header)]
        if delimiter == ",":
            return header, CsvForm()
        _, *rows = _rows(head, delimiter)
        return header, CsvForm(delimiter, _decimal(path, header, rows, rule))


def _n_filled(row: list[str]) -> int:
    """Count the cells before the empty ones at the end."""
    return max((place for place, cell in enumerate(row, start=1) if cell != ""), default=0)


def _delimiter(head: list[str]) -> str:
    n_names: dict[str, int] = {}
    for delimiter in DELIMITERS:
        try:
            rows = list(islice(_rows(head, delimiter, strict=True), 1 + COMPARED_ROWS))
        except csv.Error:  # a quote ends before another character
            continue
        n = _n_filled(rows[0]) if rows else 0
        if n > 1 and all(_n_filled(row) <= n <= len(row) for row in rows):
            n_names[delimiter] = n
    return max(n_names, key=n_names.__getitem__, default=DELIMITERS[0])


def _decimal(path: str, header: list[str], rows: list[list[str]], rule: ColumnRule) -> str:
    """Find the decimal mark of the features by columns of numbers in which there is one."""
    found: dict[str, dict[str, list[str]]] = {".": {}, ",": {}}
    for place, name in enumerate(header):
        if not rule.is_feature(name, True, False):
            continue
        cells = [row[place] for row in rows if len(row) > place and row[place] not in _NO_NUMBER]
        for mark, columns in found.items():
            marked = [cell for cell in cells if mark in cell]
            if marked and all(is_number(cell, mark) for cell in cells):
                columns[name] = marked
    points, commas = found["."], found[","]
    if not commas:
        return "."
    said = f"{path} has numbers with a comma in {len(commas)} columns ({_first_cells(commas)})"
    if points:
        raise InvalidInputError(
            f"{said} and with a point in {len(points)} ({_first_cells(points)}): write one mark of "
            f"decimals, or begin the names of columns that describe rows with {METADATA_PREFIX}"
        )
    if all(_MAYBE_THOUSANDS.fullmatch(cell) for cells in commas.values() for cell in cells):
        raise InvalidInputError(
            f"{said}, which may be decimals or thousands: write decimals with a point, and "
            "thousands without a mark"
        )
    return ","


def _first_cells(columns: dict[str, list[str]]) -> str:
    return first_names([f"{name}: {cells[0]!r}" for name, cells in columns.items()], 3)


def csv_blocks(path: str, n_columns: int, delimiter: str = ",") -> Iterator[CsvBlock]:
    """Yield the text below the header, a slab at a time.

    Raises
    ------
    InvalidInputError
        If there is a cell beyond the columns that is not empty, or a NUL.
    """
    with _opened(path) as file:
        lines: list[str] = []
        rows = _rows(_kept(file, lines), delimiter)
        next(rows)
        start = 0
        lines.clear()
        while filled := [any(row[n_columns:]) for row in islice(rows, SLAB_ROWS)]:
            if any(NUL in line for line in lines):
                raise InvalidInputError(_where_nul_is(path, delimiter))
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


def _rows(lines: Iterable[str], delimiter: str, strict: bool = False) -> Iterator[list[str]]:
    """Yield the rows that are not empty, with cells of any length."""
    # The limit is the process', and stays: who puts it back does so under another reader.
    csv.field_size_limit(LONGEST_CELL)
    for row in csv.reader(lines, delimiter=delimiter, strict=strict):
        if row and not (len(row) == 1 and row[0].isspace()):
            yield row


@contextmanager
def _opened(path: str) -> Iterator[TextIO]:
    with readable(path, "csv"), open_file(place_of(path)) as content:
        plain = gzip.GzipFile(fileobj=content) if path.lower().endswith(".gz") else content
        with io.TextIOWrapper(plain, encoding="utf-8-sig", newline="") as text:
            try:
                yield text
            except UnicodeDecodeError as error:
                raise InvalidInputError(
                    f"{path} is no text in UTF-8: save it so (in Excel as CSV UTF-8)"
                ) from error


def _where_nul_is(path: str, delimiter: str) -> str:
    with _opened(path) as file:
        rows = _rows(file, delimiter)
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


def open_csv(path: str, rule: ColumnRule, settled: Mapping[str, bool] | None = None) -> RowStream:
    """Open a csv or tsv file, which may be packed by gzip.

    A column is a feature if it is numeric in the first slab, or has no value there, and the rule
    allows it, which asks whether it holds integers there. All other columns are read as text, in
    which only the empty cell is missing: what a label looks like must not depend on the slab it is
    in.

    Parameters
    ----------
    settled : mapping of str to bool, or None
        Columns of which it is known whether they hold integers.

    Raises
    ------
    InvalidInputError
        If the file cannot be read, has no features or rows, or rows longer than its header.
    """
    names, form = csv_header(path, rule)
    names = named(names)
    require_unique(path, names)

    def blocks() -> Iterator[CsvBlock]:
        return csv_blocks(path, len(names), form.delimiter)

    first = next((_read(path, form, block, names, []) for block in blocks()), None)
    if first is None:
        raise InvalidInputError(f"{path} has no rows below its header: check the file")
    numbers = {name for name in names if numbers_of(first[name], form.decimal) is not None}
    whole = {name: are_whole(first[name], form.decimal) for name in names} | dict(settled or {})
    candidates = [name for name in names if rule.is_feature(name, True, whole[name])]
    features = [name for name in candidates if name in numbers]
    require_features(path, features, names, rule)
    bad = [bad_cells(name, first[name], decimal=form.decimal) for name in candidates]
    warn_of_bad_cells(path, bad)
    kept, left_out = rule.others(names, features)

    def slabs() -> Iterator[Slab]:
        for block in blocks():
            frame = _read(path, form, block, names, kept)[[*kept, *features]]
            yield _slab(path, form, frame, features)

    return RowStream(
        pd.DataFrame(index=pd.Index(features)),
        slabs(),
        untyped=True,
        decimal=form.decimal,
        described=rule.unnamed(numbers, kept),
        left_out=tuple(left_out),
        names=tuple(names),
    )


def _read(
    path: str, form: CsvForm, block: CsvBlock, names: list[str], annotations: list[str]
) -> pd.DataFrame:
    """Parse rows; annotations become categories of text: a label is held once, not once a row."""
    numbers = [name for name in names if name not in set(annotations)]
    with readable(path, "csv"):
        frame: pd.DataFrame = pd.read_csv(
            block.text,
            sep=form.delimiter,
            decimal=form.decimal,
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


def _slab(path: str, form: CsvForm, frame: pd.DataFrame, features: list[str]) -> Slab:
    values = np.empty((len(frame), len(features)), dtype=np.float32)
    bad = []
    for place, name in enumerate(features):
        numbers = numbers_of(frame[name], form.decimal)
        if numbers is None:
            bad.append(bad_cells(name, frame[name], frame.index[0], form.decimal))
        else:
            values[:, place] = float32(numbers.to_numpy())
    if bad:
        raise InvalidInputError(
            f"{path} has text in {len(bad)} numeric features ({first_names(bad)}): correct these "
            f"cells, or begin the names of columns that describe rows with {METADATA_PREFIX}"
        )
    return Slab(frame.drop(columns=features).reset_index(drop=True), values)
