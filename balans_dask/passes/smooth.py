"""The corrector X_hat = D^-1 A_S^T (A_S X): a reduction over partitions, then a map.

The same weights correct the original features and the embedding in which distances were taken, so
both stand side by side as columns, followed by a column of ones that gives the row sums.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from distributed import Future
from numpy.typing import NDArray

from balans_dask.kernels.affinity import AffinityRows
from balans_dask.kernels.landmarks import LandmarkBlock
from balans_dask.kernels.smooth import nearest_landmarks, spread_to_rows
from balans_dask.passes.engine import Engine, task
from balans_dask.passes.profiles import PartitionRows, Profiles, output_dtype
from balans_dask.passes.rows import Pieces
from balans_dask.passes.scores import Scores
from balans_dask.tiling import Partition

__all__ = ["RowSink", "SmoothedRows", "smooth_one", "smooth_rows"]


class RowSink(Protocol):
    """Where a task puts the corrected rows of its partition."""

    def write(
        self,
        start: int,
        features: NDArray[np.floating],
        embedding: NDArray[np.floating] | None,
        displacement: NDArray[np.float32],
    ) -> None:
        """Store consecutive rows that begin at ``start``."""


@dataclass(frozen=True)
class SmoothedRows:
    """Corrected rows of one partition.

    Attributes
    ----------
    displacement : ndarray of shape (n_rows,), float32
        Euclidean distance by which each row moved in the embedding.
    features : ndarray of shape (n_rows, n_features)
    embedding : ndarray or None
        The second matrix, if there is one.
    """

    displacement: NDArray[np.float32]
    features: NDArray[np.floating]
    embedding: NDArray[np.floating] | None


def smooth_rows(
    engine: Engine,
    scores: Scores,
    profiles: Profiles,
    partitions: Sequence[Partition],
    table: Future,
    pieces: Sequence[Pieces],
    sums: Sequence[Future],
    keep_uncovered: bool,
    sink: RowSink | None,
) -> list[Future]:
    """Map A_S^T over partitions; each task writes its rows into the sink.

    Returns
    -------
    smoothed : list of Future of SmoothedRows, or of None
        The rows, unless a sink took them.
    """
    n = len(partitions)
    return engine.map(
        "smooth",
        smooth_one,
        [scores.argument(part) for part in partitions],
        [list(profiles.arguments(part.start, part.stop)) for part in partitions],
        [list(pieces[part.number]) for part in partitions],
        [table] * n,
        [list(sums)] * n,
        [profiles.constant] * n,
        [keep_uncovered] * n,
        [sink] * n,
        numbers=[part.number for part in partitions],
    )


@task
def smooth_one(
    argument: Any,
    both: Sequence[Any],
    pieces: Sequence[AffinityRows | None],
    table: Sequence[LandmarkBlock],
    sums: Sequence[NDArray[np.float64]],
    constant: NDArray[np.bool_],
    keep_uncovered: bool,
    sink: RowSink | None,
) -> SmoothedRows | None:
    """Correct the rows of one partition; the body of a task, and of a lazy array's chunk.

    Parameters
    ----------
    argument, both : object
        As ``Scores.argument`` and ``Profiles.arguments`` make them.
    pieces : sequence of AffinityRows or None
        One a block; ``None`` to compute it here.
    table : sequence of LandmarkBlock
    sums : sequence of ndarray of shape (n_landmarks, some columns), float64
        A_S [X, E, 1], cut by columns.
    constant : ndarray of shape (n_features,), bool
    keep_uncovered : bool
    sink : RowSink or None

    Returns
    -------
    smoothed : SmoothedRows or None
        The rows, unless a sink took them.
    """
    part = PartitionRows(argument, both, pieces, table)
    n_features = part.features.shape[1]
    features = np.empty_like(part.features, dtype=output_dtype(part.features.dtype))
    embedding = None
    if part.embedding is not None:
        embedding = np.empty_like(part.embedding, dtype=output_dtype(part.embedding.dtype))
    displacement = np.empty(part.tiles.n_rows, dtype=np.float32)
    for tile, rows in enumerate(part.slices):
        before = part.values(tile)[:, :-1]
        after = _smooth_tile(part, tile, before, sums, keep_uncovered)
        after[:, :n_features][:, constant] = before[:, :n_features][:, constant]
        features[rows] = after[:, :n_features]
        if embedding is not None:
            embedding[rows] = after[:, n_features:]
        moved = slice(0 if embedding is None else n_features, None)
        displacement[rows] = np.sqrt(np.square(after[:, moved] - before[:, moved]).sum(axis=1))
    if sink is None:
        return SmoothedRows(displacement, features, embedding)
    sink.write(part.tiles.start, features, embedding, displacement)
    return None


def _smooth_tile(
    part: PartitionRows,
    tile: int,
    before: NDArray[np.float64],
    sums: Sequence[NDArray[np.float64]],
    keep_uncovered: bool,
) -> NDArray[np.float64]:
    """Weighted means of the landmarks' sums; rows without a landmark as the user asked."""
    affinities = part.affinities(tile)
    blocks = [np.zeros((len(before), columns.shape[1])) for columns in sums]
    for columns, block in zip(sums, blocks, strict=True):
        spread_to_rows(affinities, columns, block)
    spread = np.concatenate(blocks, axis=1)
    weight = spread[:, -1]
    covered = weight > 0.0
    after = np.where(
        covered[:, None], spread[:, :-1] / np.where(covered, weight, 1.0)[:, None], before
    )
    uncovered = np.flatnonzero(~covered)
    if keep_uncovered or not len(uncovered):
        return after
    nearest = nearest_landmarks(part.tiles, tile, uncovered, part.table)
    of_nearest = np.concatenate([columns[nearest] for columns in sums], axis=1)
    after[uncovered] = of_nearest[:, :-1] / of_nearest[:, -1:]
    return after
