"""A block of landmarks: the rows drawn in one round, and what the passes learn about them."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from balans_dask.kernels.batch_tiles import BatchTiles
from balans_dask.kernels.distances import products_of, squared_norms

__all__ = [
    "LandmarkBlock",
    "landmark_block",
    "tile_products",
]


@dataclass(frozen=True)
class LandmarkBlock:
    """Landmarks of one round, in draw order.

    Attributes
    ----------
    rows : ndarray of shape (n_landmarks,), int64
        Global row numbers.
    scores : ndarray of shape (block_rows, n_components), float32
        Coordinates, zero-padded to ``block_rows`` so that every product has the same shape.
    norms : ndarray of shape (block_rows,), float64
        Squared Euclidean norms of ``scores``.
    batches : ndarray of shape (n_scaled,), int32
        Batches of the columns of ``scales``, increasing: all of them, or those of one partition.
    scales : ndarray of shape (n_landmarks, n_scaled), float64
        Squared local scales sigma_{i,b}^2, held within their row's limit; empty before the first
        pass.
    thresholds : ndarray of shape (n_landmarks,), int64
        Bins of u (``kernels.elbow``) from which on affinities are dropped; empty before the second
        pass.
    limits : ndarray of shape (n_landmarks,), float64
        Largest sigma^2 that the guard (``kernels.local_scale``) believes.
    capped : ndarray of shape (n_landmarks,), bool
        Landmarks with a scale beyond their limit.
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]
    norms: NDArray[np.float64]
    batches: NDArray[np.int32]
    scales: NDArray[np.float64]
    thresholds: NDArray[np.int64]
    limits: NDArray[np.float64]
    capped: NDArray[np.bool_]

    @property
    def n_landmarks(self) -> int:
        """Landmarks in this block, without the padding."""
        return len(self.rows)

    @property
    def block_rows(self) -> int:
        """Rows of every matrix product of this block."""
        return len(self.scores)

    def with_scales(self, scales: NDArray[np.float64]) -> "LandmarkBlock":
        """Return the block with its squared local scales, a column for every batch."""
        return replace(self, scales=scales, batches=np.arange(scales.shape[1], dtype=np.int32))

    def for_new_rows(self, scales: NDArray[np.float64]) -> "LandmarkBlock":
        """Return the block as seen by other rows than those of the fit, with further batches.

        Parameters
        ----------
        scales : ndarray of shape (n_landmarks, n_new_batches), float64
            Columns that follow those of the batches of the fit.
        """
        none = np.full(self.n_landmarks, -1, dtype=np.int64)
        both = np.concatenate([self.scales, scales], axis=1)
        return replace(self.with_scales(both), rows=none)

    def with_guard(self, limits: NDArray[np.float64], capped: NDArray[np.bool_]) -> "LandmarkBlock":
        """Return the block with what the guard found."""
        return replace(self, limits=limits, capped=capped)

    def with_thresholds(self, thresholds: NDArray[np.int64]) -> "LandmarkBlock":
        """Return the block with its elbows."""
        return replace(self, thresholds=thresholds)

    def for_batches(self, batches: NDArray[np.int32]) -> "LandmarkBlock":
        """Return the block with the scales of some batches only, of all that there are."""
        scales = np.ascontiguousarray(self.scales[:, batches])
        return replace(self, scales=scales, batches=batches)

    def columns_of(self, batches: NDArray[np.int32]) -> NDArray[np.intp]:
        """Find the columns of ``scales`` of some batches, without copying the table."""
        return np.searchsorted(self.batches, batches)

    def renumbered(self, first_row: int) -> "LandmarkBlock":
        """Return the block as consecutive rows of another data set."""
        return replace(self, rows=np.arange(first_row, first_row + self.n_landmarks))

    def first(self, n_landmarks: int) -> "LandmarkBlock":
        """Keep the first rows in draw order; the padding stays, so no product changes."""
        return replace(
            self,
            rows=self.rows[:n_landmarks],
            scales=self.scales[:n_landmarks],
            thresholds=self.thresholds[:n_landmarks],
            limits=self.limits[:n_landmarks],
            capped=self.capped[:n_landmarks],
        )


def landmark_block(
    rows: NDArray[np.int64], scores: NDArray[np.float32], block_rows: int
) -> LandmarkBlock:
    """Make a block of freshly drawn rows.

    Parameters
    ----------
    rows : ndarray of shape (n_landmarks,), int64
        Global row numbers in draw order, at most ``block_rows``.
    scores : ndarray of shape (n_landmarks, n_components), float32
    """
    padded = np.zeros((block_rows, scores.shape[1]), dtype=np.float32)
    padded[: len(scores)] = scores
    return LandmarkBlock(
        rows=rows,
        scores=padded,
        norms=squared_norms(padded),
        batches=np.empty(0, dtype=np.int32),
        scales=np.empty((len(rows), 0)),
        thresholds=np.empty(0, dtype=np.int64),
        limits=np.full(len(rows), np.inf),
        capped=np.zeros(len(rows), dtype=bool),
    )


def tile_products(
    tiles: BatchTiles, block: LandmarkBlock, only: int | None = None
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Inner products of the block with every tile, or with a single one.

    Yields
    ------
    tile : int
    products : ndarray of shape (block_rows, TILE_ROWS), float32
        Must not be changed; overwritten by the next one unless the tiles keep them.
    """
    if only is not None:
        one = tiles.scores[only : only + 1]
        yield only, next(products_of(one, block.scores))
    elif tiles.kept_products is None:
        yield from enumerate(products_of(tiles.scores, block.scores))
    else:
        yield from enumerate(tiles.kept_products.of(tiles.scores, block.scores))
