"""What random-matrix theory says of noise, and how far a matrix is from it."""

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

__all__ = ["Spectrum", "block_means", "edge", "law", "low_rank_removed", "spectrum_of"]

Array = NDArray[np.float64]
N_ANGLES = 4001
ABOVE = 1.02
"""The largest singular value of noise strays from the edge by less than that share."""


@dataclass(frozen=True)
class Spectrum:
    """Singular values of a residual.

    Attributes
    ----------
    values : ndarray
        In decreasing order, in units of the entries' standard deviation times the square root of
        the longer side.
    shape : tuple of int
        Rows and columns that the law is of.
    n_outside : int
        Values above the edge of the law, or that were removed because they were.
    energy_outside : float
        Share of these in the sum of squares.
    """

    values: Array
    shape: tuple[int, int]
    n_outside: int
    energy_outside: float

    def distance(self) -> float:
        """Kolmogorov-Smirnov distance of the values to the law."""
        places, below = law(self.shape)
        values = np.sort(self.values)
        expected = np.interp(values, places, below, left=0.0, right=1.0)
        steps = np.arange(len(values) + 1) / len(values)
        return float(max(np.abs(expected - steps[1:]).max(), np.abs(expected - steps[:-1]).max()))


def law(shape: tuple[int, int]) -> tuple[Array, Array]:
    """Distribution function of the singular values of noise.

    Marchenko and Pastur's law of independent entries with mean 0 and variance 1, of singular
    values over the square root of the longer side. Of a square matrix that is the quarter circle
    on [0, 2], which absolute eigenvalues of the Gaussian orthogonal ensemble follow too.

    Returns
    -------
    places, below : ndarray
        Singular values, and the share of them that is below.
    """
    ratio = min(shape) / max(shape)
    angles = np.linspace(np.pi, 0.0, N_ANGLES)
    half_width = 2 * np.sqrt(ratio)
    squares = 1 + ratio + half_width * np.cos(angles)
    # The law's density in terms of the angle: no edge is singular there.
    density = (half_width * np.sin(angles)) ** 2 / np.maximum(squares, 1e-12)
    steps = (density[1:] + density[:-1]) / 2
    below = np.concatenate([[0.0], np.cumsum(steps)])
    return np.sqrt(np.maximum(squares, 0.0)), below / below[-1]


def edge(shape: tuple[int, int]) -> float:
    """Largest singular value of the law."""
    return 1 + float(np.sqrt(min(shape) / max(shape)))


def _singular_values(matrix: Array) -> Array:
    """All singular values, in decreasing order."""
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    squares = scipy.linalg.eigvalsh(wide @ wide.T)
    return np.sqrt(np.maximum(squares, 0.0))[::-1]


def block_means(
    matrix: Array, row_label: NDArray[np.int64], column_label: NDArray[np.int64], own: Array
) -> Array:
    """Mean of every pair of labels, laid out as a matrix; rows' own entries are left out.

    Parameters
    ----------
    matrix : ndarray of shape (n_rows, n_columns)
    row_label, column_label : ndarray, int64
    own : ndarray of shape (n_rows,), int64
        Column of every row itself, whose affinity is 1 by definition.
    """
    n_labels = column_label.max() + 1
    left, right = (np.eye(n_labels)[each] for each in (row_label, column_label))
    counted = np.ones_like(matrix)
    counted[np.arange(len(matrix)), own] = 0.0
    sums, counts = (left.T @ each @ right for each in (matrix * counted, counted))
    means = sums / np.maximum(counts, 1.0)
    return means[row_label][:, column_label]


def _scaled(values: Array, shape: tuple[int, int]) -> Array:
    return values / np.sqrt((values**2).sum() / min(shape))


def spectrum_of(residual: Array) -> Spectrum:
    """Take all singular values of a residual, in units of its own deviation."""
    values = _scaled(_singular_values(residual), residual.shape)
    outside = values > ABOVE * edge(residual.shape)
    energy = float((values[outside] ** 2).sum() / (values**2).sum())
    return Spectrum(values, residual.shape, int(outside.sum()), energy)


def low_rank_removed(matrix: Array) -> Spectrum:
    """Remove singular values until none lies above the edge of the noise that the others make."""
    found, (rows, columns) = _singular_values(matrix), matrix.shape
    total = float((found**2).sum())
    for rank in range(len(found)):
        shape = (rows - rank, columns - rank)
        values = _scaled(found[rank:], shape)
        if values[0] <= ABOVE * edge(shape):
            break
    return Spectrum(values, shape, rank, float((found[:rank] ** 2).sum() / total))
