"""Rows of a tile that may be near enough: a comparison in float32, taken many rows at a time.

A pass looks at every pair and does something about few of them. The comparison here holds no
branch, so the compiler makes vector instructions of it; it errs on the side of too many, and what
it lets through is looked at again in float64.
"""

import numpy as np
from numpy.typing import NDArray

from balans_dask.kernels._jit import part_of_kernels

__all__ = ["mark_below", "marked", "no_marks", "rough_limit", "rough_norms"]

ROUNDING = 2.0**-21
"""Eight roundings of float32: the comparison makes three of a row's norm, two of a landmark's, and
one of the limit."""
LARGEST = float(np.finfo(np.float32).max)


@part_of_kernels
def rough_norms(norms: NDArray[np.float64], error: float) -> NDArray[np.float32]:
    """Squared norms of a tile's rows, less what d^2 may be wrong by: each row bears its own error.

    Else a single outlying row would make candidates of all others.

    Parameters
    ----------
    norms : ndarray of shape (n,), float64
    error : float
        Of d^2, relative to the sum of the two squared norms.
    """
    return np.minimum((1.0 - error - ROUNDING) * norms, LARGEST).astype(np.float32)


@part_of_kernels
def rough_limit(squared: float, landmark_norm: float, error: float) -> np.float32:
    """Limit on |x_j|^2 - 2 <x_i, x_j> that no row with d^2 <= ``squared`` exceeds.

    Parameters
    ----------
    squared : float
        Limit on d^2; may be infinite.
    landmark_norm : float
        Squared.
    error : float
        As for ``rough_norms``.
    """
    return np.float32((1.0 + ROUNDING) * squared - (1.0 - error - ROUNDING) * landmark_norm)


@part_of_kernels
def no_marks(n: int) -> tuple[NDArray[np.uint8], NDArray[np.uint64], NDArray[np.int64]]:
    """Make what ``marked`` takes for a tile of ``n`` rows, a multiple of 8: nothing is marked."""
    marks = np.zeros(n, dtype=np.uint8)
    return marks, marks.view(np.uint64), np.empty(n + 1, dtype=np.int64)


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
        <x_i, x_j>, and |x_j|^2 by ``rough_norms``.
    limit : float32
        By ``rough_limit``.
    marks : ndarray of shape (n,), uint8
        Overwritten by 0 and 1.
    """
    for j in range(len(marks)):
        # So that what is no number, as of products beyond float32, is looked at again, too.
        marks[j] = np.uint8(not (norms[j] - np.float32(2.0) * products[j] > limit))


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
