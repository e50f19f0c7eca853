"""The passes of a round: local scales, then the landmarks' rows of A_S, and elbows between them.

With ``align`` elbows are found on a sample of the rows, and take no pass over all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from balans_dask.kernels.affinity import AffinityRows, kept_affinities
from balans_dask.kernels.batch_tiles import BatchTiles, tile_by_batch
from balans_dask.kernels.coverage import elbow_rows
from balans_dask.kernels.elbow import N_BINS, elbow_thresholds, scaled_distance_counts
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
from balans_dask.passes.engine import Engine, Future, task
from balans_dask.passes.scores import Scores, as_tiles, pick_landmarks

__all__ = [
    "ElbowSample",
    "Pieces",
    "affinity_rows",
    "affinity_rows_again",
    "elbows",
    "first_rows",
    "local_scales",
    "new_scales",
]

NEAREST_BYTES = 16 * 2**20
"""Nearest rows of new batches that one task may return."""
Pieces: TypeAlias = Sequence[Future | None]
"""Rows of A_S over one partition, in draw order: each a future of the ``AffinityRows`` of a block,
a future of those of several blocks, or ``None`` for a block whose rows were not kept."""


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
    n_neighbors : int
        k of the paper.
    max_scale_ratio : float, "auto" or None
        The guard's limit on the scales of a row.
    """
    sources = scores.tiles_sources()
    n = len(sources)
    leaves = engine.leaves("scales", _nearest_chunk, sources, [block] * n, [n_neighbors] * n)
    nearest: NearestByBatch = engine.collect("scales-merge", leaves, _nearest_combine)
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
    sources = scores.tiles_sources()
    n, n_new = len(sources), scores.n_batches - n_known
    floor = SCALE_FLOOR * scores.projection.total_variance
    at_once = max(1, NEAREST_BYTES // (8 * blocks[0].block_rows * n_new * n_neighbors))
    scales = []
    for first in range(0, len(blocks), at_once):
        some = list(blocks[first : first + at_once])
        leaves = engine.leaves(
            "new-scales", _nearest_of_all_chunk, sources, [some] * n, [n_neighbors] * n
        )
        nearest: NearestByBatch = engine.collect("scales-merge", leaves, _nearest_combine)
        stops = np.cumsum([block.n_landmarks for block in some])
        limits = np.concatenate([block.limits for block in some])
        held = held_within(squared_scales(nearest, floor), limits, max_scale_ratio)
        scales += np.split(held, stops[:-1])
    return scales


@task
def _nearest_of_all_chunk(
    tiles_source: Any, blocks: Sequence[LandmarkBlock], n_neighbors: int
) -> NearestByBatch:
    tiles = as_tiles(tiles_source)
    here = tiles.reference_batches
    squared = [nearest_by_batch(tiles, block, n_neighbors).squared[:, here] for block in blocks]
    return NearestByBatch(tiles.batches[here], np.concatenate(squared))


@task
def _nearest_chunk(tiles_source: Any, block: LandmarkBlock, n_neighbors: int) -> NearestByBatch:
    return nearest_by_batch(as_tiles(tiles_source), block, n_neighbors)


@task
def _nearest_combine(parts: Sequence[NearestByBatch]) -> NearestByBatch:
    return merge_nearest(parts)


@dataclass(frozen=True)
class ElbowSample:
    """Rows on which the elbows of a pass are found, where it need not look at all.

    Attributes
    ----------
    rows : ndarray of shape (n,), int64
        Increasing.
    tiles : Future of BatchTiles
        Their scores.
    """

    rows: NDArray[np.int64]
    tiles: Future

    @classmethod
    def draw(cls, engine: Engine, scores: Scores, seed: int, pass_number: int) -> "ElbowSample":
        """Draw the rows, and bring their scores together on a worker."""
        rows = elbow_rows(seed, pass_number, scores.tiling.n_rows)
        picked = pick_landmarks(engine, scores, rows)
        tiles = engine.map("elbow-sample", _sample_chunk, [picked], [scores.codes[rows]])
        return cls(rows, tiles[0])


def elbows(
    engine: Engine,
    scores: Scores,
    block: LandmarkBlock,
    max_neighbors: int | None,
    sample: ElbowSample | None,
) -> LandmarkBlock:
    """Give a block of landmarks its thresholds.

    Parameters
    ----------
    block : LandmarkBlock
        With its scales.
    max_neighbors : int or None
        Cap on the entries of a row.
    sample : ElbowSample or None
        ``None`` to count all rows.

    Notes
    -----
    Where scales come from anchor rows alone, they say nothing of how dense other rows lie: there is
    no elbow then, and all affinities count up to the last bin.
    """
    by_anchors = scores.reference is not None
    if by_anchors and max_neighbors is None:
        return block.with_thresholds(np.full(block.n_landmarks, N_BINS))
    if sample is not None:
        [counts] = engine.take(engine.map("elbow", _counts_chunk, [sample.tiles], [block]))
        # A landmark is its own neighbour, and the first one.
        beside = ~np.isin(block.rows, sample.rows)
        counts[beside, 0] += 1
        return block.with_thresholds(elbow_thresholds(counts, len(sample.rows) + beside))
    blocks = [block.for_batches(batches) for batches in scores.batches]
    leaves = engine.leaves("elbow", _counts_chunk, scores.tiles_sources(), blocks)
    counts = engine.collect("elbow-sum", leaves, _counts_combine)
    thresholds = elbow_thresholds(counts, scores.tiling.n_rows, max_neighbors, not by_anchors)
    return block.with_thresholds(thresholds)


@task
def _sample_chunk(scores: NDArray[np.float32], codes: NDArray[np.integer]) -> BatchTiles:
    return tile_by_batch(0, scores, codes)


@task
def _counts_chunk(tiles_source: Any, block: LandmarkBlock) -> NDArray[np.uint32]:
    return scaled_distance_counts(as_tiles(tiles_source), block)


@task
def _counts_combine(parts: Sequence[NDArray[np.integer]]) -> NDArray[np.int64]:
    total = np.zeros(parts[0].shape, dtype=np.int64)
    for part in parts:
        total += part
    return total


def affinity_rows(engine: Engine, scores: Scores, block: LandmarkBlock) -> list[Future]:
    """Compute the rows of A_S of a block, one piece a partition, and leave them on the workers.

    Parameters
    ----------
    block : LandmarkBlock
        With its scales and thresholds.
    """
    blocks = [block.for_batches(batches) for batches in scores.batches]
    return engine.map("rows", _affinity_rows_chunk, scores.tiles_sources(), blocks)


def affinity_rows_again(
    engine: Engine, scores: Scores, table: Future, n_blocks: int, n_bytes: int
) -> list[Future]:
    """Compute the rows of A_S of the first blocks in one pass, as a resumed run needs them.

    Parameters
    ----------
    n_bytes : int
        Memory that they may take on all workers together; the rest is left out.

    Returns
    -------
    pieces : list over partitions of Future of list of AffinityRows or None
    """
    n = len(scores.partitions)
    return engine.map(
        "rows-again",
        _affinity_rows_again_chunk,
        scores.tiles_sources(),
        [table] * n,
        [n_blocks] * n,
        [n_bytes // n] * n,
    )


def first_rows(engine: Engine, pieces: list[Future], n_landmarks: int) -> list[Future]:
    """Keep the first landmarks, in draw order, of every piece; releases the whole ones."""
    first = engine.map("rows-first", _first_rows_chunk, pieces, [n_landmarks] * len(pieces))
    engine.release(pieces)
    return first


@task
def _affinity_rows_chunk(tiles_source: Any, block: LandmarkBlock) -> AffinityRows:
    return kept_affinities(as_tiles(tiles_source), block)


@task
def _affinity_rows_again_chunk(
    tiles_source: Any, table: Sequence[LandmarkBlock], n_blocks: int, n_bytes: int
) -> list[AffinityRows | None]:
    tiles = as_tiles(tiles_source)
    pieces: list[AffinityRows | None] = []
    for block in table[:n_blocks]:
        piece = kept_affinities(tiles, block)
        if piece.nbytes > n_bytes:
            break
        n_bytes -= piece.nbytes
        pieces.append(piece)
    return pieces + [None] * (n_blocks - len(pieces))


@task
def _first_rows_chunk(piece: AffinityRows, n_landmarks: int) -> AffinityRows:
    return piece.first(n_landmarks)
