"""Pass 3 of a round: rows of A_S. The entries stay on the workers; the driver gets coverage."""

from typing import Any

from distributed import Future

from balans_dask.kernels.affinity import AffinityRows, kept_affinities
from balans_dask.kernels.coverage import CoverageGain, coverage_gain
from balans_dask.kernels.landmarks import LandmarkBlock
from balans_dask.passes.engine import Engine, task
from balans_dask.passes.scores import Scores, as_tiles

__all__ = ["affinity_rows", "coverage_gains", "first_rows"]


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


def first_rows(engine: Engine, pieces: list[Future], n_landmarks: int) -> list[Future]:
    """Keep the first landmarks, in draw order, of every piece."""
    return engine.map("rows-first", _first, pieces, [n_landmarks] * len(pieces))


def coverage_gains(engine: Engine, scores: Scores, pieces: list[Future]) -> list[CoverageGain]:
    """Bring to the driver what each piece adds to coverage."""
    parts = scores.partitions
    futures = engine.map(
        "coverage", _gain, [p.start for p in parts], [p.n_rows for p in parts], pieces
    )
    return engine.gather(futures)


@task
def _kept(argument: Any, block: LandmarkBlock) -> AffinityRows:
    return kept_affinities(as_tiles(argument), block)


@task
def _first(piece: AffinityRows, n_landmarks: int) -> AffinityRows:
    return piece.first(n_landmarks)


@task
def _gain(start: int, n_rows: int, piece: AffinityRows) -> CoverageGain:
    return coverage_gain(start, n_rows, piece)
