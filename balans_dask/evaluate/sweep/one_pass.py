"""What one pass makes of its landmarks: some rows of the embedding, or all rows for a next pass."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from balans_dask.io.run_folder import PassFolder
from balans_dask.io.sources import StoredRows
from balans_dask.model.fit import Fit, learn
from balans_dask.model.inputs import Inputs
from balans_dask.model.prepared import Prepared, correct
from balans_dask.passes.engine import Engine
from balans_dask.passes.picked import pick_corrected, pick_rows
from balans_dask.passes.profiles import Profiles
from balans_dask.workflows.store_output import PassWriter

__all__ = ["moved_inputs", "rows_after", "rows_before"]

MOVED = "moved"


def rows_before(
    engine: Engine, prepared: Prepared, rows: NDArray[np.int64]
) -> NDArray[np.floating]:
    """Bring some rows of the embedding to the driver.

    Parameters
    ----------
    engine : Engine
    prepared : Prepared
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
    engine : Engine
    fitted : Fit
    rows : ndarray of shape (n,), int64
        In increasing order.
    """
    prepared = _whole(replace(fitted.prepared, profiles=_embedding_alone(fitted.prepared)))
    with engine.scope():
        learned = learn(engine, replace(fitted, prepared=prepared))
        corrected = correct(engine, prepared, learned, None)
        return pick_corrected(engine, prepared.plan.tiling.partitions(), corrected, rows)


def moved_inputs(engine: Engine, fitted: Fit, first: Inputs, folder: Path) -> Inputs:
    """Write the profiles as a pass that is not the last one leaves them.

    Parameters
    ----------
    engine : Engine
    fitted : Fit
    first : Inputs
        Of the first pass.
    folder : Path
        Where to write; seen by all workers.
    """
    prepared = _whole(fitted.prepared)
    folder.mkdir()
    key = None if first.embedding is None else MOVED
    projection = prepared.scores.projection
    writer = PassWriter(engine, PassFolder(folder), first, key, projection, MOVED)
    with engine.scope():
        learned = learn(engine, replace(fitted, prepared=prepared))
        writer.write(prepared, learned, prepared.plan.tiling.partitions())
    return writer.moved(first)


def _whole(prepared: Prepared) -> Prepared:
    """Leave strength out of a pass: only the last one of a correction blends."""
    return replace(prepared, parameters=replace(prepared.parameters, strength=1.0))


def _embedding_alone(prepared: Prepared) -> Profiles:
    """Leave out the features, unless they are the embedding."""
    inputs, profiles = prepared.inputs, prepared.profiles
    if inputs.embedding is None and not profiles.embed_scores:
        return profiles
    nothing = StoredRows(np.empty((inputs.n_rows, 0), dtype=np.float32))
    return Profiles(nothing, np.zeros(0, dtype=bool), inputs.embedding, profiles.embed_scores)
