"""What the corrector works on: profiles beside scores, and one partition of both in a task."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from balans_dask.io.sources import Rows, RowSource
from balans_dask.kernels.affinity import AffinityRows, kept_affinities
from balans_dask.kernels.batch_tiles import BatchTiles, tile_by_batch
from balans_dask.kernels.evidence import evidence_weights
from balans_dask.kernels.landmarks import LandmarkBlock
from balans_dask.kernels.operators import TileRows
from balans_dask.kernels.projection import Projection
from balans_dask.passes.engine import Future
from balans_dask.passes.round import Pieces
from balans_dask.passes.scores import as_tiles, scores_of
from balans_dask.tiling import Partition, tile_slices

__all__ = [
    "SCORES",
    "Landmarks",
    "OriginRows",
    "PartitionAffinities",
    "PartitionRows",
    "Profiles",
    "output_dtype",
]

SCORES = "scores"


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

    def n_columns(self, n_components: int) -> int:
        """Count the columns of both matrices."""
        second = n_components if self.embed_scores else 0
        if self.embedding is not None:
            second = self.embedding.shape[1]
        return self.features.shape[1] + second

    def matrices(self, part: Partition) -> list[Any]:
        """Return what a task needs to read both matrices of a partition."""
        second: Any = SCORES if self.embed_scores else None
        if self.embedding is not None:
            second = self.embedding.rows(part.start, part.stop)
        return [self.features.rows(part.start, part.stop), second]


@dataclass(frozen=True)
class Landmarks:
    """Driver's handle on the landmarks of a pass, and on their rows of A_S.

    Attributes
    ----------
    rows : ndarray of shape (n_landmarks,), int64
        The landmarks' rows in the data set, in draw order; of a frozen model, in that of the fit.
    table : Future of list of LandmarkBlock
        Shared with all workers.
    pieces : sequence over partitions of Pieces
        Rows of A_S; a task computes again what was not kept.
    """

    rows: NDArray[np.int64]
    table: Future
    pieces: Sequence[Pieces]

    @property
    def n_landmarks(self) -> int:
        """Landmarks of all blocks."""
        return len(self.rows)

    def arguments(self, partition: int) -> list[Any]:
        """Return what a task hands to ``PartitionAffinities`` beside its scores."""
        return [list(self.pieces[partition]), self.table]


class PartitionAffinities:
    """Rows of A_S over one partition, inside a task, by tile.

    Parameters
    ----------
    tiles_source : object
        As ``Scores.tiles_source`` makes it.
    landmarks : object
        As ``Landmarks.arguments`` makes them: rows of A_S by block or by lists of blocks, ``None``
        to compute them here, and all blocks in draw order.
    """

    def __init__(self, tiles_source: Any, landmarks: Sequence[Any]) -> None:
        self._tiles_source = tiles_source
        pieces: Sequence[AffinityRows | Sequence[AffinityRows | None] | None]
        self.blocks: Sequence[LandmarkBlock]
        pieces, self.blocks = landmarks
        self._pieces: list[AffinityRows | None] = []
        for piece in pieces:
            self._pieces += [piece] if isinstance(piece, AffinityRows | None) else piece

    @cached_property
    def tiles(self) -> BatchTiles:
        """The scores, made here if they are not kept."""
        return as_tiles(self._tiles_source)

    @property
    def slices(self) -> list[slice]:
        """Rows of every tile."""
        return tile_slices(self.tiles.n_rows)

    @property
    def n_landmarks(self) -> int:
        """Landmarks of all blocks."""
        return sum(block.n_landmarks for block in self.blocks)

    def affinities(self, tile: int) -> list[AffinityRows]:
        """Rows of A_S over one tile, computed again where no piece was kept."""
        return [
            kept_affinities(self.tiles, block, tile) if piece is None else piece.tile(tile)
            for block, piece in zip(self.blocks, self._pieces, strict=True)
        ]

    def weights(
        self, tile: int, affinities: Sequence[AffinityRows], evidence: Sequence[Any], power: float
    ) -> Sequence[AffinityRows]:
        """Rows of A_S times a power of their evidence; of none, as they are."""
        if not evidence:
            return affinities
        units, least = evidence
        return evidence_weights(self.tiles, tile, self.blocks, affinities, units, least, power)

    def batches(self, tile: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Code of every row's batch in one tile, and its place among the reference batches here.

        The second is -1 for rows that are no reference rows.
        """
        order = self.tiles.order[tile]
        batch = np.empty(len(order), dtype=np.intp)
        reference = np.full(len(order), -1, dtype=np.intp)
        places = self.tiles.reference_batches
        for start, stop, local, _ in self.tiles.runs_of(tile):
            here, counts = order[start:stop], self.tiles.reference[tile, start:stop]
            batch[here] = self.tiles.batches[local]
            reference[here[counts]] = np.searchsorted(places, local)
        n_rows = self.slices[tile].stop - self.slices[tile].start
        return batch[:n_rows], reference[:n_rows]


