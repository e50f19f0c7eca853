"""Local scales: the distance from a landmark to its k-th nearest neighbour within every batch.

Where a population is missing from a batch, the k nearest rows of that batch are wrong ones, and a
local scale makes them strong neighbours all the same. A landmark therefore has a limit, beyond
which a scale is not believed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from balans_dask.kernels._jit import kernel, part_of_kernels, read_only
from balans_dask.kernels.batch_tiles import BatchTiles
from balans_dask.kernels.distances import (
    difference_squared,
    mark_below,
    marked,
    no_marks,
    product_error,
    rough_limit,
    rough_norms,
)
from balans_dask.kernels.landmarks import LandmarkBlock, tile_products
from balans_dask.parameters import AUTO

__all__ = [
    "SCALE_FLOOR",
    "GuardedScales",
    "NearestByBatch",
    "guard_scales",
    "held_within",
    "merge_nearest",
    "nearest_by_batch",
    "squared_limits",
    "squared_scales",
]

SCALE_FLOOR = 2.0**-40
"""Smallest sigma^2 as a share of the total variance: k exact duplicates must not divide by zero."""
LEAST_RATIO = 1.3
"""Scales of matching batches differ this much where noise makes all distances alike."""
STEEPNESS = 7
"""Beyond its limit L, sigma^2 becomes L^2 (L^2 / sigma^2)^7. A cap alone leaves wrong rows weight
enough to move others; leaving the batch out at once would make a cliff."""


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


@dataclass(frozen=True)
class GuardedScales:
    """What the guard makes of the scales of a block.

    Attributes
    ----------
    squared : ndarray of shape (n_landmarks, n_batches), float64
    limits : ndarray of shape (n_landmarks,), float64
        Largest sigma^2 that is believed; infinite without a guard.
    capped : ndarray of shape (n_landmarks,), bool
        Landmarks with a scale beyond their limit.
    """

    squared: NDArray[np.float64]
    limits: NDArray[np.float64]
    capped: NDArray[np.bool_]


def squared_limits(
    smallest: NDArray[np.float64], max_scale_ratio: float | str | None, total_variance: float
) -> NDArray[np.float64]:
    """Largest sigma^2 of each landmark that is believed.

    Parameters
    ----------
    smallest : ndarray of shape (n_landmarks,), float64
        The smallest sigma^2 of each landmark.
    max_scale_ratio : float, "auto" or None
        In units of the smallest sigma; ``"auto"`` takes it from the spread of the data, and never
        below 1.3; ``None``: no limit.
    total_variance : float
        Of the scores.
    """
    if max_scale_ratio is None:
        return np.full(smallest.shape, np.inf)
    if not isinstance(max_scale_ratio, str):
        return np.asarray(max_scale_ratio * max_scale_ratio * smallest)
    # Rows are sqrt(2 * total_variance) apart in the quadratic mean: the limit lies half way, by
    # ratios, from neighbours to strangers.
    limits = np.sqrt(smallest * (2.0 * total_variance))
    return np.maximum(limits, LEAST_RATIO * LEAST_RATIO * smallest)


def guard_scales(
    scales: NDArray[np.float64],
    nearest: NearestByBatch,
    max_scale_ratio: float | str | None,
    total_variance: float,
) -> GuardedScales:
    """Hold the scales of every landmark within its limit.

    A number caps; ``"auto"`` also shrinks what lies beyond the limit, the more the farther it lies.
    Batches without another row have no scale of their own and set no limit. ``None`` is the paper.

    Parameters
    ----------
    scales : ndarray of shape (n_landmarks, n_batches), float64
        Squared.
    nearest : NearestByBatch
        What they were made from.
    """
    known = np.isfinite(nearest.squared[:, :, 0])
    smallest = np.where(known, scales, np.inf).min(axis=1)
    limits = squared_limits(smallest, max_scale_ratio, total_variance)
    return GuardedScales(
        squared=held_within(scales, limits, max_scale_ratio),
        limits=limits,
        capped=np.asarray((scales > limits[:, None]).any(axis=1)),
    )


def held_within(
    scales: NDArray[np.float64],
    limits: NDArray[np.float64],
    max_scale_ratio: float | str | None,
) -> NDArray[np.float64]:
    """Hold squared scales within the limits of their landmarks; within them, nothing changes.

    Parameters
    ----------
    scales : ndarray of shape (n_landmarks, n_batches), float64
    limits : ndarray of shape (n_landmarks,), float64
    max_scale_ratio : float, "auto" or None
        ``"auto"`` shrinks what lies beyond, anything else only caps.
    """
    held: NDArray[np.float64] = np.minimum(scales, limits[:, None])
    if max_scale_ratio == AUTO:
        share = np.divide(held, scales, out=np.ones_like(held), where=scales > 0.0)
        held = held * share**STEEPNESS
    return held
