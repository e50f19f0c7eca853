"""The elbow of a row of affinities, found on a histogram instead of a sort.

With u_ij = d_ij^2 / sigma_{i,b_j}^2 the affinity is exp(-u_ij), so the decreasing order of
affinities is the increasing order of u. Counts of u in equal bins are integers and add exactly over
partitions; every u of a bin stands for the bin's lower edge. That rule is the definition here, and
the threshold is a bin edge.
"""

import numpy as np
from numpy.typing import NDArray

from balans_dask.kernels._jit import kernel, part_of_kernels, read_only
from balans_dask.kernels.batch_tiles import BatchTiles
from balans_dask.kernels.distances import CANCELLATION, difference_squared
from balans_dask.kernels.landmarks import LandmarkBlock, tile_products

__all__ = [
    "BINS_PER_UNIT",
    "N_BINS",
    "elbow_thresholds",
    "scaled_distance_counts",
]

N_BINS = 2048
BINS_PER_UNIT = 256
"""Bins of u have width 1 / 256 and reach from 0 to 8."""
UNSURE = N_BINS + 1
"""Mark of a pair that must be looked at again: at an edge of bins, or its distance cancels."""
NEAR_EDGE = 2.0**-30
"""In bins; above the error of a product with a reciprocal in place of a division."""
ROUNDING = 2.0**-40
"""A rank on the chord must not pass for one below it because of float64 rounding."""


def scaled_distance_counts(tiles: BatchTiles, block: LandmarkBlock) -> NDArray[np.uint32]:
    """Count the rows of a partition by u, for each landmark.

    Parameters
    ----------
    block : LandmarkBlock
        With the scales of the partition's batches at least.

    Returns
    -------
    counts : ndarray of shape (n_landmarks, N_BINS), uint32
        Rows with u >= 8 are in no bin.
    """
    counts = np.zeros((block.n_landmarks, N_BINS), dtype=np.uint32)
    scale_columns = read_only(block.columns_of(tiles.batches))
    for tile, products in tile_products(tiles, block):
        _count_in_tile(
            read_only(products),
            read_only(block.scores),
            read_only(block.norms),
            read_only(tiles.scores[tile]),
            read_only(tiles.norms[tile]),
            read_only(tiles.runs_of(tile)),
            scale_columns,
            read_only(block.scales),
            counts,
        )
    return counts


def elbow_thresholds(
    counts: NDArray[np.integer],
    n_rows: int | NDArray[np.int64],
    max_neighbors: int | None = None,
    cut: bool = True,
) -> NDArray[np.int64]:
    """Bin of u from which on a landmark's affinities are dropped.

    The elbow is the rank whose affinity lies farthest below the chord from the first (rank 0,
    affinity 1) to the last rank, the first such rank if several do. The last rank's affinity is 0
    if its u is 8 or more. Where no rank lies below the chord there is no elbow, and all u < 8 stay.

    Parameters
    ----------
    counts : ndarray of shape (n_landmarks, N_BINS), integer
        Summed over all partitions; the landmark itself is in bin 0.
    n_rows : int, or ndarray of shape (n_landmarks,), int64
        Rows that were counted, also those in no bin.
    max_neighbors : int or None
        Lower the threshold further until a row keeps at most this many entries. A row with more
        exact duplicates than that keeps only itself.
    cut : bool
        Cut at the elbow; else only ``max_neighbors`` cuts.

    Returns
    -------
    thresholds : ndarray of shape (n_landmarks,), int64
        Entries with u < threshold / BINS_PER_UNIT are kept.
    """
    cumulative = np.cumsum(counts, axis=1, dtype=np.int64)
    ranks = np.concatenate([np.zeros_like(cumulative[:, :1]), cumulative], axis=1)
    thresholds = _elbows(counts, ranks, n_rows) if cut else np.full(len(counts), N_BINS)
    if max_neighbors is not None:
        fits = np.sum(ranks <= max_neighbors, axis=1) - 1
        thresholds = np.minimum(thresholds, fits)
    return thresholds.astype(np.int64)


def _elbows(
    counts: NDArray[np.integer], ranks: NDArray[np.int64], n_rows: int | NDArray[np.int64]
) -> NDArray[np.int64]:
    counted = np.broadcast_to(n_rows, len(counts))
    affinities = np.append(np.exp(-np.arange(N_BINS) / BINS_PER_UNIT), 0.0)
    occupied = np.concatenate([counts > 0, ranks[:, -1:] < counted[:, None]], axis=1)
    last_affinity = affinities[N_BINS - np.argmax(occupied[:, ::-1], axis=1)]
    slope = (1.0 - last_affinity) / np.maximum(counted - 1, 1)
    below_chord = np.where(occupied, 1.0 - slope[:, None] * ranks - affinities, 0.0)
    elbow = np.argmax(below_chord, axis=1)
    return np.where(below_chord.max(axis=1) > ROUNDING, elbow, N_BINS)


@kernel
def _count_in_tile(
    products: NDArray[np.float32],
    landmarks: NDArray[np.float32],
    landmark_norms: NDArray[np.float64],
    tile: NDArray[np.float32],
    tile_norms: NDArray[np.float64],
    runs: NDArray[np.int32],
    scale_columns: NDArray[np.intp],
    scales: NDArray[np.float64],
    counts: NDArray[np.uint32],
) -> None:
    bins = np.empty(tile_norms.shape[0], dtype=np.uint16)
    # All bins are counted alike, also those that are none: a branch a row costs more.
    tally = np.empty(UNSURE + 1, dtype=np.uint32)
    for i in range(counts.shape[0]):
        tally[:] = 0
        for run in range(runs.shape[0]):
            part = slice(runs[run, 0], runs[run, 1])
            scale = scales[i, scale_columns[runs[run, 2]]]
            _bins_of_run(products[i, part], landmark_norms[i], tile_norms[part], scale, bins[part])
            n_unsure = tally[UNSURE]
            for j in range(runs[run, 0], runs[run, 1]):
                tally[bins[j]] += 1
            if tally[UNSURE] == n_unsure:
                continue
            for j in range(runs[run, 0], runs[run, 1]):
                if bins[j] == UNSURE:
                    norms = landmark_norms[i] + tile_norms[j]
                    squared = norms - 2.0 * np.float64(products[i, j])
                    if squared <= CANCELLATION * norms:
                        squared = difference_squared(landmarks, i, tile, j)
                    if squared < N_BINS // BINS_PER_UNIT * scale:
                        tally[int(squared / scale * BINS_PER_UNIT)] += 1
        for place in range(counts.shape[1]):
            counts[i, place] += tally[place]


@part_of_kernels
def _bins_of_run(
    products: NDArray[np.float32],
    landmark_norm: float,
    norms_of_run: NDArray[np.float64],
    scale: float,
    bins: NDArray[np.uint16],
) -> None:
    """Find the bin of every u, without a branch or a division, or ``UNSURE`` near an edge."""
    bins_per_squared = BINS_PER_UNIT / scale
    for j in range(len(bins)):
        norms = landmark_norm + norms_of_run[j]
        squared = norms - 2.0 * np.float64(products[j])
        place = max(0.0, min(squared * bins_per_squared, N_BINS + 0.5))
        whole = np.int32(place)
        within = place - np.float64(whole)
        unsure = (
            (within < NEAR_EDGE) | (within > 1.0 - NEAR_EDGE) | (squared <= CANCELLATION * norms)
        )
        bins[j] = np.uint16(UNSURE) if unsure else np.uint16(whole)