class PartitionRows(PartitionAffinities):
    """One partition inside a task: its values by tile, and its rows of A_S by tile.

    Parameters
    ----------
    tiles_source, landmarks : object
        As ``PartitionAffinities`` takes them.
    matrices : object
        As ``Profiles.matrices`` makes them.
    embeds : bool
        Where the second matrix is that of the scores, it takes this step too.
    """

    def __init__(
        self,
        tiles_source: Any,
        matrices: Sequence[Any],
        landmarks: Sequence[Any],
        embeds: bool = True,
    ) -> None:
        super().__init__(tiles_source, landmarks)
        self.features = matrices[0].read()
        second = matrices[1]
        self._has_scores = isinstance(second, str)
        self._embeds = embeds
        self._given = None if second is None or self._has_scores else second.read()

    @cached_property
    def tiles(self) -> BatchTiles:
        """The scores, made here of what is read anyway if they are not kept."""
        if isinstance(self._tiles_source, BatchTiles):
            return self._tiles_source
        _, start, (codes, reference), _ = self._tiles_source
        return tile_by_batch(start, self._scores, codes, reference)

    @cached_property
    def _scores(self) -> NDArray[np.float32]:
        """Scores in input order."""
        if isinstance(self._tiles_source, BatchTiles):
            return self.tiles.rows_in_input_order()
        scored = self.features if self._given is None else self._given
        return scores_of(scored, self._tiles_source[-1])

    @property
    def embedding(self) -> NDArray[np.number] | None:
        """The second matrix, if there is one that takes this step."""
        return self._scores if self._has_scores and self._embeds else self._given

    @property
    def start(self) -> int:
        """Number of the first row."""
        source = self._tiles_source
        return source.start if isinstance(source, BatchTiles) else int(source[1])

    @property
    def slices(self) -> list[slice]:
        """Rows of every tile."""
        return tile_slices(len(self.features))

    def moved(
        self,
        features: NDArray[np.floating],
        embedding: NDArray[np.floating] | None,
        landmarks: Sequence[Any],
        embeds: bool,
    ) -> "PartitionRows":
        """Return the same rows after a step, as the next one meets them; scores are made anew."""
        matrices = [_in_memory(features), self._second(embedding)]
        return PartitionRows(self._tiles_source, matrices, landmarks, embeds)

    def as_origin(self) -> list[Any]:
        """Return what ``OriginRows`` takes, of these rows."""
        second = self._second(self.embedding)
        return [_in_memory(self.features), second, self._tiles_source[-1]]

    def _second(self, embedding: NDArray[np.number] | None) -> Any:
        if self._has_scores:
            return SCORES
        return None if embedding is None else _in_memory(embedding)

    def rows_by_batch(self, tile: int) -> TileRows:
        """Rows of one tile for what moves whole batches: without landmarks, or scores for them."""
        source, place = self._tiles_source, self.slices[tile]
        if isinstance(source, BatchTiles):
            batch, _ = self.batches(tile)
        else:
            batch = source[2][0][place].astype(np.intp)
        return TileRows([], batch, np.full(len(batch), -1), self._columns(tile))

    def rows(self, tile: int) -> TileRows:
        """Rows of one tile, as operators take them."""
        batch, reference = self.batches(tile)
        return TileRows(self.affinities(tile), batch, reference, self._columns(tile))

    def values(self, tile: int) -> NDArray[np.float64]:
        """Columns of one tile: features, embedding, ones."""
        rows = self.slices[tile]
        return self._columns(tile, np.ones((rows.stop - rows.start, 1)))

    def _columns(self, tile: int, *more: NDArray[np.float64]) -> NDArray[np.float64]:
        rows = self.slices[tile]
        second = [] if self.embedding is None else [self.embedding[rows]]
        return np.concatenate([self.features[rows], *second, *more], axis=1, dtype=np.float64)


class OriginRows:
    """Rows of one partition as they were before the first of several passes.

    Parameters
    ----------
    features, second : object
        As ``Profiles.matrices`` makes them.
    """

    def __init__(self, features: Any, second: Any, projection: Projection) -> None:
        self._features = features.read()
        self._embedding = None if second is None or isinstance(second, str) else second.read()
        self._projection = projection if isinstance(second, str) else None

    def values(self, rows: slice) -> NDArray[np.float64]:
        """Columns of one tile: features, embedding."""
        columns: list[NDArray[np.number]] = [self._features[rows]]
        if self._projection is not None:
            columns.append(self._projection.scores(self._features[rows]))
        if self._embedding is not None:
            columns.append(self._embedding[rows])
        return np.concatenate(columns, axis=1, dtype=np.float64)


def _in_memory(values: NDArray[np.number]) -> Rows:
    return Rows(values, 0, len(values))


def output_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Type of corrected values: the input's, or the floats that hold its integers."""
    return np.result_type(dtype, np.float32)
