"""Sums over the rows of a tile from which the preprocessor is made."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from balans_dask.tiling import TILE_ROWS, tree_sum

__all__ = ["Moments", "add_moments", "centred_tile", "checksum_of_tile", "moments_of_tile"]


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
    np.subtract(rows[:, used], mean, out=centred[: len(rows)])
    return centred
