"""The evidence of the rows: a match between batches counts where no better one is to be had.

Distances are measured in units that two batches share: s_b is the typical sigma^2 of landmarks of
batch b in their own batch, and e_ij = 2 d_ij^2 / (s_{b_i} + s_{b_j}). The best match of row j is
e*_j, the least e_ij over landmarks of other batches than its own, and the evidence of any pair is
E_ij = exp(-max(0, e_ij / e*_j - 1) / WIDTH): 1 for matches no farther than the best one, and
nothing where a landmark lies clearly beyond it. Our choice; the paper has no counterpart.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp

import numpy as np
from numpy.typing import NDArray

from balans_dask.kernels._jit import kernel, part_of_kernels, read_only
from balans_dask.kernels.affinity import AffinityRows
from balans_dask.kernels.batch_tiles import BatchTiles
from balans_dask.kernels.distances import (
    ROUNDING,
    differences_squared,
    marked,
    no_marks,
    product_error,
    rough_norms,
)
from balans_dask.kernels.landmarks import LandmarkBlock, tile_products
from balans_dask.tiling import TILE_ROWS

__all__ = [
    "BatchUnits",
    "batch_units",
    "evidence_weights",
    "least_elsewhere",
    "pair_sums",
]

WIDTH = 0.1
"""Relative excess over the best match at which evidence has fallen to 1/e."""
PRIOR = 5.0
"""Landmarks' worth of the typical sigma^2 over all batches in that of one batch."""


@dataclass(frozen=True)
class BatchUnits:
    """In what distances between batches are measured.

    Attributes
    ----------
    own : ndarray of shape (n_landmarks,), int32
        Batch of every landmark.
    typical : float
        s: the median of sigma^2 of all landmarks in their own batches.
    of_batch : ndarray of shape (n_batches,), float64
        s_b; ``typical`` for batches without landmarks.
    floor : float
        Least e*_j, so that exact duplicates across batches divide by no zero.
    """

    own: NDArray[np.int32]
    typical: float
    of_batch: NDArray[np.float64]
    floor: float


def batch_units(
    own_scales: NDArray[np.float64], own: NDArray[np.integer], n_batches: int, least_squared: float
) -> BatchUnits:
    """Take the typical sigma^2 of every batch, drawn to that of all where landmarks are few.

    Parameters
    ----------
    own_scales : ndarray of shape (n_landmarks,), float64
        sigma^2 of every landmark in its own batch; above 0.
    own : ndarray of shape (n_landmarks,), integer
    least_squared : float
        d^2 below which rows are duplicates.
    """
    typical = float(np.median(own_scales))
    of_batch = np.full(n_batches, typical)
    order = np.argsort(own, kind="stable")
    batches, starts = np.unique(own[order], return_index=True)
    for batch, scales in zip(batches, np.split(own_scales[order], starts[1:]), strict=True):
        n = len(scales)
        logs = n * np.log(np.median(scales)) + PRIOR * np.log(typical)
        of_batch[batch] = np.exp(logs / (n + PRIOR))
    return BatchUnits(own.astype(np.int32), typical, of_batch, least_squared / typical)


def least_elsewhere(
    tiles: BatchTiles, blocks: Sequence[LandmarkBlock], units: BatchUnits
) -> NDArray[np.float64]:
    """Measure every row's best match among landmarks of other batches, e*_j.

    Parameters
    ----------
    blocks : sequence of LandmarkBlock
        All of them, in draw order.

    Returns
    -------
    least : ndarray of shape (n_rows,), float64
        In input order; infinite where no landmark is of another batch.
    """
    least = np.full((tiles.n_tiles, TILE_ROWS), np.inf)
    error = product_error(tiles.n_components)
    of_batch = read_only(units.of_batch[tiles.batches])
    first = 0
    for block in blocks:
        own = units.own[first : first + block.n_landmarks]
        for tile, products in tile_products(tiles, block):
            _least_in_tile(
                read_only(products),
                read_only(block.scores),
                read_only(block.norms),
                read_only(own),
                read_only(units.of_batch[own]),
                read_only(tiles.scores[tile]),
                read_only(tiles.norms[tile]),
                read_only(tiles.runs_of(tile)),
                read_only(tiles.batches),
                of_batch,
                error,
                least[tile],
            )
        first += block.n_landmarks
    restored = np.empty_like(least)
    np.put_along_axis(restored, tiles.order.astype(np.intp), least, axis=1)
    found = restored.reshape(-1)[: tiles.n_rows]
    return np.maximum(found, units.floor)


