"""The scores of every partition: kept on the workers where memory allows, else made anew."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from balans_dask.io.sources import RowSource
from balans_dask.kernels.batch_tiles import BatchTiles, tile_by_batch
from balans_dask.kernels.projection import Projection
from balans_dask.passes.engine import Engine, Future, task
from balans_dask.tiling import Partition, Tiling, tile_slices

__all__ = ["Labels", "Scores", "as_tiles", "pick_landmarks", "scores_of"]

Labels: TypeAlias = tuple[NDArray[np.integer], NDArray[np.bool_] | None]
"""Batch of every row of a partition, and which are reference rows; ``None`` for all."""


@dataclass(frozen=True)
class Scores:
    """Driver's handle on the scores of all partitions.

    Attributes
    ----------
    tiling : Tiling
    source : RowSource
        What the scores are made from.
    codes : ndarray of shape (n_rows,), integer
        Batch of every row.
    reference : ndarray of shape (n_rows,), bool, or None
        Rows from which scales and displacements are estimated; ``None`` for all.
    n_batches : int
    projection : Projection
    batches : list of ndarray
        Batches that occur in each partition, as in ``BatchTiles.batches``.
    shared_projection : Future
    cached : list of Future, or None
        Partitions on the workers, if they are kept.
    labels : list of Future, or None
        Codes and reference of every partition, if the scores are made anew. Dask remembers the
        tasks of all rounds, as coverage depends on them: they name the labels and hold none.
    """

    tiling: Tiling
    source: RowSource
    codes: NDArray[np.integer]
    reference: NDArray[np.bool_] | None
    n_batches: int
    projection: Projection
    batches: list[NDArray[np.int32]]
    shared_projection: Future
    cached: list[Future] | None = None
    labels: list[Future] | None = None

    @classmethod
    def load(
        cls,
        engine: Engine,
        tiling: Tiling,
        source: RowSource,
        codes: NDArray[np.integer],
        reference: NDArray[np.bool_] | None,
        n_batches: int,
        projection: Projection,
        keep: bool,
        keep_products_of: int | None = None,
    ) -> "Scores":
        """Prepare the partitions.

        Parameters
        ----------
        keep : bool
            Hold the scores in the workers' memory, instead of reading and projecting the rows
            again in each pass.
        keep_products_of : int or None
            Rows of a block of landmarks whose products with kept scores are kept, too.
        """
        parts = tiling.partitions()
        batches = [np.unique(codes[p.start : p.stop]).astype(np.int32) for p in parts]
        shared = engine.share("projection", projection)
        scores = cls(tiling, source, codes, reference, n_batches, projection, batches, shared)
        if not keep:
            by_partition = zip(*map(scores.labels_of, parts), strict=True)
            return replace(scores, labels=engine.map("labels", _labels_chunk, *by_partition))
        n = tiling.n_partitions
        loaded = engine.map("scores", _load_chunk, scores.tiles_sources(), [keep_products_of] * n)
        return replace(scores, cached=loaded)

    @cached_property
    def largest_batch(self) -> int:
        """Reference rows of the batch that has most of them."""
        counted = self.codes if self.reference is None else self.codes[self.reference]
        return int(np.bincount(counted).max(initial=0))

    @property
    def partitions(self) -> list[Partition]:
        """Partitions in row order."""
        return self.tiling.partitions()

    def tiles_sources(self) -> list[Any]:
        """Return what a task hands to ``as_tiles``, for every partition."""
        return [self.tiles_source(part) for part in self.partitions]

    def tiles_source(self, part: Partition) -> Any:
        """Return what a task hands to ``as_tiles``, for one partition."""
        if self.cached is not None:
            return self.cached[part.number]
        return [
            self.source.rows(part.start, part.stop),
            part.start,
            self.labels_of(part) if self.labels is None else self.labels[part.number],
            self.shared_projection,
        ]

    def labels_of(self, part: Partition) -> Labels:
        """Return the codes of one partition, and which of its rows are reference rows."""
        rows = slice(part.start, part.stop)
        return self.codes[rows], None if self.reference is None else self.reference[rows]


def as_tiles(tiles_source: Any) -> BatchTiles:
    """Turn what a task was handed into tiles; the work is done here if they are not kept."""
    if isinstance(tiles_source, BatchTiles):
        return tiles_source
    rows, start, (codes, reference), projection = tiles_source
    return tile_by_batch(start, scores_of(rows.read(), projection), codes, reference)


def scores_of(values: NDArray[np.number], projection: Projection) -> NDArray[np.float32]:
    """Make the scores of a partition, tile by tile."""
    return np.concatenate([projection.scores(values[tile]) for tile in tile_slices(len(values))])


def pick_landmarks(engine: Engine, scores: Scores, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Bring the scores of some rows to the driver, in the order asked for.

    Parameters
    ----------
    rows : ndarray of shape (n,), int64
        Global row numbers.
    """
    owner = rows // scores.tiling.rows_per_partition
    numbers = np.unique(owner)
    futures = engine.map(
        "pick",
        _pick_chunk,
        [scores.tiles_source(scores.partitions[number]) for number in numbers],
        [rows[owner == number] for number in numbers],
    )
    picked = np.empty((len(rows), scores.projection.n_components), dtype=np.float32)
    for number, found in zip(numbers, engine.take(futures), strict=True):
        picked[owner == number] = found
    return picked


@task
def _labels_chunk(codes: NDArray[np.integer], reference: NDArray[np.bool_] | None) -> Labels:
    return codes, reference


@task
def _load_chunk(tiles_source: Any, keep_products_of: int | None) -> BatchTiles:
    tiles = as_tiles(tiles_source)
    return tiles if keep_products_of is None else tiles.keeping_products(keep_products_of)


@task
def _pick_chunk(tiles_source: Any, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    return as_tiles(tiles_source).rows(rows)
