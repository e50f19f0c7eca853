"""The user's arrays: wrapped as sources of rows, and filled with corrected ones."""

from dataclasses import replace
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
import zarr

from balans_dask.io.matrices import H5Matrix, checked_array
from balans_dask.io.sources import HeldArray, LazyRows, RowSource, StoredRows
from balans_dask.model.prepared import Learned, MovedRows, Prepared, correct, second_matrix
from balans_dask.model.stages import CORRECTING, OnStage, Stage
from balans_dask.passes.engine import Engine
from balans_dask.passes.profiles import output_dtype
from balans_dask.workflows.array_inputs import matrix_of

__all__ = ["gathered_rows", "numbered_names", "source_of"]


def source_of(engine: Engine, X: Any) -> tuple[RowSource, list[str]]:
    """Wrap what the user gave, after checking its shape and type."""
    names = [str(name) for name in X.columns] if isinstance(X, pd.DataFrame) else []
    X = matrix_of(X, least_rows=1)
    names = names or numbered_names(X.shape[1])
    if isinstance(X, da.Array):
        return LazyRows(X), names
    if isinstance(X, zarr.Array):
        return StoredRows(checked_array(X)), names
    if isinstance(X, H5Matrix):
        return StoredRows(X), names
    return StoredRows(HeldArray(X) if engine.workers().embedded else X), names


def numbered_names(n_features: int) -> list[str]:
    """Names of features that the user has not named."""
    return [f"feature {i}" for i in range(n_features)]


def gathered_rows(
    engine: Engine,
    prepared: Prepared,
    learned: Learned,
    with_scores: bool = False,
    on_stage: OnStage = lambda stage: None,
) -> MovedRows:
    """Collect corrected rows as numpy arrays, a few partitions at a time.

    Parameters
    ----------
    engine : Engine
    prepared : Prepared
    learned : Learned
    with_scores : bool
        Collect corrected principal components too. An embedding beside the features always is.
    on_stage : callable
        Told how many partitions are there.
    """
    source, second = prepared.inputs.features, second_matrix(prepared)
    corrected = np.empty(source.shape, dtype=output_dtype(source.dtype))
    embedding = None
    if second is not None and (with_scores or prepared.inputs.embedding is not None):
        embedding = np.empty((source.shape[0], second[0]), dtype=second[1])
    covered = np.empty(source.shape[0], dtype=bool)
    displacement = np.empty(source.shape[0], dtype=np.float32)
    parts = prepared.scores.partitions
    at_once = 2 * prepared.plan.workers.n_threads
    stage = Stage(CORRECTING, number=prepared.number, n_total=len(parts))
    on_stage(stage)
    for first in range(0, len(parts), at_once):
        some = parts[first : first + at_once]
        corrected_rows = engine.take(correct(engine, prepared, learned, None, some))
        for part, rows in zip(some, corrected_rows, strict=True):
            place = slice(part.start, part.stop)
            corrected[place], covered[place] = rows.features, rows.covered
            displacement[place] = rows.displacement
            if embedding is not None:
                embedding[place] = rows.embedding
        on_stage(replace(stage, n_done=first + len(some)))
    return MovedRows(corrected, embedding, covered, displacement)