def evidence_weights(
    tiles: BatchTiles,
    tile: int,
    blocks: Sequence[LandmarkBlock],
    affinities: Sequence[AffinityRows],
    units: BatchUnits,
    least: NDArray[np.float64],
    power: float,
) -> list[AffinityRows]:
    """Multiply the kept affinities of one tile by a power of their evidence, A E^power.

    Parameters
    ----------
    affinities : sequence of AffinityRows
        One a block, over this tile.
    least : ndarray of shape (n_rows,), float64
        e*_j of the partition's rows, by ``least_elsewhere``.
    power : float
        From 0 to 1; 0 leaves the affinities as they are.
    """
    if power == 0.0:
        return list(affinities)
    position = np.empty(TILE_ROWS, dtype=np.int64)
    position[tiles.order[tile]] = np.arange(TILE_ROWS)
    of_row = np.empty(TILE_ROWS)
    for start, stop, local, _ in tiles.runs_of(tile):
        of_row[start:stop] = units.of_batch[tiles.batches[local]]
    here = least[tile * TILE_ROWS : (tile + 1) * TILE_ROWS]
    weighted, first = [], 0
    for block, rows in zip(blocks, affinities, strict=True):
        own = units.own[first : first + block.n_landmarks]
        values = np.empty_like(rows.values)
        _weigh(
            read_only(rows.indptr),
            read_only(rows.columns),
            read_only(rows.values),
            read_only(block.scores),
            read_only(units.of_batch[own]),
            read_only(tiles.scores[tile]),
            read_only(position),
            read_only(of_row),
            read_only(here),
            power,
            values,
        )
        weighted.append(AffinityRows(rows.n_landmarks, rows.indptr, rows.columns, values))
        first += block.n_landmarks
    return weighted


def pair_sums(
    affinities: Sequence[AffinityRows],
    confirmed: Sequence[AffinityRows],
    own_rows: NDArray[np.int64],
    batch: NDArray[np.intp],
    out: NDArray[np.float64],
) -> None:
    """Add A E, A and A / sum_i A of the rows of one tile, landmark by landmark and batch by batch.

    Parameters
    ----------
    affinities, confirmed : sequence of AffinityRows
        A and A E, one a block, over the tile.
    own_rows : ndarray of shape (n_landmarks,), int64
        Row of every landmark in the tile; -1 for those elsewhere. The first two leave it out.
    batch : ndarray of shape (n_rows,), intp
        Local batch of every row, in input order; rows of a negative one do not count.
    out : ndarray of shape (n_local, n_landmarks, 3), float64
    """
    total = np.zeros(len(batch))
    for rows in affinities:
        total += np.bincount(rows.columns, weights=rows.values, minlength=len(batch))
    first = 0
    for rows, sure in zip(affinities, confirmed, strict=True):
        _add_pairs(
            read_only(rows.indptr),
            read_only(rows.columns),
            read_only(rows.values),
            read_only(sure.values),
            read_only(own_rows[first : first + rows.n_landmarks]),
            read_only(batch),
            read_only(total),
            first,
            out,
        )
        first += rows.n_landmarks


@kernel
def _add_pairs(
    indptr: NDArray[np.int64],
    columns: NDArray[np.uint16],
    values: NDArray[np.float32],
    confirmed: NDArray[np.float32],
    own_rows: NDArray[np.int64],
    batch: NDArray[np.intp],
    total: NDArray[np.float64],
    first: int,
    out: NDArray[np.float64],
) -> None:
    for i in range(indptr.shape[0] - 1):
        for entry in range(indptr[i], indptr[i + 1]):
            row = columns[entry]
            if batch[row] < 0:
                continue
            sums = out[batch[row], first + i]
            weight = np.float64(values[entry])
            if row != own_rows[i]:
                sums[0] += np.float64(confirmed[entry])
                sums[1] += weight
            sums[2] += weight / total[row]


