"""Rows of a tile that may be near enough: a comparison in float32, taken many rows at a time.

A pass looks at every pair and does something about few of them. The comparison here holds no
branch, so the compiler makes vector instructions of it; it errs on the side of too many, and what
it lets through is looked at again in float64.
"""

import numpy as np
from numpy.typing import NDArray

from balans_dask.kernels._jit import part_of_kernels

__all__ = ["mark_below", "marked", "rough_limit"]

ROUNDING = 2.0**-21
"""Above the relative error of |x_j|^2 - 2 <x_i, x_j> in float32, and of its limit."""


@part_of_kernels
def rough_limit(
    squared: float, landmark_norm: float, largest_norm: float, error: float
) -> np.float32:
    """Limit on |x_j|^2 - 2 <x_i, x_j> that no row with d^2 <= ``squared`` exceeds.

    Parameters
    ----------
    squared : float
        Limit on d^2; may be infinite.
    landmark_norm, largest_norm : float
        Squared norms: of the landmark, and the largest of the tile.
    error : float
        Further error of d^2, relative to the sum of the two squared norms.
    """
    norms = landmark_norm + largest_norm
    slack = (error + ROUNDING) * norms + ROUNDING * squared
    return np.float32(squared - landmark_norm + slack)


@part_of_kernels
def mark_below(
    products: NDArray[np.float32],
    norms: NDArray[np.float32],
    limit: np.float32,
    marks: NDArray[np.uint8],
) -> None:
    """Mark the rows within the limit.

    All arrays are slices of one run: an index that might be negative would break the vectors.

    Parameters
    ----------
    products, norms : ndarray of shape (n,), float32
        <x_i, x_j> and |x_j|^2.
    limit : float32
        By ``rough_limit``.
    marks : ndarray of shape (n,), uint8
        Overwritten by 0 and 1.
    """
    for j in range(len(marks)):
        marks[j] = np.uint8(norms[j] - np.float32(2.0) * products[j] <= limit)


@part_of_kernels
def marked(
    marks: NDArray[np.uint8], words: NDArray[np.uint64], positions: NDArray[np.int64]
) -> int:
    """List the marked positions, increasing, and return their number.

    Parameters
    ----------
    marks : ndarray of shape (n,), uint8
        0 or 1; n is a multiple of 8.
    words : ndarray of shape (n / 8,), uint64
        The same memory: most words are empty where few positions are marked.
    positions : ndarray of shape (n + 1,), int64
        Overwritten.
    """
    n_marked = 0
    for word in range(words.shape[0]):
        if words[word] != 0:
            for j in range(8 * word, 8 * word + 8):
                positions[n_marked] = j
                n_marked += int(marks[j])
    return n_marked
