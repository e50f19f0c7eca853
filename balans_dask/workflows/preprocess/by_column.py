"""Columns as a whole: profiles cut the other way, changed column by column, and put back into rows.

Stores hold whole rows. What a step needs is a whole column (ranks, medians of plates), so the rows
are written once into chunks of a few columns, and every task then has some columns to itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from balans_dask.io.sources import RowSource
from balans_dask.passes.engine import Engine, Future, task
from balans_dask.passes.sums import cut_columns
from balans_dask.tiling import Tiling
from balans_dask.workflows.preprocess.columns import (
    ColumnFacts,
    RowGroups,
    column_facts,
    normalized,
    rank_int,
)

__all__ = [
    "ChosenColumns",
    "ColumnSteps",
    "MatrixSink",
    "change_columns",
    "split_rows",
    "write_rows",
]


class MatrixSink(Protocol):
    """Where a task puts consecutive rows."""

    def write(self, start: int, rows: NDArray[Any]) -> None:
        """Store rows that begin at ``start``."""


@dataclass(frozen=True)
class ColumnSteps:
    """What is done to every column.

    Attributes
    ----------
    method : str or None
        Of ``normalized``.
    epsilon : float
    ranks : bool
        Ranks replace the values, after that.
    """

    method: str | None
    epsilon: float
    ranks: bool


@dataclass(frozen=True)
class ChosenColumns:
    """Some columns of a matrix, as a matrix of which rows can be read.

    Attributes
    ----------
    array : zarr.Array
    columns : ndarray of shape (n_columns,), intp
        In order.
    """

    array: Any
    columns: NDArray[np.intp]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return int(self.array.shape[0]), len(self.columns)

    @property
    def dtype(self) -> Any:
        """Type of the values."""
        return self.array.dtype

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        """Read some rows."""
        values: NDArray[Any] = self.array[rows]
        return values[:, self.columns]


def split_rows(
    engine: Engine, tiling: Tiling, source: RowSource, used: NDArray[np.intp], columns: Any
) -> None:
    """Write rows into chunks of a few columns: one pass.

    Parameters
    ----------
    tiling : Tiling
        Its partitions are the rows of a chunk.
    used : ndarray of shape (n_used,), intp
        Columns to take.
    columns : zarr.Array of shape (n_rows, n_used)
    """
    parts = tiling.partitions()
    rows = [source.rows(part.start, part.stop) for part in parts]
    starts = [part.start for part in parts]
    n = len(parts)
    engine.take(engine.map("split", _split_chunk, rows, starts, [used] * n, [columns] * n))


def change_columns(
    engine: Engine,
    before: Any,
    after: Any,
    steps: ColumnSteps,
    plates: RowGroups,
    ranked: RowGroups,
    at_once: int,
) -> ColumnFacts:
    """Change every column, and say what it is like then: one pass.

    Parameters
    ----------
    before, after : zarr.Array of shape (n_rows, n_columns)
        In chunks of ``at_once`` columns.
    plates, ranked : RowGroups
        Rows that are normalised, and ranked, together.
    at_once : int
        Columns of a task.
    """
    cuts = cut_columns(int(before.shape[1]), at_once)
    groups = engine.share("plates", (plates, ranked))
    n = len(cuts)
    futures: list[Future] = engine.map(
        "columns", _change_chunk, [before] * n, [after] * n, cuts, [steps] * n, [groups] * n
    )
    return _joined(engine.take(futures))


def write_rows(engine: Engine, tiling: Tiling, source: RowSource, sink: MatrixSink) -> None:
    """Write all rows of a source: one pass."""
    parts = tiling.partitions()
    rows = [source.rows(part.start, part.stop) for part in parts]
    starts = [part.start for part in parts]
    engine.take(engine.map("write", _write_chunk, rows, starts, [sink] * len(parts)))


@task
def _split_chunk(rows: Any, start: int, used: NDArray[np.intp], columns: Any) -> None:
    values = rows.read()
    columns[start : start + len(values)] = values[:, used]


@task
def _change_chunk(
    before: Any,
    after: Any,
    columns: slice,
    steps: ColumnSteps,
    groups: tuple[RowGroups, RowGroups],
) -> ColumnFacts:
    values = before[:, columns]
    flat = np.zeros(values.shape[1], dtype=bool)
    plates, ranked = groups
    if steps.method is not None:
        values, flat = normalized(values, plates, steps.method, steps.epsilon)
    unranked = values if steps.ranks else None
    if steps.ranks:
        values = rank_int(values, ranked)
    # Rounded as it is stored: what is selected is what is there, and infinite if it is too large.
    with np.errstate(over="ignore"):
        values = values.astype(after.dtype)
    after[:, columns] = values
    return column_facts(values, flat, unranked)


@task
def _write_chunk(rows: Any, start: int, sink: MatrixSink) -> None:
    sink.write(start, rows.read())


def _joined(facts: Sequence[ColumnFacts]) -> ColumnFacts:
    names = ColumnFacts.__dataclass_fields__
    return ColumnFacts(*(np.concatenate([getattr(part, name) for part in facts]) for name in names))