@kernel
def _least_in_tile(
    products: NDArray[np.float32],
    landmarks: NDArray[np.float32],
    landmark_norms: NDArray[np.float64],
    own: NDArray[np.int32],
    of_landmark: NDArray[np.float64],
    tile: NDArray[np.float32],
    tile_norms: NDArray[np.float64],
    runs: NDArray[np.int32],
    batches: NDArray[np.int32],
    of_batch: NDArray[np.float64],
    error: float,
    least: NDArray[np.float64],
) -> None:
    norms_of_tile = rough_norms(tile_norms, error)
    marks, words, positions = no_marks(tile_norms.shape[0])
    reach = least.astype(np.float32)
    squares, squared = np.empty((4, tile.shape[1])), np.empty(tile.shape[0])
    for i in range(own.shape[0]):
        for run in range(runs.shape[0]):
            part = slice(runs[run, 0], runs[run, 1])
            if batches[runs[run, 2]] == own[i]:
                marks[part] = 0
                continue
            unit = 0.5 * (of_landmark[i] + of_batch[runs[run, 2]])
            _mark_nearer(
                products[i, part],
                norms_of_tile[part],
                reach[part],
                np.float32((1.0 + ROUNDING) * unit),
                np.float32((1.0 - error - ROUNDING) * landmark_norms[i]),
                marks[part],
            )
        n_marked = marked(marks, words, positions)
        differences_squared(landmarks, i, tile, positions, squares, squared, n_marked)
        run = 0
        for place in range(n_marked):
            j = positions[place]
            while j >= runs[run, 1]:
                run += 1
            unit = 0.5 * (of_landmark[i] + of_batch[runs[run, 2]])
            scaled = squared[place] / unit
            if scaled < least[j]:
                least[j] = scaled
                reach[j] = np.float32((1.0 + ROUNDING) * scaled)


@part_of_kernels
def _mark_nearer(
    products: NDArray[np.float32],
    norms: NDArray[np.float32],
    reach: NDArray[np.float32],
    unit: np.float32,
    landmark_norm: np.float32,
    marks: NDArray[np.uint8],
) -> None:
    """Mark the rows that may lie nearer than ``reach``; errs on the side of too many."""
    for j in range(len(marks)):
        limit = unit * reach[j] - landmark_norm
        marks[j] = np.uint8(not (norms[j] - np.float32(2.0) * products[j] > limit))


@kernel
def _weigh(
    indptr: NDArray[np.int64],
    columns: NDArray[np.uint16],
    values: NDArray[np.float32],
    landmarks: NDArray[np.float32],
    of_landmark: NDArray[np.float64],
    tile: NDArray[np.float32],
    position: NDArray[np.int64],
    of_row: NDArray[np.float64],
    least: NDArray[np.float64],
    power: float,
    weights: NDArray[np.float32],
) -> None:
    places = np.empty(position.shape[0], dtype=np.int64)
    squares, squared = np.empty((4, tile.shape[1])), np.empty(tile.shape[0])
    for i in range(indptr.shape[0] - 1):
        first, n = indptr[i], indptr[i + 1] - indptr[i]
        for entry in range(n):
            places[entry] = position[columns[first + entry]]
        differences_squared(landmarks, i, tile, places, squares, squared, n)
        for entry in range(n):
            row = columns[first + entry]
            unit = 0.5 * (of_landmark[i] + of_row[places[entry]])
            # Infinite where no landmark is of another batch: the quotient is 0 then.
            excess = max(0.0, squared[entry] / unit / least[row] - 1.0)
            value = np.float64(values[first + entry])
            weights[first + entry] = np.float32(value * exp(-power * excess / WIDTH))
