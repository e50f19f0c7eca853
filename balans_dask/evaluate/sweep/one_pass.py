"""What one pass makes of its landmarks: some rows of the embedding, or all rows for a next pass."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from distributed import Future
from numpy.typing import NDArray

from balans_dask.io.run_folder import PassFolder
from balans_dask.io.sources import StoredRows
from balans_dask.model.fit import Fit, fit_operator
from balans_dask.model.inputs import Inputs
from balans_dask.model.pass_data import PassData, correct_pass
from balans_dask.passes.correct import CorrectedRows
from balans_dask.passes.engine import Engine, task
from balans_dask.passes.profiles import Profiles, output_dtype
from balans_dask.passes.scores import Scores, as_tiles
from balans_dask.tiling import Partition
from balans_dask.workflows.store_output import PassWriter

__all__ = [
    "moved_inputs",
    "pick_corrected",
    "pick_rows",
    "rows_after",
    "rows_before",
]

MOVED = "moved"


def pick_rows(
    engine: Engine, scores: Scores, profiles: Profiles, rows: NDArray[np.int64]
) -> NDArray[np.floating]:
    """Bring some rows to the driver.

    Parameters
    ----------
    rows : ndarray of shape (n,), int64
        Global row numbers, in increasing order.

    Returns
    -------
    values : ndarray of shape (n, n_columns)
        Of the embedding; of the features where there is none.
    """
    parts = scores.partitions
    futures = engine.map(
        "pick-rows",
        _before_chunk,
        scores.tiles_sources(),
        map(profiles.matrices, parts),
        _local(parts, rows),
    )
    return np.concatenate(engine.take(futures))


def pick_corrected(
    engine: Engine,
    partitions: Sequence[Partition],
    corrected: Sequence[Future],
    rows: NDArray[np.int64],
) -> tuple[NDArray[np.floating], int]:
    """Bring some corrected rows to the driver; all of them leave the workers.

    Parameters
    ----------
    rows : ndarray of shape (n,), int64
        Global row numbers, in increasing order.

    Returns
    -------
    values : ndarray of shape (n, n_columns)
        Of the embedding; of the features where there is none.
    n_covered : int
        Of all rows.
    """
    picked = engine.map("pick-corrected", _after_chunk, corrected, _local(partitions, rows))
    engine.wait(picked)
    engine.release(corrected)
    values = engine.take(picked)
    return np.concatenate([rows for rows, _ in values]), sum(count for _, count in values)


def _local(partitions: Sequence[Partition], rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Cut row numbers by partition, and count them from its start."""
    cuts = np.searchsorted(rows, [part.stop for part in partitions])
    chosen = np.split(rows, cuts[:-1])
    return [found - part.start for found, part in zip(chosen, partitions, strict=True)]


@task
def _before_chunk(
    tiles_source: Any, matrices: Sequence[Any], rows: NDArray[np.int64]
) -> NDArray[np.floating]:
    features, second = matrices
    if isinstance(second, str):
        values = as_tiles(tiles_source).rows_in_input_order()
    else:
        values = (features if second is None else second).read()
    return values[rows].astype(output_dtype(values.dtype))


@task
def _after_chunk(corrected: CorrectedRows, rows: NDArray[np.int64]) -> tuple[Any, int]:
    embedding = corrected.embedding
    values = corrected.features if embedding is None else embedding
    return values[rows], int(np.count_nonzero(corrected.covered))


def rows_before(
    engine: Engine, prepared: PassData, rows: NDArray[np.int64]
) -> NDArray[np.floating]:
    """Bring some rows of the embedding to the driver.

    Parameters
    ----------
    rows : ndarray of shape (n,), int64
        In increasing order.
    """
    return pick_rows(engine, prepared.scores, _embedding_alone(prepared), rows)


def rows_after(
    engine: Engine, fitted: Fit, rows: NDArray[np.int64]
) -> tuple[NDArray[np.floating], int]:
    """Correct the embedding alone; return some rows, and how many of all rows are covered.

    Parameters
    ----------
    rows : ndarray of shape (n,), int64
        In increasing order.
    """
    prepared = _whole(replace(fitted.prepared, profiles=_embedding_alone(fitted.prepared)))
    with engine.scope():
        learned = fit_operator(engine, replace(fitted, prepared=prepared))
        corrected = correct_pass(engine, prepared, learned, None)
        return pick_corrected(engine, prepared.plan.tiling.partitions(), corrected, rows)


def moved_inputs(engine: Engine, fitted: Fit, first: Inputs, folder: Path) -> Inputs:
    """Write the profiles as a pass that is not the last one leaves them.

    Parameters
    ----------
    first : Inputs
        Of the first pass.
    folder : Path
        Where to write; seen by all workers.
    """
    prepared = _whole(fitted.prepared)
    key = None if first.embedding is None else MOVED
    projection = prepared.scores.projection
    writer = PassWriter(engine, PassFolder(folder), first, key, projection, MOVED)
    with engine.scope():
        learned = fit_operator(engine, replace(fitted, prepared=prepared))
        writer.write(prepared, learned, prepared.plan.tiling.partitions())
    return writer.moved(first)


def _whole(prepared: PassData) -> PassData:
    """Leave strength out of a pass: only the last one of a correction blends."""
    return replace(prepared, parameters=replace(prepared.parameters, strength=1.0))


def _embedding_alone(prepared: PassData) -> Profiles:
    """Leave out the features, unless they are the embedding."""
    inputs, profiles = prepared.inputs, prepared.profiles
    if inputs.embedding is None and not profiles.embed_scores:
        return profiles
    nothing = StoredRows(np.empty((inputs.n_rows, 0), dtype=np.float32))
    return Profiles(nothing, np.zeros(0, dtype=bool), inputs.embedding, profiles.embed_scores)
