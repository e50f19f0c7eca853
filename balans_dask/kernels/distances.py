"""Squared Euclidean distances between a block of landmarks and a tile of profiles.

One matrix product gives all inner products of a block and a tile; the distance is then
d^2 = |x_i|^2 + |x_j|^2 - 2 <x_i, x_j>. Where the two norms nearly cancel, that expression has lost
its digits, and the distance is taken again as a sum of squared differences in a fixed order. Every
kernel writes that choice out in its inner loop: a call there costs ten times the arithmetic.
"""

import numpy as np
from numpy.typing import NDArray

from balans_dask.kernels._jit import kernel, part_of_kernels, read_only

__all__ = [
    "CANCELLATION",
    "difference_squared",
    "inner_products",
    "product_error",
    "squared_norms",
]

CANCELLATION = 2.0**-10
"""Distances at most this share of the two squared norms are taken again by differences."""


def squared_norms(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    """Squared Euclidean norm of every row, summed in float64 in column order.

    Parameters
    ----------
    scores : ndarray of shape (n_rows, n_components), float32
        May be read-only.

    Returns
    -------
    norms : ndarray of shape (n_rows,), float64
    """
    norms = np.empty(len(scores), dtype=np.float64)
    _squared_norms(read_only(np.ascontiguousarray(scores)), norms)
    return norms


def inner_products(
    landmarks: NDArray[np.float32], tile: NDArray[np.float32], out: NDArray[np.float32]
) -> None:
    """Inner products of every landmark with every profile of a tile, into ``out``.

    Parameters
    ----------
    landmarks : ndarray of shape (block_rows, n_components), float32
        Zero-padded to ``block_rows`` where fewer were drawn.
    tile : ndarray of shape (TILE_ROWS, n_components), float32
        Zero-padded to ``TILE_ROWS`` where the tile is short.
    out : ndarray of shape (block_rows, TILE_ROWS), float32

    Notes
    -----
    The shapes never vary within a run, because BLAS may round a product of another shape
    differently in its last bits.
    """
    np.matmul(landmarks, tile.T, out=out)


def product_error(n_components: int) -> float:
    """Bound on the error of the GEMM's d^2, relative to |x_i|^2 + |x_j|^2.

    A float32 inner product of length p is off by at most p u / (1 - p u) times the product of the
    norms, u = 2^-24, which is at most half the sum of their squares; d^2 takes it twice. Two more u
    cover the rest of the expression.
    """
    unit = 2.0**-24
    return (n_components + 2) * unit / (1 - n_components * unit)


@part_of_kernels
def difference_squared(
    a: NDArray[np.float32], i: int, b: NDArray[np.float32], j: int
) -> np.float64:
    """Squared distance of row i of a and row j of b by differences, in column order.

    Rows are named by number: a slice of an array costs numba more than a short row itself.
    """
    total = np.float64(0.0)
    for column in range(a.shape[1]):
        difference = np.float64(a[i, column]) - np.float64(b[j, column])
        total += difference * difference
    return total


@kernel
def _squared_norms(scores: NDArray[np.float32], norms: NDArray[np.float64]) -> None:
    for row in range(scores.shape[0]):
        total = 0.0
        for column in range(scores.shape[1]):
            value = np.float64(scores[row, column])
            total += value * value
        norms[row] = total
