"""What an operator does to the rows of one tile, once the landmarks' sums are known."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from balans_dask.kernels.affinity import AffinityRows
from balans_dask.kernels.displace import spread_displacements
from balans_dask.kernels.smooth import spread_to_rows

__all__ = ["Correction", "Displacing", "Smoothing", "TileRows"]

WEAKEST = 0.1
"""A row whose weights cancel below this share of their absolute sum counts as uncovered."""


@dataclass(frozen=True)
class TileRows:
    """Rows of one tile, in input order, as an operator needs them.

    Attributes
    ----------
    affinities : sequence of AffinityRows
        All blocks of landmarks over the tile, in draw order.
    batch : ndarray of shape (n_rows,), intp
        Code of every row's batch.
    values : ndarray of shape (n_rows, n_columns), float64
        Features, then the embedding.
    """

    affinities: Sequence[AffinityRows]
    batch: NDArray[np.intp]
    values: NDArray[np.float64]


class Correction(Protocol):
    """An operator with the sums of its landmarks."""

    def apply(self, rows: TileRows) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Correct the rows; those that are not covered come back as they were."""

    def follow(
        self, rows: TileRows, which: NDArray[np.intp], nearest: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Correct some uncovered rows as if their nearest landmark alone covered them."""


@dataclass(frozen=True)
class Smoothing:
    """Weighted means: ``smooth``, D^-1 A_S^T (A_S X), and ``nystrom``, with (A_SS)^+ between.

    Attributes
    ----------
    sums : sequence of ndarray of shape (n_landmarks, some columns), float64
        What is spread, cut by columns; the very last column is that of the ones.
    means : sequence of ndarray
        A_S [X, E, 1], cut likewise: the mean of every landmark's own rows.
    """

    sums: Sequence[NDArray[np.float64]]
    means: Sequence[NDArray[np.float64]]

    def apply(self, rows: TileRows) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Take the means that the landmarks of each row agree on."""
        spread = np.concatenate([_spread(rows, columns) for columns in self.sums], axis=1)
        weight = spread[:, -1]
        weights = self.sums[-1][:, -1:]
        covered = weight > 0.0
        if (weights < 0.0).any():
            covered = weight > WEAKEST * _spread(rows, np.abs(weights))[:, 0]
        means = spread[:, :-1] / np.where(covered, weight, 1.0)[:, None]
        return np.where(covered[:, None], means, rows.values), covered

    def follow(
        self, rows: TileRows, which: NDArray[np.intp], nearest: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Take the mean of the nearest landmark's rows."""
        sums = np.concatenate([columns[nearest] for columns in self.means], axis=1)
        means: NDArray[np.float64] = sums[:, :-1] / sums[:, -1:]
        return means


@dataclass(frozen=True)
class Displacing:
    """Moves by the local displacement of the row's batch: ``displace``.

    Attributes
    ----------
    moves : sequence of ndarray of shape (n_batches, n_landmarks, some columns), float32
        l_ib (mu_i - mu_ib), cut by columns.
    """

    moves: Sequence[NDArray[np.float32]]

    def apply(self, rows: TileRows) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Move every row by the weighted mean of its landmarks' displacements."""
        moved = []
        for columns in self.moves:
            spread = np.zeros((len(rows.values), columns.shape[2] + 1))
            spread_displacements(rows.affinities, rows.batch, columns, spread)
            moved.append(spread)
        weight = moved[0][:, -1]
        covered = weight > 0.0
        shift = np.concatenate([spread[:, :-1] for spread in moved], axis=1)
        return rows.values + shift / np.where(covered, weight, 1.0)[:, None], covered

    def follow(
        self, rows: TileRows, which: NDArray[np.intp], nearest: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Move with the nearest landmark."""
        batch = rows.batch[which]
        shift = np.concatenate([columns[batch, nearest] for columns in self.moves], axis=1)
        moved: NDArray[np.float64] = rows.values[which] + shift
        return moved


def _spread(rows: TileRows, sums: NDArray[np.float64]) -> NDArray[np.float64]:
    out = np.zeros((len(rows.values), sums.shape[1]))
    spread_to_rows(rows.affinities, np.ascontiguousarray(sums), out)
    return out
