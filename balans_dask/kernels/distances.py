"""Squared Euclidean distances between a block of landmarks and a tile of profiles.

One matrix product gives all inner products of a block and a tile; the distance is then
d^2 = |x_i|^2 + |x_j|^2 - 2 <x_i, x_j>. Where the two norms nearly cancel, that expression has lost
its digits, and the distance is taken again as a sum of squared differences in a fixed order. Every
kernel writes that choice out in its inner loop: a call there costs ten times the arithmetic.

A pass looks at every pair and does something about few of them. The comparison here holds no
branch, so the compiler makes vector instructions of it; it errs on the side of too many, and what
it lets through is looked at again in float64.
"""

from collections.abc import Iterator
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from balans_dask.kernels._jit import kernel, part_of_kernels, read_only
from balans_dask.tiling import TILE_ROWS

__all__ = [
    "CANCELLATION",
    "KeptProducts",
    "difference_squared",
    "differences_squared",
    "inner_products",
    "mark_below",
    "marked",
    "no_marks",
    "product_error",
    "products_of",
    "rough_limit",
    "rough_norms",
    "squared_norms",
]

CANCELLATION = 2.0**-10
"""Distances at most this share of the two squared norms are taken again by differences."""
ROUNDING = 2.0**-21
"""Eight roundings of float32: the comparison makes three of a row's norm, two of a landmark's, and
one of the limit."""
LARGEST = float(np.finfo(np.float32).max)


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


@part_of_kernels
def differences_squared(
    a: NDArray[np.float32],
    i: int,
    b: NDArray[np.float32],
    rows: NDArray[np.int64],
    squares: NDArray[np.float64],
    squared: NDArray[np.float64],
    n: int,
) -> None:
    """Squared distances of row i of a to many rows of b, each as ``difference_squared`` has it.

    A sum in order waits for each of its additions: here four wait together, beside squares that are
    there before.

    Parameters
    ----------
    rows : ndarray of shape (at least n,), int64
    squares : ndarray of shape (4, n_columns), float64
        Overwritten.
    squared : ndarray of shape (at least n,), float64
        The first n are overwritten.
    """
    for first in range(0, n, 4):
        # Fewer than four are filled up by the last one.
        second, third = min(first + 1, n - 1), min(first + 2, n - 1)
        fourth = min(first + 3, n - 1)
        j0, j1, j2, j3 = rows[first], rows[second], rows[third], rows[fourth]
        for column in range(a.shape[1]):
            value = np.float64(a[i, column])
            d0, d1 = value - np.float64(b[j0, column]), value - np.float64(b[j1, column])
            d2, d3 = value - np.float64(b[j2, column]), value - np.float64(b[j3, column])
            squares[0, column], squares[1, column] = d0 * d0, d1 * d1
            squares[2, column], squares[3, column] = d2 * d2, d3 * d3
        t0, t1, t2, t3 = 0.0, 0.0, 0.0, 0.0
        for column in range(a.shape[1]):
            t0 += squares[0, column]
            t1 += squares[1, column]
            t2 += squares[2, column]
            t3 += squares[3, column]
        squared[first], squared[second], squared[third], squared[fourth] = t0, t1, t2, t3


@kernel
def _squared_norms(scores: NDArray[np.float32], norms: NDArray[np.float64]) -> None:
    for row in range(scores.shape[0]):
        total = 0.0
        for column in range(scores.shape[1]):
            value = np.float64(scores[row, column])
            total += value * value
        norms[row] = total


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
    return marks, marks.view(np.uint64), np.empty(n + 1 + n // 8 + 1, dtype=np.int64)


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
    positions : ndarray of shape (n + 1 + n / 8 + 1,), int64
        Overwritten; behind the positions, it takes the words that are not empty. To write where
        the next one overwrites costs less than a branch that nobody can foresee.
    """
    filled, n_filled = marks.shape[0] + 1, 0
    for word in range(words.shape[0]):
        positions[filled + n_filled] = word
        n_filled += int(words[word] != 0)
    n_marked = 0
    for place in range(filled, filled + n_filled):
        first = 8 * positions[place]
        for j in range(first, first + 8):
            positions[n_marked] = j
            n_marked += int(marks[j])
    return n_marked


def products_of(
    tiles: NDArray[np.float32], landmarks: NDArray[np.float32]
) -> Iterator[NDArray[np.float32]]:
    """Inner products of landmarks with every tile; each is overwritten by the next.

    Parameters
    ----------
    tiles : ndarray of shape (n_tiles, TILE_ROWS, n_components), float32
    landmarks : ndarray of shape (block_rows, n_components), float32
    """
    products = np.empty((len(landmarks), TILE_ROWS), dtype=np.float32)
    for tile in tiles:
        inner_products(landmarks, tile, products)
        yield products


class KeptProducts:
    """The products of one partition with the block of landmarks that asked last.

    A memo beside the tiles it belongs to: what it returns depends on its arguments alone. It stays
    where it was made, and arrives empty at another worker.
    """

    def __init__(self, n_tiles: int, block_rows: int) -> None:
        self._shape = (n_tiles, block_rows, TILE_ROWS)
        self._landmarks: NDArray[np.float32] | None = None
        self._products: NDArray[np.float32] | None = None
        self._in_use = Lock()

    def __reduce__(self) -> tuple[type["KeptProducts"], tuple[int, int]]:
        return KeptProducts, self._shape[:2]

    @property
    def nbytes(self) -> int:
        """Memory of all products."""
        return 4 * int(np.prod(self._shape))

    def of(
        self, tiles: NDArray[np.float32], landmarks: NDArray[np.float32]
    ) -> Iterator[NDArray[np.float32]]:
        """Inner products of landmarks with every tile, which must be those of every other call.

        Parameters
        ----------
        tiles : ndarray of shape (n_tiles, TILE_ROWS, n_components), float32
        landmarks : ndarray of shape (block_rows, n_components), float32
        """
        if not self._in_use.acquire(blocking=False):
            yield from products_of(tiles, landmarks)
            return
        try:
            yield from self._remembered(tiles, landmarks)
        finally:
            self._in_use.release()

    def _remembered(
        self, tiles: NDArray[np.float32], landmarks: NDArray[np.float32]
    ) -> Iterator[NDArray[np.float32]]:
        if self._products is None:
            # Kept for the next block, too: touching new pages costs more than reading old ones.
            self._products = np.empty(self._shape, dtype=np.float32)
        known = self._landmarks is not None and np.array_equal(self._landmarks, landmarks)
        if not known:
            self._landmarks = None
        for tile, products in zip(tiles, self._products, strict=True):
            if not known:
                inner_products(landmarks, tile, products)
            yield products
        self._landmarks = landmarks
