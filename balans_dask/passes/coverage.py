"""Coverage stays on the workers; the driver gets a round's figures and the rows of the next draw.

The coverage of a partition after a round is a result like any other: a function of the one before
and of the round's rows of A_S. Of a lost worker, it is computed again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from balans_dask.kernels.affinity import AffinityRows, kept_affinities
from balans_dask.kernels.batch_tiles import BatchTiles
from balans_dask.kernels.coverage import (
    Draw,
    DrawnRows,
    Reach,
    RowCoverage,
    add_coverage,
    draw_rows,
    first_of,
    no_coverage,
)
from balans_dask.kernels.landmarks import LandmarkBlock
from balans_dask.kernels.operators import Nystrom, Operator, covered_by
from balans_dask.passes.engine import Engine, Future, task
from balans_dask.passes.profiles import Landmarks, PartitionAffinities
from balans_dask.passes.scores import Scores, as_tiles

__all__ = [
    "Report",
    "cover",
    "cover_again",
    "coverage_of_rows",
    "covered_rows",
    "report",
    "uncovered",
]


@dataclass(frozen=True)
class Report:
    """What a block has done, over some partitions or all, and which rows are next.

    Attributes
    ----------
    reach : Reach
    piece_bytes : int
        Memory of the block's rows of A_S.
    n_open : int
        Rows that nothing covers after it and that can be drawn.
    drawn : DrawnRows
    """

    reach: Reach
    piece_bytes: int
    n_open: int
    drawn: DrawnRows


def uncovered(engine: Engine, scores: Scores) -> list[Future]:
    """Begin a fit: nothing is covered.

    Returns
    -------
    coverage : list over partitions of Future of RowCoverage
    """
    parts, reference = scores.partitions, scores.reference
    return engine.map(
        "uncovered",
        _uncovered_chunk,
        [part.start for part in parts],
        [part.n_rows for part in parts],
        [None if reference is None else reference[part.start : part.stop] for part in parts],
    )


def cover(
    engine: Engine, coverage: Sequence[Future], rows: NDArray[np.int64], pieces: Sequence[Future]
) -> list[Future]:
    """Add what a block covers; the coverage before it stays as it is.

    Parameters
    ----------
    rows : ndarray of shape (n_landmarks,), int64
        Of the block.
    pieces : sequence over partitions of Future of AffinityRows
        Of the block.
    """
    return engine.map("cover", _cover_chunk, coverage, [rows] * len(pieces), pieces)


def cover_again(
    engine: Engine,
    scores: Scores,
    coverage: Sequence[Future],
    table: Future,
    pieces: Sequence[Future],
) -> list[Future]:
    """Add what many blocks cover, as a resumed run needs it.

    Parameters
    ----------
    pieces : sequence over partitions of Future of list of AffinityRows or None
        By ``affinity_rows_again``; what is not kept is computed block by block.
    """
    return engine.map(
        "cover-again",
        _cover_again_chunk,
        coverage,
        scores.tiles_sources(),
        [table] * len(pieces),
        pieces,
    )


def report(engine: Engine, scores: Scores, coverage: Sequence[Future], draw: Draw) -> Report:
    """Bring to the driver what the last block has done, and the rows of the next draw.

    Parameters
    ----------
    scores : Scores
        Where they are kept, the rows come with their coordinates; to make them again for a few
        rows of every partition would cost a pass.
    """
    n = len(coverage)
    kept = [None] * n if scores.cached is None else scores.cached
    leaves = engine.leaves("report", _report_chunk, coverage, kept, [draw] * n)
    found: Report = engine.collect("report-merge", leaves, partial(_report_combine, size=draw.size))
    return found


def coverage_of_rows(
    engine: Engine, coverage: Sequence[Future], rows: NDArray[np.int64] | None = None
) -> NDArray[np.float64]:
    """Bring coverage to the driver.

    Parameters
    ----------
    rows : ndarray of shape (n,), int64, or None
        Global row numbers, in increasing order; ``None`` for all rows.
    """
    futures = engine.map("cover-rows", _coverage_chunk, coverage, [rows] * len(coverage))
    return np.concatenate(engine.take(futures))


@task
def _uncovered_chunk(start: int, n_rows: int, reference: NDArray[np.bool_] | None) -> RowCoverage:
    return no_coverage(start, n_rows, reference)


@task
def _cover_chunk(before: RowCoverage, rows: NDArray[np.int64], piece: AffinityRows) -> RowCoverage:
    return add_coverage(before, rows, piece)


@task
def _cover_again_chunk(
    coverage: RowCoverage,
    tiles_source: Any,
    table: Sequence[LandmarkBlock],
    pieces: Sequence[AffinityRows | None],
) -> RowCoverage:
    tiles: BatchTiles | None = None
    for block, piece in zip(table, pieces, strict=True):
        if piece is None:
            tiles = tiles or as_tiles(tiles_source)
            piece = kept_affinities(tiles, block)
        coverage = add_coverage(coverage, block.rows, piece)
    return replace(coverage, piece_bytes=sum(piece.nbytes for piece in pieces if piece is not None))


@task
def _report_chunk(coverage: RowCoverage, tiles_source: Any, draw: Draw) -> Report:
    drawn = draw_rows(draw, coverage)
    if tiles_source is not None:
        drawn = drawn.with_scores(as_tiles(tiles_source).rows(drawn.rows))
    return Report(coverage.reach, coverage.piece_bytes, coverage.n_open, drawn)


@task
def _report_combine(parts: Sequence[Report], size: int) -> Report:
    reach = Reach(
        np.add.reduce([part.reach.n_kept for part in parts]),
        np.add.reduce([part.reach.n_new for part in parts]),
    )
    drawn = first_of([part.drawn for part in parts], size)
    return Report(
        reach,
        sum(part.piece_bytes for part in parts),
        sum(part.n_open for part in parts),
        drawn,
    )


@task
def _coverage_chunk(coverage: RowCoverage, rows: NDArray[np.int64] | None) -> NDArray[np.float64]:
    return coverage.coverage if rows is None else coverage.coverage[coverage.here(rows)]


def covered_rows(
    engine: Engine, scores: Scores, landmarks: Landmarks, operator: Operator
) -> NDArray[np.bool_]:
    """Tell which rows an operator covers.

    Parameters
    ----------
    operator : Operator
        Of futures.

    Returns
    -------
    covered : ndarray of shape (n_rows,), bool
    """
    # Only a pseudo-inverse makes weights that may cancel.
    cancels = operator.spread[-1:] if isinstance(operator, Nystrom) else []
    weights = engine.map("weights", _last_column_chunk, cancels) if cancels else []
    n = len(scores.partitions)
    futures = engine.map(
        "covered",
        _covered_chunk,
        scores.tiles_sources(),
        map(landmarks.arguments, range(n)),
        [weights] * n,
    )
    return np.concatenate(engine.take(futures))


@task
def _last_column_chunk(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.ascontiguousarray(sums[:, -1:])


@task
def _covered_chunk(
    tiles_source: Any, landmarks: Sequence[Any], weights: Sequence[NDArray[np.float64]]
) -> NDArray[np.bool_]:
    part = PartitionAffinities(tiles_source, landmarks)
    covered = np.empty(part.tiles.n_rows, dtype=bool)
    for tile, place in enumerate(part.slices):
        n_rows = place.stop - place.start
        covered[place] = covered_by(part.affinities(tile), n_rows, *weights)
    return covered
