"""Reading csv as a stream of rows."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from balans_dask.errors import InvalidInputError, first_names
from balans_dask.io.bad_cells import bad_cells, numbers_of, warn_of_bad_cells
from balans_dask.io.csv_blocks import CsvBlock, csv_blocks, csv_header
from balans_dask.io.tables.columns import (
    METADATA_PREFIX,
    ColumnRule,
    named,
    require_features,
    require_unique,
)
from balans_dask.io.tables.row_stream import RowStream, Slab, float32, readable

__all__ = ["open_csv"]

_NEAREST: dict[str, Any] = {"float_precision": "round_trip"}
"""Before pandas 3.1, numbers of 17 digits are not the nearest float without it."""
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
    return RowStream(var, slabs(), untyped=True, left_out=tuple(left_out))


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
