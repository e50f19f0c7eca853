"""Corrected rows as a Dask array: each partition computed when it is asked for."""

from typing import Any

import dask
import dask.array as da

from balans_dask.applying import Learned
from balans_dask.passes.corrected import correct_one
from balans_dask.passes.engine import Engine
from balans_dask.passes.profiles import SCORES, output_dtype
from balans_dask.passes.scores import Labels
from balans_dask.prepared import Prepared

__all__ = ["lazy_rows"]


def lazy_rows(engine: Engine, prepared: Prepared, learned: Learned) -> tuple[da.Array, None]:
    """Return the corrected features without computing them.

    The graph holds the landmarks and their sums, not futures, so it computes on any scheduler and
    outlives the client of the fit, unless the source was persisted there. Affinities of a partition
    are computed again from them.

    Parameters
    ----------
    engine : Engine
    prepared : Prepared
    learned : Learned

    Returns
    -------
    corrected : dask.array.Array of shape (n_rows, n_features)
        Chunked by partitions.
    covered : None
        Not known before the rows are computed.
    """
    source, scores, origin = prepared.inputs.features, prepared.scores, prepared.origin
    name, *parts = learned.correction
    table, *arrays = engine.gather([learned.table, *(f for part in parts for f in part)])
    each = iter(arrays)
    correction = [name, *([next(each) for _ in part] for part in parts)]
    shared = dask.delayed((table, correction, prepared.profiles.constant, scores.projection))
    dtype = output_dtype(source.dtype)
    blocks = []
    for part in scores.partitions:
        corrected = dask.delayed(_corrected, pure=False)(
            source.rows(part.start, part.stop),
            part.start,
            scores.labels_of(part),
            shared,
            prepared.parameters.uncovered == "keep",
            prepared.strength,
            None if origin is None else origin.features.rows(part.start, part.stop),
        )
        shape = (part.n_rows, source.shape[1])
        blocks.append(da.from_delayed(corrected, shape=shape, dtype=dtype))
    return da.concatenate(blocks, axis=0), None


def _corrected(
    rows: Any,
    start: int,
    labels: Labels,
    shared: Any,
    keep_uncovered: bool,
    strength: float,
    origin: Any,
) -> Any:
    table, correction, constant, projection = shared
    second = SCORES if projection.weights is not None else None
    rows_of_chunk = correct_one(
        [rows, start, labels, projection],
        [rows, second],
        [None] * len(table),
        table,
        correction,
        constant,
        keep_uncovered,
        strength,
        [] if origin is None else [origin, second, projection],
        None,
    )
    assert rows_of_chunk is not None  # without a sink, the rows come back
    return rows_of_chunk.features
