"""Pass 1 of a round: the k nearest rows of every batch, merged over partitions."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from balans_dask.kernels.landmarks import LandmarkBlock
from balans_dask.kernels.local_scale import (
    SCALE_FLOOR,
    NearestByBatch,
    guard_scales,
    held_within,
    merge_nearest,
    nearest_by_batch,
    squared_scales,
)
from balans_dask.passes.engine import Engine, task
from balans_dask.passes.scores import Scores, as_tiles

__all__ = ["local_scales", "new_scales"]

NEAREST_BYTES = 16 * 2**20
"""Nearest rows of new batches that one task may return."""


def local_scales(
    engine: Engine,
    scores: Scores,
    block: LandmarkBlock,
    n_neighbors: int,
    max_scale_ratio: float | str | None,
) -> LandmarkBlock:
    """Give a block of landmarks its local scales.

    Parameters
    ----------
    engine : Engine
    scores : Scores
    block : LandmarkBlock
    n_neighbors : int
        k of the paper.
    max_scale_ratio : float, "auto" or None
        The guard's limit on the scales of a row.
    """
    arguments = scores.arguments()
    n = len(arguments)
    futures = engine.map("scales", _nearest, arguments, [block] * n, [n_neighbors] * n)
    nearest: NearestByBatch = engine.collect("scales-merge", futures, _merge)
    total_variance = scores.projection.total_variance
    scales = squared_scales(nearest, SCALE_FLOOR * total_variance)
    guarded = guard_scales(scales, nearest, max_scale_ratio, total_variance)
    return block.with_scales(guarded.squared).with_guard(guarded.limits, guarded.capped)


def new_scales(
    engine: Engine,
    scores: Scores,
    blocks: Sequence[LandmarkBlock],
    n_neighbors: int,
    max_scale_ratio: float | str | None,
    n_known: int,
) -> list[NDArray[np.float64]]:
    """Local scales of frozen landmarks in batches that the fit has not seen.

    Parameters
    ----------
    engine : Engine
    scores : Scores
        Of the new rows; reference rows are those of new batches.
    blocks : sequence of LandmarkBlock
        As ``for_new_rows`` makes them: none of their rows is here.
    n_neighbors : int
        k of the paper.
    max_scale_ratio : float, "auto" or None
        Of the fit: its limits hold new batches too.
    n_known : int
        Batches of the fit; those of higher codes are new.

    Returns
    -------
    scales : list over blocks of ndarray of shape (n_landmarks, n_new_batches), float64
        Squared.
    """
    arguments = scores.arguments()
    n, n_new = len(arguments), scores.n_batches - n_known
    floor = SCALE_FLOOR * scores.projection.total_variance
    at_once = max(1, NEAREST_BYTES // (8 * blocks[0].block_rows * n_new * n_neighbors))
    scales = []
    for first in range(0, len(blocks), at_once):
        some = list(blocks[first : first + at_once])
        futures = engine.map(
            "new-scales", _nearest_of_all, arguments, [some] * n, [n_neighbors] * n
        )
        nearest: NearestByBatch = engine.collect("scales-merge", futures, _merge)
        stops = np.cumsum([block.n_landmarks for block in some])
        limits = np.concatenate([block.limits for block in some])
        held = held_within(squared_scales(nearest, floor), limits, max_scale_ratio)
        scales += np.split(held, stops[:-1])
    return scales


@task
def _nearest_of_all(
    argument: Any, blocks: Sequence[LandmarkBlock], n_neighbors: int
) -> NearestByBatch:
    tiles = as_tiles(argument)
    here = tiles.reference_batches
    squared = [nearest_by_batch(tiles, block, n_neighbors).squared[:, here] for block in blocks]
    return NearestByBatch(tiles.batches[here], np.concatenate(squared))


@task
def _nearest(argument: Any, block: LandmarkBlock, n_neighbors: int) -> NearestByBatch:
    return nearest_by_batch(as_tiles(argument), block, n_neighbors)


@task
def _merge(parts: Sequence[NearestByBatch]) -> NearestByBatch:
    return merge_nearest(parts)
