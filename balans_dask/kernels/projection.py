"""The preprocessor: from features to the centred scores in which distances are taken."""

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from balans_dask.tiling import TILE_ROWS, tree_sum

__all__ = [
    "Moments",
    "Projection",
    "add_moments",
    "centred_tile",
    "centring",
    "checksum_of_tile",
    "moments_of_tile",
    "principal_components",
]


@dataclass(frozen=True)
class Moments:
    """First moments of every feature, and what is wrong with it.

    Attributes
    ----------
    n_rows : int
    total, smallest, largest : ndarray of shape (n_features,), float64
        Sum, minimum and maximum of each feature.
    n_bad : ndarray of shape (n_features,), int64
        Values of each feature that are NaN or infinite.
    n_bad_rows : int
        Rows with at least one such value.
    digests : tuple of bytes
        Hash of the bytes of every tile, in row order.
    checksums : tuple of int
        A quick one of the same: whoever reads the rows again compares it.
    """

    n_rows: int
    total: NDArray[np.float64]
    smallest: NDArray[np.float64]
    largest: NDArray[np.float64]
    n_bad: NDArray[np.int64]
    n_bad_rows: int
    digests: tuple[bytes, ...]
    checksums: tuple[int, ...]

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean of each feature."""
        return self.total / self.n_rows

    @property
    def constant(self) -> NDArray[np.bool_]:
        """Features that hold a single value."""
        constant: NDArray[np.bool_] = self.smallest >= self.largest
        return constant

    @property
    def fingerprint(self) -> str:
        """Hash of all values, independent of how the rows were chunked."""
        return blake2b(b"".join(self.digests), digest_size=16).hexdigest()


def moments_of_tile(rows: NDArray[np.number]) -> Moments:
    """Moments of one tile.

    Parameters
    ----------
    rows : ndarray of shape (n_rows, n_features), C-contiguous
        Any numeric dtype; summed in float64. May be none: a tile without an anchor.
    """
    bad = ~np.isfinite(rows)
    wide = rows.astype(np.float64)
    # NaN and infinity are refused by the caller, who needs their number and not a warning.
    with np.errstate(invalid="ignore", over="ignore"):
        total = wide.sum(axis=0)
        smallest, largest = wide.min(axis=0, initial=np.inf), wide.max(axis=0, initial=-np.inf)
    return Moments(
        n_rows=len(rows),
        total=total,
        smallest=smallest,
        largest=largest,
        n_bad=bad.sum(axis=0),
        n_bad_rows=int(bad.any(axis=1).sum()),
        digests=(blake2b(np.ascontiguousarray(rows).data, digest_size=16).digest(),),
        checksums=(checksum_of_tile(rows),),
    )


def add_moments(parts: Sequence[Moments]) -> Moments:
    """Moments of consecutive nodes of the summation tree, in row order."""
    with np.errstate(invalid="ignore", over="ignore"):
        return Moments(
            n_rows=sum(part.n_rows for part in parts),
            total=tree_sum([part.total for part in parts], np.add),
            smallest=np.minimum.reduce([part.smallest for part in parts]),
            largest=np.maximum.reduce([part.largest for part in parts]),
            n_bad=np.add.reduce([part.n_bad for part in parts]),
            n_bad_rows=sum(part.n_bad_rows for part in parts),
            digests=tuple(digest for part in parts for digest in part.digests),
            checksums=tuple(checksum for part in parts for checksum in part.checksums),
        )


def checksum_of_tile(rows: NDArray[np.number]) -> int:
    """Checksum of the bytes of a tile, several times as fast as a hash."""
    return zlib.crc32(np.ascontiguousarray(rows).data)


def centred_tile(
    rows: NDArray[np.number], used: NDArray[np.intp], mean: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Rows of a tile minus the mean, zero-padded to ``TILE_ROWS``.

    Parameters
    ----------
    rows : ndarray of shape (n_rows, n_features)
    used : ndarray of shape (n_used,), intp
        Features to take.
    mean : ndarray of shape (n_used,), float64

    Returns
    -------
    centred : ndarray of shape (TILE_ROWS, n_used), float64
    """
    centred = np.zeros((TILE_ROWS, len(used)))
    taken = rows if len(used) == rows.shape[1] else rows[:, used]
    np.subtract(taken, mean, out=centred[: len(rows)])
    return centred


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
