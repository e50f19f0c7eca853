"""A_S [X, E, 1]: for every landmark the affinity-weighted sums of its rows, over all partitions."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from distributed import Future
from numpy.typing import NDArray

from balans_dask.kernels.affinity import AffinityRows
from balans_dask.kernels.landmarks import LandmarkBlock
from balans_dask.kernels.smooth import landmark_sums
from balans_dask.passes.columns import cut_columns, sum_columns
from balans_dask.passes.engine import Engine, task
from balans_dask.passes.profiles import PartitionRows, Profiles
from balans_dask.passes.rows import Pieces
from balans_dask.passes.scores import Scores
from balans_dask.passes.task_bytes import COLUMNS_AT_ONCE
from balans_dask.passes.trees import add_arrays, array_sum

__all__ = ["sum_rows"]


def sum_rows(
    engine: Engine,
    scores: Scores,
    profiles: Profiles,
    table: Future,
    pieces: Sequence[Pieces],
) -> list[Future]:
    """Reduce A_S [X, E, 1] over all partitions: one pass for every ``COLUMNS_AT_ONCE`` columns.

    Parameters
    ----------
    engine : Engine
    scores : Scores
    profiles : Profiles
    table : Future of list of LandmarkBlock
        All blocks of landmarks, in draw order.
    pieces : sequence over partitions of Pieces
        Rows of A_S.

    Returns
    -------
    sums : list of Future of ndarray of shape (n_landmarks, at most COLUMNS_AT_ONCE), float64
        Beside each other they have ``n_columns + 1`` columns.
    """
    n_columns = profiles.n_columns(scores.projection.n_components) + 1
    return sum_columns(
        engine,
        "sums",
        _sum_partition,
        add_arrays,
        scores,
        profiles,
        table,
        pieces,
        cut_columns(n_columns, COLUMNS_AT_ONCE),
    )


@task
def _sum_partition(
    argument: Any,
    both: Sequence[Any],
    pieces: Sequence[AffinityRows | None],
    table: Sequence[LandmarkBlock],
    columns: slice,
) -> NDArray[np.float64]:
    part = PartitionRows(argument, both, pieces, table)
    total = array_sum()
    for tile in range(part.tiles.n_tiles):
        of_tile = np.zeros((part.n_landmarks, columns.stop - columns.start))
        values = np.ascontiguousarray(part.values(tile)[:, columns])
        landmark_sums(part.affinities(tile), values, of_tile)
        total.push(of_tile)
    return total.total()
