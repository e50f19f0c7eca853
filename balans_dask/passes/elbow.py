"""Pass 2 of a round: histograms of u, summed over partitions, and the elbow of every row."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from balans_dask.kernels.elbow import N_BINS, elbow_thresholds, scaled_distance_counts
from balans_dask.kernels.landmarks import LandmarkBlock
from balans_dask.passes.engine import Engine, task
from balans_dask.passes.scores import Scores, as_tiles

__all__ = ["elbows"]


def elbows(
    engine: Engine, scores: Scores, block: LandmarkBlock, max_neighbors: int | None
) -> LandmarkBlock:
    """Give a block of landmarks its thresholds.

    Parameters
    ----------
    engine : Engine
    scores : Scores
    block : LandmarkBlock
        With its scales.
    max_neighbors : int or None
        Cap on the entries of a row.

    Notes
    -----
    Where scales come from anchor rows alone, they say nothing of how dense other rows lie: there is
    no elbow then, and all affinities count up to the last bin.
    """
    by_anchors = scores.reference is not None
    if by_anchors and max_neighbors is None:
        return block.with_thresholds(np.full(block.n_landmarks, N_BINS))
    blocks = [block.for_batches(batches) for batches in scores.batches]
    futures = engine.map("elbow", _counts, scores.arguments(), blocks)
    counts = engine.collect("elbow-sum", futures, _add)
    thresholds = elbow_thresholds(counts, scores.tiling.n_rows, max_neighbors, not by_anchors)
    return block.with_thresholds(thresholds)


@task
def _counts(argument: Any, block: LandmarkBlock) -> NDArray[np.uint32]:
    return scaled_distance_counts(as_tiles(argument), block)


@task
def _add(parts: Sequence[NDArray[np.integer]]) -> NDArray[np.int64]:
    total = np.zeros(parts[0].shape, dtype=np.int64)
    for part in parts:
        total += part
    return total
