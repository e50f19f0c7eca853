"""A store becomes a preprocessed one: by column, out of core, complete or not there."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from balans_dask.errors import InsufficientMemoryError, InvalidInputError, first_names, format_bytes
from balans_dask.io.layout import create_columns, create_matrix, row_layout, write_annotations
from balans_dask.io.matrices import checked_array
from balans_dask.io.output import OutputStore, ShardSink
from balans_dask.io.paths import path_from
from balans_dask.io.places import place_of, resolved
from balans_dask.io.sources import RowSource, StoredRows
from balans_dask.io.store import ProfileStore, open_store
from balans_dask.io.trial import FEW, try_annotations
from balans_dask.labels import BatchLabels, batch_labels
from balans_dask.model.anchors import named_rows
from balans_dask.model.inputs import require_sizes
from balans_dask.passes.engine import Engine
from balans_dask.passes.memory import PARTITION_BYTES, PROCESS_BYTES
from balans_dask.passes.profiles import output_dtype
from balans_dask.passes.projection import compute_moments, compute_scatter
from balans_dask.passes.stage import Stage
from balans_dask.passes.workers import Workers
from balans_dask.tiling import TILE_ROWS, Tiling, largest_power_of_two
from balans_dask.workflows.preprocess import RANK_INT_BY_PLATE, Preprocessing
from balans_dask.workflows.preprocess.by_column import (
    ChosenColumns,
    ColumnSteps,
    change_columns,
    split_rows,
    write_rows,
)
from balans_dask.workflows.preprocess.columns import BLOM, KeptFeatures, RowGroups, correlated
from balans_dask.workflows.records import package_versions, texts
from balans_dask.workflows.request import earlier_steps, warn_of_what_stays_behind

__all__ = [
    "Plates",
    "Preprocessed",
    "plates_of",
    "preprocess_store",
]

RECORD = "uns/balans_preprocess"
SCRATCH = "scratch"
COLUMNS_AT_ONCE = 64
VALUE_BYTES = 32
"""Of a value in a task: as it is read, in float64 before and after, and as it is written."""
ROW_COPIES = 4
"""Of the rows in a task: the chunks that hold them, all columns, those that are used, and what is
compressed."""
ROW_BYTES = 64
"""Of a row in a task: its place, its rank, and copies of one column."""


@dataclass(frozen=True)
class Plates:
    """Rows that are looked at together, and what tells them apart.

    Attributes
    ----------
    labels : BatchLabels or None
        The plate of every row; ``None`` where all rows are one.
    is_control : ndarray of shape (n_rows,), bool, or None
        Rows by which a plate is scaled; ``None`` for all.
    n_rows : int
    """

    labels: BatchLabels | None
    is_control: NDArray[np.bool_] | None
    n_rows: int

    @property
    def n_plates(self) -> int:
        """Plates that are told apart; 0 for none."""
        return 0 if self.labels is None else self.labels.n_batches

    def groups(self) -> RowGroups:
        """Plates, or all rows as one."""
        if self.labels is None:
            return RowGroups.of(np.zeros(self.n_rows, dtype=np.intp), 1, None)
        return RowGroups.of(self.labels.codes, self.n_plates, self.is_control)


def plates_of(store: ProfileStore, steps: Preprocessing) -> Plates:
    """Find plates and controls, where a step looks at them.

    Raises
    ------
    InvalidInputError
        If a column is missing, or a plate has no control.
    """
    if not steps.needs_plates:
        return Plates(None, None, store.n_rows)
    labels = batch_labels(
        [store.column(key) for key in steps.plate_keys],
        [f"obs column {key!r}" for key in steps.plate_keys],
        store.n_rows,
    )
    if steps.normalize is None or steps.controls is None:
        return Plates(labels, None, store.n_rows)
    is_control = named_rows(store.obs, steps.controls)
    n_controls = np.bincount(labels.codes[is_control], minlength=labels.n_batches)
    without = [labels.names[code] for code in np.flatnonzero(n_controls == 0).tolist()]
    if without:
        raise InvalidInputError(
            f"{len(without)} of {labels.n_batches} plates of {store.path} have no control by "
            f"{steps.controls!r} ({first_names(without)}): drop them, or give other --controls"
        )
    return Plates(labels, is_control, store.n_rows)


@dataclass(frozen=True)
class Preprocessed:
    """What a preprocessing did.

    Attributes
    ----------
    n_rows, n_features : int
        Of the new store.
    n_plates : int
        Plates that were looked at one after another; 0 for none.
    dropped : dict of str to list of str
        Features that each rule of the selection dropped.
    """

    n_rows: int
    n_features: int
    n_plates: int
    dropped: dict[str, list[str]]


def preprocess_store(
    engine: Engine,
    path: str,
    target: str,
    steps: Preprocessing,
    limit_bytes: int | None = None,
    overwrite: bool = False,
) -> Preprocessed:
    """Normalise, transform and select the features of a store into a new one.

    Parameters
    ----------
    engine : Engine
        Whose listener is told what the run is doing.
    path, target : str
        The store, and the new one.
    limit_bytes : int or None
        Memory of a worker.
    overwrite : bool
        Replace a store that is there, once the new one is complete.

    Raises
    ------
    InvalidInputError
        If values are NaN or infinite and ``missing`` is not selected, a plate has no control, a
        column is missing, or no feature is left.
    StoreExistsError
        If the target exists.
    InsufficientMemoryError
        If a worker cannot hold one column.

    Notes
    -----
    Rows and names stay as they are, and ``uns/balans_preprocess`` says what was done. Cost: two
    passes over the rows and one over the columns, two more over the rows that are left for the
    correlations; disk for two more copies of the profiles while it runs. Memory of a task: 32
    bytes for a value of its columns and 64 for a row, so that 10 million rows need 1 GB; for
    correlations, the square of the number of features.
    """
    store = open_store(path, limit_bytes)
    require_sizes(path, store.features.shape, 1)
    plates = plates_of(store, steps)
    kept = KeptFeatures([str(name) for name in store.var.index], steps)
    with OutputStore(target, overwrite, (path,)) as output:
        few = {"obs": store.obs[:FEW], "var": store.var[:FEW]}
        told = {RECORD: {"input": path_from(target, path)}}
        try_annotations(path, earlier_steps(store) | few | told, (), resolved(place_of(target)))
        workers = engine.workers(limit_bytes)
        at_once, row_bytes = _columns_at_once(store.n_rows, workers), _rows_at_once(workers)
        warn_of_what_stays_behind(store, None)
        source = StoredRows(checked_array(store.features))
        engine.tell(Stage("reading values"))
        moments = compute_moments(engine, _tiling(source, row_bytes), source)
        kept.drop_missing(moments.n_bad, moments.n_bad_rows, moments.n_rows)
        changed = _changed(engine, source, kept, plates, output.root, at_once, row_bytes)
        engine.tell(Stage("writing"))
        _write(engine, changed, output.root, row_bytes)
        del output.root[SCRATCH]
        record = _record(store, steps, plates, kept) | {
            "input": path_from(target, path),
            "values": moments.fingerprint,
        }
        var = store.var.iloc[kept.places]
        made = {"obs": store.obs, "var": var, RECORD: record}
        write_annotations(output.root, earlier_steps(store) | made)
    return Preprocessed(store.n_rows, len(kept.places), plates.n_plates, kept.dropped)


def _changed(
    engine: Engine,
    source: RowSource,
    kept: KeptFeatures,
    plates: Plates,
    root: zarr.Group,
    at_once: int,
    row_bytes: int,
) -> StoredRows:
    """Change all columns, and return those that the selection keeps."""
    steps = kept.steps
    engine.tell(Stage("cutting rows into columns"))
    tiling = _tiling(source, row_bytes)
    shape = (source.shape[0], len(kept.places))
    chunks = (min(tiling.rows_per_partition, shape[0]), min(at_once, shape[1]))
    before, after = (
        create_columns(root, f"{SCRATCH}/{name}", shape, output_dtype(source.dtype), chunks)
        for name in ("before", "after")
    )
    split_rows(engine, tiling, source, kept.places, before)
    engine.tell(Stage("changing columns"))
    plate_groups, all_rows = plates.groups(), Plates(None, None, shape[0]).groups()
    ranked = plate_groups if steps.transform == RANK_INT_BY_PLATE else all_rows
    of_columns = ColumnSteps(steps.normalize, steps.epsilon, steps.transform is not None)
    facts = change_columns(engine, before, after, of_columns, plate_groups, ranked, at_once)
    columns = kept.drop_uninformative(facts)
    if "correlation" in steps.select:
        engine.tell(Stage("correlating features"))
        unwanted = np.zeros(len(columns), dtype=bool)
        finite = ~facts.bad[columns]
        if finite.any():
            rows = StoredRows(ChosenColumns(after, columns[finite]))
            unwanted[finite] = _correlated(engine, rows, steps, row_bytes)
        columns = columns[kept.drop("correlation", unwanted)]
    return StoredRows(ChosenColumns(after, columns))


def _correlated(
    engine: Engine, rows: StoredRows, steps: Preprocessing, row_bytes: int
) -> NDArray[np.bool_]:
    """Find the columns that correlate too much with another; constant ones do not."""
    tiling = _tiling(rows, row_bytes)
    moments = compute_moments(engine, tiling, rows)
    unwanted = np.zeros(rows.shape[1], dtype=bool)
    if not moments.constant.all():
        scatter = compute_scatter(engine, tiling, rows, moments)
        unwanted[~moments.constant] = correlated(scatter, steps.correlation_threshold)
    return unwanted


def _write(engine: Engine, rows: StoredRows, root: zarr.Group, row_bytes: int) -> None:
    layout = row_layout(rows.shape[0], rows.shape[1] * rows.dtype.itemsize)
    matrix = create_matrix(root, "X", rows.shape, rows.dtype, layout)
    write_rows(engine, _tiling(rows, row_bytes), rows, ShardSink(matrix))


def _tiling(rows: RowSource, n_bytes: int) -> Tiling:
    """Cut rows into partitions of whole shards, as large as a task may hold."""
    width = rows.shape[1] * output_dtype(rows.dtype).itemsize
    shard_tiles = max(1, row_layout(None, width)[1] // TILE_ROWS)
    tiles = largest_power_of_two(max(1, n_bytes // (TILE_ROWS * width)))
    n_tiles = Tiling(rows.shape[0], 1).n_tiles
    return Tiling(rows.shape[0], max(shard_tiles, min(tiles, largest_power_of_two(n_tiles))))


def _task_bytes(workers: Workers) -> int:
    """Memory that each of the tasks of a worker may take."""
    usable = int(workers.usable_share * workers.limit_bytes) - PROCESS_BYTES
    return usable // workers.threads_per_worker


def _rows_at_once(workers: Workers) -> int:
    """Bytes of the rows of a task."""
    return min(PARTITION_BYTES, _task_bytes(workers) // ROW_COPIES)


def _columns_at_once(n_rows: int, workers: Workers) -> int:
    """Choose the columns of a task by the memory of a worker.

    Raises
    ------
    InsufficientMemoryError
        If that is not enough for one.
    """
    n_columns = (_task_bytes(workers) - ROW_BYTES * n_rows) // (VALUE_BYTES * n_rows)
    if n_columns < 1:
        needed = workers.threads_per_worker * (ROW_BYTES + VALUE_BYTES) * n_rows + PROCESS_BYTES
        raise InsufficientMemoryError(
            f"a worker of {workers.threads_per_worker} threads needs "
            f"{format_bytes(int(needed / workers.usable_share))} of memory for a column of "
            f"{n_rows} rows and may use {format_bytes(workers.limit_bytes)}: raise --memory-limit, "
            "or use fewer threads a worker"
        )
    return min(int(n_columns), COLUMNS_AT_ONCE)


def _record(
    store: ProfileStore, steps: Preprocessing, plates: Plates, kept: KeptFeatures
) -> dict[str, Any]:
    """Return what the new store says about its making."""
    given = {name: value for name, value in asdict(steps).items() if value not in (None, ())}
    record: dict[str, Any] = {
        "parameters": {k: list(v) if isinstance(v, tuple) else v for k, v in given.items()},
        "n_plates": plates.n_plates,
        "dropped": {rule: texts(names) for rule, names in kept.dropped.items()},
        "versions": package_versions(),
    }
    if plates.is_control is not None:
        record["n_controls"] = int(plates.is_control.sum())
    if steps.transform is not None:
        record["ranks"] = f"ties share the mean rank; (rank - {BLOM:g}) / (n - {2 * BLOM:g} + 1)"
    earlier = earlier_steps(store).get(RECORD)
    return record if earlier is None else record | {"earlier": earlier}
