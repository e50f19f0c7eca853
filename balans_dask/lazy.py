"""Corrected rows as a Dask array: each partition computed when it is asked for."""

from typing import Any

import dask
import dask.array as da
import numpy as np

from balans_dask.fitting import Fit, LandmarkSums
from balans_dask.passes.engine import Engine
from balans_dask.passes.profiles import SCORES, output_dtype
from balans_dask.passes.smooth import smooth_one

__all__ = ["lazy_rows"]


def lazy_rows(engine: Engine, fitted: Fit, landmarks: LandmarkSums) -> da.Array:
    """Return the corrected features without computing them.

    The graph holds the landmarks and their sums, not futures, so it computes on any scheduler and
    outlives the client of the fit, unless the source was persisted there. Affinities of a partition
    are computed again from them.

    Parameters
    ----------
    engine : Engine
    fitted : Fit
    landmarks : LandmarkSums

    Returns
    -------
    corrected : dask.array.Array of shape (n_rows, n_features)
        Chunked by partitions.
    """
    source = fitted.inputs.features
    table, *sums = engine.gather([landmarks.table, *landmarks.sums])
    shared = dask.delayed((table, sums, fitted.profiles.constant, fitted.scores.projection))
    dtype = output_dtype(source.dtype)
    blocks = []
    for part in fitted.plan.tiling.partitions():
        corrected = dask.delayed(_corrected, pure=False)(
            source.rows(part.start, part.stop),
            part.start,
            fitted.inputs.labels.codes[part.start : part.stop],
            shared,
            fitted.parameters.uncovered == "keep",
        )
        shape = (part.n_rows, source.shape[1])
        blocks.append(da.from_delayed(corrected, shape=shape, dtype=dtype))
    return da.concatenate(blocks, axis=0)


def _corrected(
    rows: Any, start: int, codes: np.ndarray[Any, Any], shared: Any, keep_uncovered: bool
) -> Any:
    table, sums, constant, projection = shared
    second = SCORES if projection.weights is not None else None
    smoothed = smooth_one(
        [rows, start, codes, projection],
        [rows, second],
        [None] * len(table),
        table,
        sums,
        constant,
        keep_uncovered,
        None,
    )
    assert smoothed is not None  # without a sink, the rows come back
    return smoothed.features
