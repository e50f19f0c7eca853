"""Sphering: from sums over the controls' rows to the matrix that whitens all rows.

Ledoit and Wolf (2004), "A well-conditioned estimator for large-dimensional covariance matrices", as
scikit-learn's ``LedoitWolf`` has it. Its sum over all entries of (X^2)^T X^2 is the sum over rows
of their lengths to the fourth, so that no second matrix is summed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

__all__ = ["NO_CONTROLS", "ControlSums", "Whitening", "add_controls", "control_sums", "whitening"]


@dataclass(frozen=True)
class ControlSums:
    """Sums over some controls, of every matrix that is whitened.

    Attributes
    ----------
    n_rows : int
        Controls; of none, the other sums are left out.
    scatter : tuple of ndarray of shape (n_columns, n_columns), float64
        Sum of the outer products of their deviations from the mean.
    fourth : tuple of float
        Sum of the lengths of these deviations to the fourth.
    """

    n_rows: int
    scatter: tuple[NDArray[np.float64], ...]
    fourth: tuple[float, ...]


NO_CONTROLS = ControlSums(0, (), ())
"""What a tile without controls adds."""


@dataclass(frozen=True)
class Whitening:
    """What whitens the rows of one matrix.

    Attributes
    ----------
    matrix : ndarray of shape (n_columns, n_columns), float64
        C^-1/2 of the shrunk covariance C, symmetric: columns keep their meaning (ZCA).
    shrinkage : float
        Share of the multiple of the identity in C.
    rank : int
        Directions in which C has a variance; ``matrix`` is of no use if it is below n_columns.
    """

    matrix: NDArray[np.float64]
    shrinkage: float
    rank: int


def control_sums(centred: Sequence[NDArray[np.float64]]) -> ControlSums:
    """Sum over the controls of one tile.

    Parameters
    ----------
    centred : sequence of ndarray of shape (n_rows, n_columns), float64, C-contiguous
        Their deviations from the mean, of every matrix.
    """
    return ControlSums(
        n_rows=len(centred[0]),
        scatter=tuple(values.T @ values for values in centred),
        fourth=tuple(
            float(np.square(np.einsum("ij,ij->i", values, values)).sum()) for values in centred
        ),
    )


def add_controls(a: ControlSums, b: ControlSums, in_place: bool = False) -> ControlSums:
    """Add consecutive nodes of the summation tree.

    Parameters
    ----------
    in_place : bool
        Reuse the memory of the first.
    """
    if not (a.n_rows and b.n_rows):
        return a if a.n_rows else b
    return ControlSums(
        a.n_rows + b.n_rows,
        tuple(
            np.add(x, y, out=x if in_place else None)
            for x, y in zip(a.scatter, b.scatter, strict=True)
        ),
        tuple(x + y for x, y in zip(a.fourth, b.fourth, strict=True)),
    )


def whitening(n_rows: int, scatter: NDArray[np.float64], fourth: float) -> Whitening:
    """Invert the square root of the controls' shrunk covariance.

    Parameters
    ----------
    n_rows : int
        Controls.
    scatter : ndarray of shape (n_columns, n_columns), float64
        As ``ControlSums`` has it, of columns that are not all constant.
    fourth : float
    """
    n_columns = len(scatter)
    covariance = scatter / n_rows
    variance = float(np.trace(covariance)) / n_columns
    shrinkage = _shrinkage(n_rows, covariance, variance, fourth)
    values, vectors = scipy.linalg.eigh(covariance, overwrite_a=True)
    values = (1.0 - shrinkage) * np.maximum(values, 0.0) + shrinkage * variance
    certain = values > n_columns * np.finfo(np.float64).eps * values[-1]
    matrix = (vectors / np.sqrt(np.where(certain, values, 1.0))) @ vectors.T
    return Whitening(matrix, shrinkage, int(certain.sum()))


def _shrinkage(
    n_rows: int, covariance: NDArray[np.float64], variance: float, fourth: float
) -> float:
    n_columns = len(covariance)
    if n_columns == 1:
        return 0.0
    squares = float(np.einsum("ij,ij->i", covariance, covariance).sum())
    spread = squares / n_columns - variance**2
    noise = (fourth / n_rows - squares) / (n_columns * n_rows)
    # Rounding may leave either of them below 0.
    noise = max(0.0, min(noise, spread))
    return noise / spread if noise > 0.0 else 0.0
