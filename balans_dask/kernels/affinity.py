"""Rows of the sparse affinity matrix A_S over one partition."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from balans_dask.kernels._jit import kernel, part_of_kernels, read_only
from balans_dask.kernels.batch_tiles import BatchTiles
from balans_dask.kernels.distances import (
    CANCELLATION,
    difference_squared,
    mark_below,
    marked,
    no_marks,
    rough_limit,
    rough_norms,
)
from balans_dask.kernels.elbow import BINS_PER_UNIT, N_BINS
from balans_dask.kernels.landmarks import LandmarkBlock, tile_products
from balans_dask.tiling import TILE_ROWS

__all__ = ["AffinityRows", "kept_affinities"]

AFFINITY_AT_EDGE = np.exp(-np.arange(N_BINS) / BINS_PER_UNIT)
"""Affinity at the lower edge of every bin of u."""


@dataclass(frozen=True)
class AffinityRows:
    """Kept entries of a block of landmarks over one partition, a CSR matrix per tile.

    Attributes
    ----------
    n_landmarks : int
    indptr : ndarray of shape (n_tiles * n_landmarks + 1,), int64
        Entries of landmark i in tile t are ``indptr[t * n_landmarks + i]`` up to the next one.
    columns : ndarray of shape (n_entries,), uint16
        Row within the tile, in input order.
    values : ndarray of shape (n_entries,), float32
        Affinities, exp(-u).
    """

    n_landmarks: int
    indptr: NDArray[np.int64]
    columns: NDArray[np.uint16]
    values: NDArray[np.float32]

    @property
    def n_tiles(self) -> int:
        """Number of tiles of the partition."""
        return (len(self.indptr) - 1) // max(self.n_landmarks, 1)

    @property
    def nbytes(self) -> int:
        """Memory held."""
        return self.indptr.nbytes + self.columns.nbytes + self.values.nbytes

    @property
    def n_kept(self) -> NDArray[np.int64]:
        """Entries of each landmark, over all tiles."""
        n_kept: NDArray[np.int64] = np.diff(self.indptr).reshape(-1, self.n_landmarks).sum(axis=0)
        return n_kept

    def __sizeof__(self) -> int:
        return self.nbytes

    def tile(self, tile: int) -> "AffinityRows":
        """Entries of one tile."""
        first = tile * self.n_landmarks
        indptr = self.indptr[first : first + self.n_landmarks + 1]
        entries = slice(indptr[0], indptr[-1])
        return AffinityRows(
            self.n_landmarks, indptr - indptr[0], self.columns[entries], self.values[entries]
        )

    def first(self, n_landmarks: int) -> "AffinityRows":
        """Keep the first landmarks in draw order."""
        per_tile = np.diff(self.indptr).reshape(self.n_tiles, self.n_landmarks)
        kept = np.zeros_like(per_tile, dtype=bool)
        kept[:, :n_landmarks] = True
        entries = np.repeat(kept.ravel(), per_tile.ravel())
        indptr = np.append(0, np.cumsum(per_tile[:, :n_landmarks].ravel()))
        return AffinityRows(n_landmarks, indptr, self.columns[entries], self.values[entries])


def kept_affinities(
    tiles: BatchTiles, block: LandmarkBlock, only: int | None = None
) -> AffinityRows:
    """Affinities of every landmark to the rows of a partition, up to the landmark's elbow.

    A_ij = exp(-d_ij^2 / sigma_{i,b_j}^2) where u_ij is below the threshold, A_ii = 1, and no entry
    elsewhere.

    Parameters
    ----------
    block : LandmarkBlock
        With the scales of the partition's batches at least, and with its thresholds.
    only : int or None
        A single tile, or all of them.
    """
    n_landmarks = block.n_landmarks
    cuts = block.thresholds / BINS_PER_UNIT
    scale_columns = read_only(block.columns_of(tiles.batches))
    own_tile, own_position = tiles.positions(block.rows)
    counts = []
    columns = np.empty(n_landmarks * TILE_ROWS, dtype=np.uint16)
    values = np.empty(n_landmarks * TILE_ROWS, dtype=np.float32)
    pieces = []
    for tile, products in tile_products(tiles, block, only):
        in_tile = np.zeros(n_landmarks, dtype=np.int64)
        n_entries = _keep_in_tile(
            read_only(products),
            read_only(block.scores),
            read_only(block.norms),
            read_only(tiles.scores[tile]),
            read_only(tiles.norms[tile]),
            read_only(tiles.runs_of(tile)),
            read_only(tiles.order[tile]),
            scale_columns,
            read_only(block.scales),
            read_only(cuts),
            read_only(np.where(own_tile == tile, own_position, -1)),
            in_tile,
            columns,
            values,
        )
        counts.append(in_tile)
        pieces.append((columns[:n_entries].copy(), values[:n_entries].copy()))
    return AffinityRows(
        n_landmarks,
        np.append(0, np.cumsum(np.concatenate(counts))),
        np.concatenate([piece[0] for piece in pieces]),
        np.concatenate([piece[1] for piece in pieces]),
    )


@kernel
def _keep_in_tile(
    products: NDArray[np.float32],
    landmarks: NDArray[np.float32],
    landmark_norms: NDArray[np.float64],
    tile: NDArray[np.float32],
    tile_norms: NDArray[np.float64],
    runs: NDArray[np.int32],
    order: NDArray[np.uint16],
    scale_columns: NDArray[np.intp],
    scales: NDArray[np.float64],
    cuts: NDArray[np.float64],
    own: NDArray[np.int64],
    counts: NDArray[np.int64],
    columns: NDArray[np.uint16],
    values: NDArray[np.float32],
) -> int:
    entry = 0
    norms_of_tile = rough_norms(tile_norms, CANCELLATION)
    marks, words, positions = no_marks(tile_norms.shape[0])
    for i in range(counts.shape[0]):
        before = entry
        for run in range(runs.shape[0]):
            part = slice(runs[run, 0], runs[run, 1])
            reach = cuts[i] * scales[i, scale_columns[runs[run, 2]]]
            limit = rough_limit(reach, landmark_norms[i], CANCELLATION)
            mark_below(products[i, part], norms_of_tile[part], limit, marks[part])
        run = 0
        for place in range(marked(marks, words, positions)):
            j = positions[place]
            while j >= runs[run, 1]:
                run += 1
            norms = landmark_norms[i] + tile_norms[j]
            squared = norms - 2.0 * np.float64(products[i, j])
            if squared <= CANCELLATION * norms:
                squared = difference_squared(landmarks, i, tile, j)
            scaled = squared / scales[i, scale_columns[runs[run, 2]]]
            if j == own[i]:
                scaled = 0.0
            if scaled < cuts[i] or j == own[i]:
                columns[entry] = order[j]
                values[entry] = exponential(scaled)
                entry += 1
        counts[i] = entry - before
    return entry


@part_of_kernels
def exponential(scaled: float) -> np.float32:
    """Return exp(-u) of 0 <= u < 8: from the edge of its bin, and five terms of the series.

    The first term left out is below 2^-57; a call of the library's function costs five times this.
    """
    place = np.int64(scaled * BINS_PER_UNIT)
    rest = place / BINS_PER_UNIT - scaled
    series = 1.0 + rest * (
        1.0 + rest / 2.0 * (1.0 + rest / 3.0 * (1.0 + rest / 4.0 * (1.0 + rest / 5.0)))
    )
    return np.float32(AFFINITY_AT_EDGE[place] * series)
