"""Reading csv as a stream of rows."""

import csv
import gzip
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import pandas as pd

from balans_dask.errors import InvalidInputError, first_names
from balans_dask.io.columns import (
    METADATA_PREFIX,
    ColumnRule,
    named,
    require_features,
    require_unique,
)
from balans_dask.io.files import open_file, table_source
from balans_dask.io.places import place_of
from balans_dask.io.slabs import SLAB_ROWS, RowStream, Slab, float32, readable

__all__ = ["open_csv"]

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
    with readable(path, "csv"):
        names, surplus = _header(path)
    require_unique(path, names)
    with readable(path, "csv"):
        first = _read(path, names + surplus, _options(names, surplus), nrows=SLAB_ROWS)
        if first.empty:
            raise InvalidInputError(f"{path} has no rows below its header: check the file")
        _require_empty(path, first, surplus, len(names))
        features = [name for name in names if rule.is_feature(name, _is_number(first[name]))]
        require_features(path, features, names, rule)
        _, left_out = rule.others(names, features)
        annotations = [name for name in (*names, *surplus) if name not in set(features)]
        options = _options(features, annotations)
        reader = _read(path, names + surplus, options, chunksize=SLAB_ROWS)

    def slabs() -> Iterator[Slab]:
        with readable(path, "csv"), reader:
            for frame in reader:
                _require_empty(path, frame, surplus, len(names))
                yield _slab(path, frame.drop(columns=[*surplus, *left_out]), features)

    var = pd.DataFrame(index=pd.Index(features))
    return RowStream(var, slabs(), untyped=True, left_out=tuple(left_out))


def _header(path: str) -> tuple[list[str], list[str]]:
    """Return the names of the columns, and names for cells of the first row beyond them.

    Given the header alone, pandas would take the first cells of longer rows as an index. What a
    delimiter at the end of the header names is no column either.
    """
    with _text(path) as file:
        rows = (row for row in csv.reader(file) if row)
        header, row = next(rows), next(rows, [])
    width = max(len(header), len(row))
    while header and header[-1] == "":
        header.pop()
    surplus = [f"beyond the header {place}" for place in range(len(header), width)]
    return named(header), surplus


@contextmanager
def _text(path: str) -> Iterator[TextIO]:
    with open_file(place_of(path)) as content:
        plain = gzip.GzipFile(fileobj=content) if path.lower().endswith(".gz") else content
        with io.TextIOWrapper(plain, encoding="utf-8-sig", newline="") as text:
            yield text


def _options(numbers: list[str], annotations: list[str]) -> dict[str, Any]:
    return {
        "na_values": dict.fromkeys(numbers, _NO_NUMBER) | {name: [""] for name in annotations},
        # Categories of text: a label is held once a slab, not once a row.
        "dtype": dict.fromkeys(annotations, "category"),
    }


def _read(path: str, names: list[str], options: dict[str, Any], **rows: int) -> Any:
    read: Any = pd.read_csv
    return read(
        table_source(path),
        header=0,
        names=names,
        index_col=False,
        keep_default_na=False,
        low_memory=False,  # or pandas guesses types in pieces of a slab
        compression="gzip" if path.lower().endswith(".gz") else None,
        **options,
        **rows,
    )


def _is_number(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def _require_empty(path: str, frame: pd.DataFrame, surplus: list[str], n_columns: int) -> None:
    filled = frame[surplus].notna().any(axis=1).to_numpy()
    if filled.any():
        raise InvalidInputError(
            f"{path} has more cells than the {n_columns} columns of its header in "
            f"{int(filled.sum())} rows, first in row {frame.index[int(filled.argmax())]}: "
            "name every column in the header"
        )


def _slab(path: str, frame: pd.DataFrame, features: list[str]) -> Slab:
    text = [name for name in features if not _is_number(frame[name])]
    if text:
        raise InvalidInputError(
            f"{path} has text in {len(text)} numeric features ({first_names(text)}) between rows "
            f"{frame.index[0]} and {frame.index[-1]}: correct these cells, or begin the names of "
            f"columns that describe rows with {METADATA_PREFIX}"
        )
    return Slab(
        frame.drop(columns=features).reset_index(drop=True), float32(frame[features].to_numpy())
    )
