"""Corrected rows as a Dask array: each partition computed when it is asked for."""

from typing import Any

import dask
import dask.array as da
import numpy as np

from balans_dask.fitting import Fit, Learned
from balans_dask.passes.corrected import correct_one
from balans_dask.passes.engine import Engine
from balans_dask.passes.profiles import SCORES, output_dtype

__all__ = ["lazy_rows"]


def lazy_rows(engine: Engine, fitted: Fit, learned: Learned) -> da.Array:
    """Return the corrected features without computing them.

    The graph holds the landmarks and their sums, not futures, so it computes on any scheduler and
    outlives the client of the fit, unless the source was persisted there. Affinities of a partition
    are computed again from them.

    Parameters
    ----------
    engine : Engine
    fitted : Fit
    learned : Learned

    Returns
    -------
    corrected : dask.array.Array of shape (n_rows, n_features)
        Chunked by partitions.
    """
    source = fitted.inputs.features
    name, *parts = learned.correction
    table, *arrays = engine.gather([learned.table, *(f for part in parts for f in part)])
    each = iter(arrays)
    correction = [name, *([next(each) for _ in part] for part in parts)]
    shared = dask.delayed((table, correction, fitted.profiles.constant, fitted.scores.projection))
    dtype = output_dtype(source.dtype)
    blocks = []
    for part in fitted.plan.tiling.partitions():
        corrected = dask.delayed(_corrected, pure=False)(
            source.rows(part.start, part.stop),
            part.start,
            fitted.inputs.labels.codes[part.start : part.stop],
            shared,
            fitted.parameters.uncovered == "keep",
            fitted.parameters.strength,
        )
        shape = (part.n_rows, source.shape[1])
        blocks.append(da.from_delayed(corrected, shape=shape, dtype=dtype))
    return da.concatenate(blocks, axis=0)


def _corrected(
    rows: Any,
    start: int,
    codes: np.ndarray[Any, Any],
    shared: Any,
    keep_uncovered: bool,
    strength: float,
) -> Any:
    table, correction, constant, projection = shared
    second = SCORES if projection.weights is not None else None
    rows_of_chunk = correct_one(
        [rows, start, codes, projection],
        [rows, second],
        [None] * len(table),
        table,
        correction,
        constant,
        keep_uncovered,
        strength,
        None,
    )
    assert rows_of_chunk is not None  # without a sink, the rows come back
    return rows_of_chunk.features
