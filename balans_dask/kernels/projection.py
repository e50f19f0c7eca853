"""The preprocessor: from features to the centred scores in which distances are taken."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from balans_dask.kernels.moments import Moments, centred_tile

__all__ = ["Projection", "centring", "principal_components"]


@dataclass(frozen=True)
class Projection:
    """A fitted preprocessor.

    Attributes
    ----------
    used : ndarray of shape (n_used,), intp
        Features that vary; constant ones take no part in distances.
    mean : ndarray of shape (n_used,), float64
    weights : ndarray of shape (n_used, n_components), float64, or None
        Standardisation and PCA in one matrix; ``None`` where the input is an embedding already.
    total_variance : float
        Sum of the variances of the scores.
    unit : float
        Length that counts as 1 in the scores, a power of two: squares of very large or very small
        embeddings would leave the range of float32, and nothing else depends on the unit.
    """

    used: NDArray[np.intp]
    mean: NDArray[np.float64]
    weights: NDArray[np.float64] | None
    total_variance: float
    unit: float = 1.0

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> "Projection":
        """Restore a preprocessor from what ``arrays`` made of it, and anything beside it."""
        return cls(
            arrays["used"],
            arrays["mean"],
            arrays.get("weights"),
            float(arrays["total_variance"]),
            float(arrays["unit"]),
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all of it as arrays, as a file takes them."""
        fitted = {} if self.weights is None else {"weights": self.weights}
        return fitted | {
            "used": self.used,
            "mean": self.mean,
            "total_variance": np.array(self.total_variance),
            "unit": np.array(self.unit),
        }

    @property
    def n_components(self) -> int:
        """Columns of the scores."""
        return len(self.used) if self.weights is None else int(self.weights.shape[1])

    def scores(self, rows: NDArray[np.number]) -> NDArray[np.float32]:
        """Scores of the rows of one tile.

        Parameters
        ----------
        rows : ndarray of shape (n_rows, n_features)
            At most a tile; padded inside, so that the product always has the same shape.

        Returns
        -------
        scores : ndarray of shape (n_rows, n_components), float32
        """
        centred = centred_tile(rows, self.used, self.mean)
        projected = centred / self.unit if self.weights is None else centred @ self.weights
        return projected[: len(rows)].astype(np.float32)


def centring(moments: Moments, squares: NDArray[np.float64], n_rows: int) -> Projection:
    """Preprocessor of an embedding: only centre (standardised, distances would concentrate).

    Parameters
    ----------
    moments : Moments
        Of the reference rows, whose mean is the centre.
    squares : ndarray of shape (n_used,), float64
        Sums over all rows of squared deviations from it.
    n_rows : int
        All rows.
    """
    used = np.flatnonzero(~moments.constant)
    variance = float(squares.sum()) / n_rows
    unit = 2.0 ** round(math.log2(variance / len(used)) / 2)
    return Projection(used, moments.mean[used], None, variance / unit**2, unit)


def principal_components(
    moments: Moments,
    squares: NDArray[np.float64],
    scatter: NDArray[np.float64],
    n_rows: int,
    n_components: int,
) -> Projection:
    """Preprocessor of features: standardise by the reference rows, then PCA of all rows.

    Parameters
    ----------
    moments : Moments
        Of the reference rows, mostly all rows.
    squares : ndarray of shape (n_used,), float64
        Sums over the reference rows of the squared deviations from their mean.
    scatter : ndarray of shape (n_used, n_used), float64
        Sum over all rows of the outer products of the deviations from that mean.
    n_rows : int
        All rows.
    n_components : int
        Capped at the number of varying features and at n - 1.

    Notes
    -----
    Eigenvectors of the correlation matrix; the sign of each makes its largest loading positive.
    """
    used = np.flatnonzero(~moments.constant)
    deviation = np.sqrt(squares / moments.n_rows)
    correlation = scatter / n_rows / np.outer(deviation, deviation)
    n_kept = max(1, min(n_components, len(used), n_rows - 1))
    values, vectors = scipy.linalg.eigh(
        correlation, subset_by_index=[len(used) - n_kept, len(used) - 1]
    )
    values, vectors = values[::-1], vectors[:, ::-1]
    largest = vectors[np.argmax(np.abs(vectors), axis=0), np.arange(n_kept)]
    weights = np.ascontiguousarray(vectors * np.sign(largest) / deviation[:, None])
    total_variance = float(np.maximum(values, 0.0).sum())
    return Projection(used, moments.mean[used], weights, total_variance)
