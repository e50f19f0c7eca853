"""W and mu of ``displace``: A-weighted sums by landmark and batch, over all partitions."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from distributed import Future

from balans_dask.kernels.affinity import AffinityRows
from balans_dask.kernels.displace import BatchSums, batch_sums, merge_batch_sums
from balans_dask.kernels.landmarks import LandmarkBlock
from balans_dask.passes.engine import Engine, task
from balans_dask.passes.profiles import PartitionRows, Profiles
from balans_dask.passes.rows import Pieces
from balans_dask.passes.scores import Scores
from balans_dask.passes.trees import array_sum
from balans_dask.task_memory import batch_columns_at_once
from balans_dask.tiling import tree_sum

__all__ = ["sum_by_batch"]


def sum_by_batch(
    engine: Engine,
    scores: Scores,
    profiles: Profiles,
    table: Future,
    pieces: Sequence[Pieces],
    n_landmarks: int,
) -> list[Future]:
    """Reduce A_S [X, E, 1] by batch: one pass for as many columns as memory allows.

    Returns
    -------
    sums : list of Future of BatchSums
        Cut by columns, each with the weights as its last column.
    """
    n_columns = profiles.n_columns(scores.projection.n_components)
    at_once = batch_columns_at_once(n_landmarks, scores.n_batches)
    sums = []
    for first in range(0, n_columns, at_once):
        columns = slice(first, min(first + at_once, n_columns))
        sums.append(_sum_columns(engine, scores, profiles, columns, table, pieces))
        engine.wait(sums[-1:])
    return sums


def _sum_columns(
    engine: Engine,
    scores: Scores,
    profiles: Profiles,
    columns: slice,
    table: Future,
    pieces: Sequence[Pieces],
) -> Future:
    both = [profiles.arguments(part.start, part.stop) for part in scores.partitions]
    futures = engine.map(
        "batch-sums",
        _sum_partition,
        scores.arguments(),
        [list(pair) for pair in both],
        [list(of_partition) for of_partition in pieces],
        [table] * len(both),
        [columns] * len(both),
    )
    return engine.reduce("batch-sums-merge", futures, _merge, arity=2)


@task
def _sum_partition(
    argument: Any,
    both: Sequence[Any],
    pieces: Sequence[AffinityRows | None],
    table: Sequence[LandmarkBlock],
    columns: slice,
) -> BatchSums:
    part = PartitionRows(argument, both, pieces, table)
    shape = (len(part.tiles.batches), part.n_landmarks, columns.stop - columns.start + 1)
    total = array_sum()
    for tile in range(part.tiles.n_tiles):
        of_tile = np.zeros(shape)
        rows = part.rows(tile)
        values = np.column_stack([rows.values[:, columns], np.ones(len(rows.values))])
        batch_sums(rows.affinities, part.local_batch(tile), values, of_tile)
        total.push(of_tile)
    return BatchSums(part.tiles.batches, total.total())


@task
def _merge(parts: Sequence[BatchSums]) -> BatchSums:
    return tree_sum(parts, merge_batch_sums)
