"""Pass 3 of a round: rows of A_S, which stay on the workers."""

from collections.abc import Sequence
from typing import Any, TypeAlias

from distributed import Future

from balans_dask.kernels.affinity import AffinityRows, kept_affinities
from balans_dask.kernels.landmarks import LandmarkBlock
from balans_dask.passes.engine import Engine, task
from balans_dask.passes.scores import Scores, as_tiles

__all__ = ["Pieces", "affinity_rows", "affinity_rows_again", "first_rows"]

Pieces: TypeAlias = Sequence[Future | None]
"""Rows of A_S over one partition, in draw order: each a future of the ``AffinityRows`` of a block,
a future of those of several blocks, or ``None`` for a block whose rows were not kept."""


def affinity_rows(engine: Engine, scores: Scores, block: LandmarkBlock) -> list[Future]:
    """Compute the rows of A_S of a block, one piece a partition, and leave them on the workers.

    Parameters
    ----------
    engine : Engine
    scores : Scores
    block : LandmarkBlock
        With its scales and thresholds.
    """
    blocks = [block.for_batches(batches) for batches in scores.batches]
    return engine.map("rows", _kept, scores.arguments(), blocks)


def affinity_rows_again(
    engine: Engine, scores: Scores, table: Future, n_blocks: int, n_bytes: int
) -> list[Future]:
    """Compute the rows of A_S of the first blocks in one pass, as a resumed run needs them.

    Parameters
    ----------
    engine : Engine
    scores : Scores
    table : Future of list of LandmarkBlock
    n_blocks : int
    n_bytes : int
        Memory that they may take on all workers together; the rest is left out.

    Returns
    -------
    pieces : list over partitions of Future of list of AffinityRows or None
    """
    n = len(scores.partitions)
    return engine.map(
        "rows-again",
        _kept_again,
        scores.arguments(),
        [table] * n,
        [n_blocks] * n,
        [n_bytes // n] * n,
    )


def first_rows(engine: Engine, pieces: list[Future], n_landmarks: int) -> list[Future]:
    """Keep the first landmarks, in draw order, of every piece; releases the whole ones."""
    first = engine.map("rows-first", _first, pieces, [n_landmarks] * len(pieces))
    engine.release(pieces)
    return first


@task
def _kept(argument: Any, block: LandmarkBlock) -> AffinityRows:
    return kept_affinities(as_tiles(argument), block)


@task
def _kept_again(
    argument: Any, table: Sequence[LandmarkBlock], n_blocks: int, n_bytes: int
) -> list[AffinityRows | None]:
    tiles = as_tiles(argument)
    pieces: list[AffinityRows | None] = []
    for block in table[:n_blocks]:
        piece = kept_affinities(tiles, block)
        if piece.nbytes > n_bytes:
            break
        n_bytes -= piece.nbytes
        pieces.append(piece)
    return pieces + [None] * (n_blocks - len(pieces))


@task
def _first(piece: AffinityRows, n_landmarks: int) -> AffinityRows:
    return piece.first(n_landmarks)
