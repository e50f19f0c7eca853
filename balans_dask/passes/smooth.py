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

from balans_dask.kernels.affinity import AffinityRows, kept_affinities
from balans_dask.kernels.batch_tiles import BatchTiles
from balans_dask.kernels.landmarks import LandmarkBlock
from balans_dask.kernels.smooth import landmark_sums, nearest_landmark, spread_to_rows
from balans_dask.passes.engine import Engine, task
from balans_dask.passes.scores import Scores, as_tiles
from balans_dask.passes.sources import RowSource, read_rows
from balans_dask.tiling import TILE_ROWS, PairwiseSum, Partition, tile_slices, tree_sum

__all__ = [
    "COLUMNS_AT_ONCE",
    "SCORES",
    "Profiles",
    "RowSink",
    "SmoothedRows",
    "output_dtype",
    "smooth_one",
    "smooth_rows",
    "sum_rows",
]

COLUMNS_AT_ONCE = 1024
"""Columns that a task sums together: bounds the partial sums that its tree keeps alive."""

SCORES = "scores"


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
class Profiles:
    """What is corrected.

    Attributes
    ----------
    features : RowSource
        The profiles as the user knows them.
    constant : ndarray of shape (n_features,), bool
        Features that stay exactly as they are.
    embedding : RowSource or None
        A second matrix to correct with the same weights.
    embed_scores : bool
        The second matrix is the scores themselves.
    """

    features: RowSource
    constant: NDArray[np.bool_]
    embedding: RowSource | None = None
    embed_scores: bool = False

    def arguments(self, start: int, stop: int) -> tuple[Any, Any]:
        """Return what a task needs to read both matrices."""
        second: Any = SCORES if self.embed_scores else None
        if self.embedding is not None:
            second = self.embedding.rows(start, stop)
        return self.features.rows(start, stop), second


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


def sum_rows(
    engine: Engine,
    scores: Scores,
    profiles: Profiles,
    table: Future,
    pieces: Sequence[Sequence[Future | None]],
) -> Future:
    """Reduce A_S [X, E, 1] over all partitions.

    Parameters
    ----------
    engine : Engine
    scores : Scores
    profiles : Profiles
    table : Future of list of LandmarkBlock
        All blocks of landmarks, in draw order.
    pieces : sequence over partitions of sequence over blocks of Future or None
        Kept rows of A_S; ``None`` where they were not kept and are computed again.

    Returns
    -------
    sums : Future of ndarray of shape (n_landmarks, n_columns + 1), float64
    """
    both = [profiles.arguments(part.start, part.stop) for part in scores.partitions]
    futures = engine.map(
        "sums",
        _sum_partition,
        scores.arguments(),
        [list(pair) for pair in both],
        [list(of_partition) for of_partition in pieces],
        [table] * len(both),
    )
    return engine.reduce("sums-merge", futures, _add, arity=2)


def smooth_rows(
    engine: Engine,
    scores: Scores,
    profiles: Profiles,
    partitions: Sequence[Partition],
    table: Future,
    pieces: Sequence[Sequence[Future | None]],
    sums: Future,
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
        [sums] * n,
        [profiles.constant] * n,
        [keep_uncovered] * n,
        [sink] * n,
    )


