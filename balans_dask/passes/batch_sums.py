"""W and mu of ``displace``: A-weighted sums of reference rows by landmark and batch."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from distributed import Future

from balans_dask.kernels.affinity import AffinityRows
from balans_dask.kernels.displace import BatchSums, batch_sums, merge_batch_sums
from balans_dask.kernels.landmarks import LandmarkBlock
from balans_dask.passes.columns import cut_columns, sum_columns
from balans_dask.passes.engine import Engine, task
from balans_dask.passes.profiles import PartitionRows, Profiles
from balans_dask.passes.rows import Pieces
from balans_dask.passes.scores import Scores
from balans_dask.passes.task_bytes import batch_columns_at_once
from balans_dask.passes.trees import array_sum
from balans_dask.tiling import tree_sum

__all__ = ["column_cuts", "sum_by_batch"]


def sum_by_batch(
    engine: Engine,
    scores: Scores,
    profiles: Profiles,
    table: Future,
    pieces: Sequence[Pieces],
    n_landmarks: int,
    n_batches: int,
) -> list[Future]:
    """Reduce A_S [X, E, 1] by batch: one pass for as many columns as memory allows.

    Parameters
    ----------
    n_landmarks : int
    n_batches : int
        Those with reference rows.

    Returns
    -------
    sums : list of Future of BatchSums
        Cut by columns, each with the weights as its last column.
    """
    n_columns = profiles.n_columns(scores.projection.n_components)
    return sum_columns(
        engine,
        "batch-sums",
        _sum_partition,
        _merge,
        scores,
        profiles,
        table,
        pieces,
        column_cuts(n_columns, n_landmarks, n_batches),
    )


def column_cuts(n_columns: int, n_landmarks: int, n_batches: int) -> list[slice]:
    """Cut the columns of the sums as memory wants it; no result depends on it."""
    return cut_columns(n_columns, batch_columns_at_once(n_landmarks, n_batches))


@task
def _sum_partition(
    argument: Any,
    both: Sequence[Any],
    pieces: Sequence[AffinityRows | None],
    table: Sequence[LandmarkBlock],
    columns: slice,
) -> BatchSums:
    part = PartitionRows(argument, both, pieces, table)
    batches = part.tiles.batches[part.tiles.reference_batches]
    shape = (len(batches), part.n_landmarks, columns.stop - columns.start + 1)
    total = array_sum()
    for tile in range(part.tiles.n_tiles):
        of_tile = np.zeros(shape)
        rows = part.rows(tile)
        values = np.column_stack([rows.values[:, columns], np.ones(len(rows.values))])
        batch_sums(rows.affinities, rows.reference, values, of_tile)
        total.push(of_tile)
    return BatchSums(batches, total.total())


@task
def _merge(parts: Sequence[BatchSums]) -> BatchSums:
    return tree_sum(parts, merge_batch_sums)
