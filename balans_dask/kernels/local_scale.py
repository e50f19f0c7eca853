"""Local scales: the distance from a landmark to its k-th nearest neighbour within every batch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from balans_dask.kernels._jit import kernel, part_of_kernels, read_only
from balans_dask.kernels.batch_tiles import BatchTiles
from balans_dask.kernels.candidates import mark_below, marked, no_marks, rough_limit, rough_norms
from balans_dask.kernels.distances import difference_squared, product_error
from balans_dask.kernels.landmarks import LandmarkBlock
from balans_dask.kernels.products import tile_products

__all__ = [
    "SCALE_FLOOR",
    "NearestByBatch",
    "merge_nearest",
    "nearest_by_batch",
    "squared_scales",
]

SCALE_FLOOR = 2.0**-40
"""Smallest sigma^2 as a share of the total variance: k exact duplicates must not divide by zero."""


@dataclass(frozen=True)
class NearestByBatch:
    """The smallest squared distances from every landmark to each of some batches.

    Attributes
    ----------
    batches : ndarray of shape (n_local,), int32
        Codes of the batches, increasing.
    squared : ndarray of shape (n_landmarks, n_local, n_neighbors), float64
        Increasing along the last axis; infinite where a batch has fewer rows.
    """

    batches: NDArray[np.int32]
    squared: NDArray[np.float64]

    def __sizeof__(self) -> int:
        return self.batches.nbytes + self.squared.nbytes


def nearest_by_batch(tiles: BatchTiles, block: LandmarkBlock, n_neighbors: int) -> NearestByBatch:
    """Find the k nearest reference rows of every batch of a partition, for each landmark.

    A row is not its own neighbour. The distances returned are sums of squared differences: the
    matrix product only chooses the candidates, all rows that its error bound cannot exclude. The
    result therefore depends on no order of visits.

    Parameters
    ----------
    tiles : BatchTiles
    block : LandmarkBlock
    n_neighbors : int
        k of the paper.

    Returns
    -------
    NearestByBatch
        For the batches that occur in ``tiles``.
    """
    shape = (block.n_landmarks, len(tiles.batches), n_neighbors)
    squared = np.full(shape, np.inf)
    own_tile, own_position = tiles.positions(block.rows)
    error = product_error(tiles.n_components)
    for tile, products in tile_products(tiles, block):
        _nearest_in_tile(
            read_only(products),
            read_only(block.scores),
            read_only(block.norms),
            read_only(tiles.scores[tile]),
            read_only(tiles.norms[tile]),
            read_only(tiles.runs_of(tile)),
            read_only(tiles.reference[tile]),
            read_only(np.where(own_tile == tile, own_position, -1)),
            error,
            squared,
        )
    return NearestByBatch(tiles.batches, squared)


def merge_nearest(parts: Sequence[NearestByBatch]) -> NearestByBatch:
    """Merge the nearest rows of several partitions. Exact, so the order does not matter."""
    batches = np.unique(np.concatenate([part.batches for part in parts]))
    n_landmarks, _, n_neighbors = parts[0].squared.shape
    merged = np.full((n_landmarks, len(batches), n_neighbors), np.inf)
    for part in parts:
        columns = np.searchsorted(batches, part.batches)
        both = np.concatenate([merged[:, columns], part.squared], axis=2)
        merged[:, columns] = np.sort(both, axis=2)[:, :, :n_neighbors]
    return NearestByBatch(batches, merged)


def squared_scales(nearest: NearestByBatch, floor: float) -> NDArray[np.float64]:
    """Squared local scales sigma_{i,b}^2 (Definition 2.1 of the paper).

    Our choices: a batch with fewer than k other rows gives the distance to its farthest one, a
    batch that holds the landmark alone gives the floor, and no scale is below the floor.

    Parameters
    ----------
    nearest : NearestByBatch
        Of all batches and all partitions.
    floor : float
        ``SCALE_FLOOR`` times the total variance of the scores.

    Returns
    -------
    scales : ndarray of shape (n_landmarks, n_batches), float64
    """
    farthest_found = np.where(np.isfinite(nearest.squared), nearest.squared, 0.0).max(axis=2)
    scales: NDArray[np.float64] = np.maximum(farthest_found, floor)
    return scales


@kernel
def _nearest_in_tile(
    products: NDArray[np.float32],
    landmarks: NDArray[np.float32],
    landmark_norms: NDArray[np.float64],
    tile: NDArray[np.float32],
    tile_norms: NDArray[np.float64],
    runs: NDArray[np.int32],
    reference: NDArray[np.bool_],
    own: NDArray[np.int64],
    error: float,
    nearest: NDArray[np.float64],
) -> None:
    last = nearest.shape[2] - 1
    norms_of_tile = rough_norms(tile_norms, error)
    marks, words, positions = no_marks(tile_norms.shape[0])
    for i in range(nearest.shape[0]):
        for run in range(runs.shape[0]):
            if runs[run, 3] == 0:
                continue
            part = slice(runs[run, 0], runs[run, 1])
            farthest = nearest[i, runs[run, 2], last]
            limit = rough_limit(farthest, landmark_norms[i], error)
            mark_below(products[i, part], norms_of_tile[part], limit, marks[part])
        run = 0
        for place in range(marked(marks, words, positions)):
            j = positions[place]
            if not reference[j]:
                continue
            while j >= runs[run, 1]:
                run += 1
            found = nearest[i, runs[run, 2]]
            norms = landmark_norms[i] + tile_norms[j]
            squared = norms - 2.0 * np.float64(products[i, j])
            if squared - error * norms < found[last] and j != own[i]:
                squared = difference_squared(landmarks, i, tile, j)
                if squared < found[last]:
                    _insert(found, squared)


@part_of_kernels
def _insert(found: NDArray[np.float64], squared: float) -> None:
    place = found.shape[0] - 1
    while place > 0 and found[place - 1] > squared:
        found[place] = found[place - 1]
        place -= 1
    found[place] = squared
