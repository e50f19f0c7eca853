"""Pass 1 of a round: the k nearest rows of every batch, merged over partitions."""

from collections.abc import Sequence
from typing import Any

from balans_dask.kernels.landmarks import LandmarkBlock
from balans_dask.kernels.local_scale import (
    SCALE_FLOOR,
    NearestByBatch,
    cap_scales,
    merge_nearest,
    nearest_by_batch,
    squared_scales,
)
from balans_dask.passes.engine import Engine, task
from balans_dask.passes.scores import Scores, as_tiles

__all__ = ["local_scales"]


def local_scales(
    engine: Engine,
    scores: Scores,
    block: LandmarkBlock,
    n_neighbors: int,
    max_scale_ratio: float | None,
) -> LandmarkBlock:
    """Give a block of landmarks its local scales.

    Parameters
    ----------
    engine : Engine
    scores : Scores
    block : LandmarkBlock
    n_neighbors : int
        k of the paper.
    max_scale_ratio : float or None
        Cap on the scales of a row, in units of its smallest.
    """
    arguments = scores.arguments()
    n = len(arguments)
    futures = engine.map("scales", _nearest, arguments, [block] * n, [n_neighbors] * n)
    nearest: NearestByBatch = engine.collect("scales-merge", futures, _merge)
    scales = squared_scales(nearest, SCALE_FLOOR * scores.projection.total_variance)
    return block.with_scales(cap_scales(scales, nearest, max_scale_ratio))


@task
def _nearest(argument: Any, block: LandmarkBlock, n_neighbors: int) -> NearestByBatch:
    return nearest_by_batch(as_tiles(argument), block, n_neighbors)


@task
def _merge(parts: Sequence[NearestByBatch]) -> NearestByBatch:
    return merge_nearest(parts)