class _PartitionRows:
    """One partition inside a task: its values by tile, and its rows of A_S by tile."""

    def __init__(
        self,
        argument: Any,
        both: Sequence[Any],
        pieces: Sequence[AffinityRows | None],
        table: Sequence[LandmarkBlock],
    ) -> None:
        self.tiles: BatchTiles = as_tiles(argument)
        self.features = read_rows(both[0])
        second = both[1]
        if isinstance(second, str):
            second = np.concatenate(
                [self.tiles.tile_in_input_order(t) for t in range(self.tiles.n_tiles)]
            )[: self.tiles.n_rows]
        elif second is not None:
            second = read_rows(second)
        self.embedding: NDArray[np.number] | None = second
        self.blocks = [block.for_batches(self.tiles.batches) for block in table]
        self._pieces = pieces
        self.slices = tile_slices(self.tiles.n_rows)

    @property
    def n_landmarks(self) -> int:
        return sum(block.n_landmarks for block in self.blocks)

    @property
    def n_columns(self) -> int:
        both = [self.features] if self.embedding is None else [self.features, self.embedding]
        return sum(int(matrix.shape[1]) for matrix in both)

    def values(self, tile: int) -> NDArray[np.float64]:
        """Columns of one tile: features, embedding, ones."""
        rows = self.slices[tile]
        columns = [self.features[rows]]
        if self.embedding is not None:
            columns.append(self.embedding[rows])
        columns.append(np.ones((rows.stop - rows.start, 1)))
        return np.concatenate(columns, axis=1, dtype=np.float64)

    def affinities(self, tile: int) -> list[AffinityRows]:
        """Rows of A_S over one tile, computed again where no piece was kept."""
        return [
            kept_affinities(self.tiles, block, tile) if piece is None else piece.tile(tile)
            for block, piece in zip(self.blocks, self._pieces, strict=True)
        ]

    def nearest_landmarks(
        self, tile: int, rows: NDArray[np.intp], usable: NDArray[np.intp]
    ) -> NDArray[np.intp]:
        """Among usable landmarks, the one of smallest u for some rows of a tile."""
        local_batch = np.empty(TILE_ROWS, dtype=np.intp)
        order = self.tiles.order[tile]
        for start, stop, batch in self.tiles.runs_of(tile):
            local_batch[order[start:stop]] = batch
        landmarks = np.concatenate([block.scores[: block.n_landmarks] for block in self.blocks])
        scales = np.concatenate([block.scales for block in self.blocks])
        found = nearest_landmark(
            self.tiles.tile_in_input_order(tile)[rows],
            local_batch[rows],
            landmarks[usable],
            scales[usable],
        )
        return usable[found]


@task
def _sum_partition(
    argument: Any,
    both: Sequence[Any],
    pieces: Sequence[AffinityRows | None],
    table: Sequence[LandmarkBlock],
) -> NDArray[np.float64]:
    part = _PartitionRows(argument, both, pieces, table)
    n_columns = part.n_columns + 1
    sums = np.empty((part.n_landmarks, n_columns))
    for first in range(0, n_columns, COLUMNS_AT_ONCE):
        columns = slice(first, min(first + COLUMNS_AT_ONCE, n_columns))
        total: PairwiseSum[NDArray[np.float64]] = PairwiseSum(_accumulate)
        for tile in range(part.tiles.n_tiles):
            of_tile = np.zeros((part.n_landmarks, columns.stop - columns.start))
            values = np.ascontiguousarray(part.values(tile)[:, columns])
            landmark_sums(part.affinities(tile), values, of_tile)
            total.push(of_tile)
        sums[:, columns] = total.total()
    return sums


@task
def _add(parts: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    return tree_sum(parts, np.add)


@task
def smooth_one(
    argument: Any,
    both: Sequence[Any],
    pieces: Sequence[AffinityRows | None],
    table: Sequence[LandmarkBlock],
    sums: NDArray[np.float64],
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
    sums : ndarray of shape (n_landmarks, n_columns + 1), float64
        A_S [X, E, 1].
    constant : ndarray of shape (n_features,), bool
    keep_uncovered : bool
    sink : RowSink or None

    Returns
    -------
    smoothed : SmoothedRows or None
        The rows, unless a sink took them.
    """
    part = _PartitionRows(argument, both, pieces, table)
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
    part: _PartitionRows,
    tile: int,
    before: NDArray[np.float64],
    sums: NDArray[np.float64],
    keep_uncovered: bool,
) -> NDArray[np.float64]:
    """Weighted means of the landmarks' sums; rows without a landmark as the user asked."""
    spread = np.zeros((len(before), sums.shape[1]))
    spread_to_rows(part.affinities(tile), sums, spread)
    weight = spread[:, -1]
    covered = weight > 0.0
    after = np.where(
        covered[:, None], spread[:, :-1] / np.where(covered, weight, 1.0)[:, None], before
    )
    uncovered = np.flatnonzero(~covered)
    usable = np.flatnonzero(sums[:, -1] > 0.0)
    if keep_uncovered or not len(uncovered) or not len(usable):
        return after
    nearest = part.nearest_landmarks(tile, uncovered, usable)
    after[uncovered] = sums[nearest, :-1] / sums[nearest, -1:]
    return after


def output_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Type of corrected values: the input's, or the floats that hold its integers."""
    return np.result_type(dtype, np.float32)


def _accumulate(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.add(a, b, out=a)
