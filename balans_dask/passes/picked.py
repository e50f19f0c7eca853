"""Some rows of an embedding, before an operator and after it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from distributed import Future
from numpy.typing import NDArray

from balans_dask.passes.correct import CorrectedRows
from balans_dask.passes.engine import Engine, task
from balans_dask.passes.profiles import Profiles, output_dtype
from balans_dask.passes.scores import Scores, as_tiles
from balans_dask.tiling import Partition

__all__ = ["pick_corrected", "pick_rows"]


def pick_rows(
    engine: Engine, scores: Scores, profiles: Profiles, rows: NDArray[np.int64]
) -> NDArray[np.floating]:
    """Bring some rows to the driver.

    Parameters
    ----------
    engine : Engine
    scores : Scores
    profiles : Profiles
    rows : ndarray of shape (n,), int64
        Global row numbers, in increasing order.

    Returns
    -------
    values : ndarray of shape (n, n_columns)
        Of the embedding; of the features where there is none.
    """
    parts = scores.partitions
    both = [list(profiles.arguments(part.start, part.stop)) for part in parts]
    futures = engine.map("pick-rows", _before, scores.arguments(), both, _local(parts, rows))
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
    engine : Engine
    partitions : sequence of Partition
    corrected : sequence over partitions of Future of CorrectedRows
    rows : ndarray of shape (n,), int64
        Global row numbers, in increasing order.

    Returns
    -------
    values : ndarray of shape (n, n_columns)
        Of the embedding; of the features where there is none.
    n_covered : int
        Of all rows.
    """
    picked = engine.map("pick-corrected", _after, corrected, _local(partitions, rows))
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
def _before(argument: Any, both: Sequence[Any], rows: NDArray[np.int64]) -> NDArray[np.floating]:
    features, second = both
    if isinstance(second, str):
        values = as_tiles(argument).rows_in_input_order()
    else:
        values = (features if second is None else second).read()
    return values[rows].astype(output_dtype(values.dtype))


@task
def _after(corrected: CorrectedRows, rows: NDArray[np.int64]) -> tuple[Any, int]:
    embedding = corrected.embedding
    values = corrected.features if embedding is None else embedding
    return values[rows], int(np.count_nonzero(corrected.covered))
