"""Corrected rows as a Dask array: each partition computed when it is asked for."""

from typing import Any

import dask
import dask.array as da
import numpy as np

from balans_dask.model.prepared import Learned, MovedRows, Prepared, second_matrix
from balans_dask.passes.correct import CorrectedRows, correct_one
from balans_dask.passes.engine import Engine
from balans_dask.passes.profiles import Profiles, output_dtype
from balans_dask.passes.scores import Labels
from balans_dask.tiling import Partition

__all__ = ["lazy_rows"]


def lazy_rows(engine: Engine, prepared: Prepared, learned: Learned) -> MovedRows:
    """Return the corrected rows without computing them: Dask arrays, chunked by partitions.

    The graph holds the landmarks and their sums, not futures, so it computes on any scheduler and
    outlives the client of the fit, unless the source was persisted there. Affinities of a partition
    are computed again from them.

    Parameters
    ----------
    engine : Engine
    prepared : Prepared
    learned : Learned
    """
    source, scores = prepared.inputs.features, prepared.scores
    operator, *futures = learned.correction
    table, *arrays = engine.gather([learned.table, *(f for some in futures for f in some)])
    each = iter(arrays)
    correction = [operator, *([next(each) for _ in some] for some in futures)]
    shared = dask.delayed((table, correction, prepared.profiles.constant, scores.projection))
    lazy_parts = [
        dask.delayed(_corrected, pure=False)(
            _matrices(prepared.profiles, part),
            part.start,
            scores.labels_of(part),
            shared,
            prepared.parameters.uncovered == "keep",
            prepared.strength,
            None if prepared.origin is None else _matrices(prepared.origin, part),
        )
        for part in scores.partitions
    ]

    def joined(name: str, dtype: np.dtype[Any], *width: int) -> da.Array:
        blocks = [
            da.from_delayed(getattr(rows, name), shape=(part.n_rows, *width), dtype=dtype)
            for part, rows in zip(scores.partitions, lazy_parts, strict=True)
        ]
        return da.concatenate(blocks, axis=0)

    second = second_matrix(prepared)
    return MovedRows(
        joined("features", output_dtype(source.dtype), source.shape[1]),
        None if second is None else joined("embedding", second[1], second[0]),
        joined("covered", np.dtype(bool)),
        joined("displacement", np.dtype(np.float32)),
    )


def _matrices(profiles: Profiles, part: Partition) -> list[Any]:
    return list(profiles.arguments(part.start, part.stop))


def _corrected(
    both: Any,
    start: int,
    labels: Labels,
    shared: Any,
    keep_uncovered: bool,
    strength: float,
    origin: Any,
) -> CorrectedRows:
    table, correction, constant, projection = shared
    features, second = both
    scored = features if second is None or isinstance(second, str) else second
    rows = correct_one(
        [scored, start, labels, projection],
        both,
        [None] * len(table),
        table,
        correction,
        constant,
        keep_uncovered,
        strength,
        [] if origin is None else [*origin, projection],
        None,
    )
    assert rows is not None  # without a sink, the rows come back
    return rows
