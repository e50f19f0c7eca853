"""What an operator does to the rows of one tile, once the landmarks' sums are known."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from balans_dask.kernels.affinity import AffinityRows
from balans_dask.kernels.displace import spread_displacements
from balans_dask.kernels.smooth import spread_to_rows
from balans_dask.tiling import TILE_ROWS

__all__ = [
    "OPERATORS",
    "Affine",
    "Displace",
    "Local",
    "Nystrom",
    "Operator",
    "Smooth",
    "Sphere",
    "TileRows",
    "covered_by",
]

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
    reference : ndarray of shape (n_rows,), intp
        Place of every reference row's batch among those of its partition; -1 for other rows.
    values : ndarray of shape (n_rows, n_columns), float64
        Features, then the embedding.
    """

    affinities: Sequence[AffinityRows]
    batch: NDArray[np.intp]
    reference: NDArray[np.intp]
    values: NDArray[np.float64]


class Operator(Protocol):
    """An operator with the sums of its landmarks, each cut by columns.

    On the driver, futures stand in the place of arrays.
    """

    def apply(self, rows: TileRows) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Correct the rows; those that are not covered come back as they were."""

    def follow(
        self, rows: TileRows, which: NDArray[np.intp], nearest: NDArray[np.int64] | None
    ) -> NDArray[np.float64]:
        """Correct some uncovered rows as if their nearest landmark alone covered them.

        ``None``: as their batch moves, which ``align`` alone knows.
        """


@dataclass(frozen=True)
class Smooth:
    """Weighted means: D^-1 A_S^T (A_S X), the operator of the paper.

    Attributes
    ----------
    sums : sequence of ndarray of shape (n_landmarks, some columns), float64
        A_S [X, E, 1]; the very last column is that of the ones.
    """

    sums: Sequence[Any]

    def apply(self, rows: TileRows) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Take the means that the landmarks of each row agree on."""
        return _means(rows, self.sums)

    def follow(
        self, rows: TileRows, which: NDArray[np.intp], nearest: NDArray[np.int64] | None
    ) -> NDArray[np.float64]:
        """Take the mean of the nearest landmark's rows."""
        assert nearest is not None  # by ``Parameters``
        return _means_of(self.sums, nearest)


@dataclass(frozen=True)
class Nystrom:
    """Weighted means through the landmarks' own affinities: D^-1 A_S^T (A_SS)^+ (A_S X).

    Attributes
    ----------
    spread : sequence of ndarray of shape (n_landmarks, some columns), float64
        (A_SS)^+ A_S [X, E, 1].
    sums : sequence of ndarray of shape (n_landmarks, some columns), float64
        A_S [X, E, 1].
    """

    spread: Sequence[Any]
    sums: Sequence[Any]

    def apply(self, rows: TileRows) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Take the means that the landmarks of each row agree on."""
        return _means(rows, self.spread)

    def follow(
        self, rows: TileRows, which: NDArray[np.intp], nearest: NDArray[np.int64] | None
    ) -> NDArray[np.float64]:
        """Take the mean of the nearest landmark's rows."""
        assert nearest is not None  # by ``Parameters``
        return _means_of(self.sums, nearest)


@dataclass(frozen=True)
class Displace:
    """Moves by the local displacement of the row's batch.

    Attributes
    ----------
    moves : sequence of ndarray of shape (n_batches, n_landmarks, some columns), float32
        l_ib (mu_i - mu_ib), cut by columns.
    """

    moves: Sequence[Any]

    def apply(self, rows: TileRows) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Move every row by the weighted mean of its landmarks' displacements."""
        n_rows, shifts = len(rows.values), list[NDArray[np.float64]]()
        for columns in self.moves:
            shifts.append(np.zeros((n_rows, columns.shape[2])))
            weight = np.zeros(n_rows)
            spread_displacements(rows.affinities, rows.batch, columns, shifts[-1], weight)
        covered = covered_by(rows.affinities, n_rows)
        moved = shifts[0] if len(shifts) == 1 else np.concatenate(shifts, axis=1)
        moved /= np.where(covered, weight, 1.0)[:, None]
        moved += rows.values
        return moved, covered

    def follow(
        self, rows: TileRows, which: NDArray[np.intp], nearest: NDArray[np.int64] | None
    ) -> NDArray[np.float64]:
        """Move with the nearest landmark."""
        assert nearest is not None  # by ``Parameters``
        batch = rows.batch[which]
        shift = np.concatenate([columns[batch, nearest] for columns in self.moves], axis=1)
        moved: NDArray[np.float64] = rows.values[which] + shift
        return moved


@dataclass(frozen=True)
class Affine:
    """Moves and scales every batch as a whole: the steps *location* and *scale* of ``align``.

    Attributes
    ----------
    factor, shift : sequence of ndarray of shape (n_batches, n_columns), float64
        x + factor_b x + shift_b; rows stay exactly as they are where both are 0.
    """

    factor: Sequence[Any]
    shift: Sequence[Any]

    def apply(self, rows: TileRows) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Move the rows with their batches."""
        covered = covered_by(rows.affinities, len(rows.values))
        moved = self.moved(rows.values, rows.batch)
        moved[~covered] = rows.values[~covered]
        return moved, covered

    def follow(
        self, rows: TileRows, which: NDArray[np.intp], nearest: NDArray[np.int64] | None
    ) -> NDArray[np.float64]:
        """Move with the batch, whatever is near."""
        return self.moved(rows.values[which], rows.batch[which])

    def moved(self, values: NDArray[np.float64], batch: NDArray[np.intp]) -> NDArray[np.float64]:
        """Move rows with their batches."""
        [factor], [shift] = self.factor, self.shift
        # In one array: fresh memory costs more than the arithmetic.
        moved: NDArray[np.float64] = factor[batch]
        moved *= values
        moved += shift[batch]
        moved += values
        return moved


@dataclass(frozen=True)
class Local(Displace):
    """Moves by the local displacement of the row's batch, or with the whole batch.

    Attributes
    ----------
    offsets : sequence of ndarray of shape (n_batches, some columns), float64
        Moves of rows that no landmark covers, cut like ``moves``.
    """

    offsets: Sequence[Any]

    def follow(
        self, rows: TileRows, which: NDArray[np.intp], nearest: NDArray[np.int64] | None
    ) -> NDArray[np.float64]:
        """Move with the batch, or with the nearest landmark."""
        if nearest is not None:
            return super().follow(rows, which, nearest)
        offsets = np.concatenate([columns[rows.batch[which]] for columns in self.offsets], axis=1)
        moved: NDArray[np.float64] = rows.values[which] + offsets
        return moved


@dataclass(frozen=True)
class Sphere:
    """Centres and whitens all rows alike, each matrix by its own covariance of the controls.

    Attributes
    ----------
    mean : sequence of one ndarray of shape (n_columns,), float64
        Of the controls; 0 for columns that stay as they are.
    features : sequence of one ndarray of shape (n_features, n_features), float64
        The inverse square root of their covariance; the identity for columns that stay.
    embedding : sequence of one ndarray of shape (n_embedding, n_embedding), float64, or of none
        The same of the second matrix, if there is one.
    """

    mean: Sequence[Any]
    features: Sequence[Any]
    embedding: Sequence[Any]

    def apply(self, rows: TileRows) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Whiten the rows, of which landmarks cover none and every one counts."""
        [mean] = self.mean
        n_rows, first = len(rows.values), 0
        whitened = np.empty_like(rows.values)
        for matrix in (*self.features, *self.embedding):
            columns = slice(first, first + len(matrix))
            # Of one shape always, so that a row comes out alike in any company.
            centred = np.zeros((TILE_ROWS, len(matrix)))
            np.subtract(rows.values[:, columns], mean[columns], out=centred[:n_rows])
            whitened[:, columns] = (centred @ matrix)[:n_rows]
            first = columns.stop
        return whitened, np.ones(n_rows, dtype=bool)

    def follow(
        self, rows: TileRows, which: NDArray[np.intp], nearest: NDArray[np.int64] | None
    ) -> NDArray[np.float64]:
        """Whiten these rows as all others."""
        return self.apply(rows)[0][which]


OPERATORS: dict[str, type[Any]] = {
    "smooth": Smooth,
    "nystrom": Nystrom,
    "displace": Displace,
    "location": Affine,
    "scale": Affine,
    "local": Local,
    "sphere": Sphere,
}
"""By the names of ``parameters.STEPS``; a field is an array of a model, by its name."""


def covered_by(
    affinities: Sequence[AffinityRows], n_rows: int, weights: NDArray[np.float64] | None = None
) -> NDArray[np.bool_]:
    """Tell which rows of a tile an operator covers.

    Parameters
    ----------
    affinities : sequence of AffinityRows
        All blocks of landmarks over the tile, in draw order.
    weights : ndarray of shape (n_landmarks, 1), float64, or None
        What the operator spreads for the ones; where it cancels, the row is not covered.
    """
    if weights is None or (weights >= 0.0).all():
        covered = np.zeros(n_rows, dtype=bool)
        for block in affinities:
            covered[block.columns] = True
        return covered
    left = _spread(affinities, n_rows, weights)
    found: NDArray[np.bool_] = left > WEAKEST * _spread(affinities, n_rows, np.abs(weights))
    return found[:, 0]


def _spread(
    affinities: Sequence[AffinityRows], n_rows: int, sums: NDArray[np.float64]
) -> NDArray[np.float64]:
    out = np.zeros((n_rows, sums.shape[1]))
    spread_to_rows(affinities, np.ascontiguousarray(sums), out)
    return out


def _means(
    rows: TileRows, sums: Sequence[NDArray[np.float64]]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Spread sums to the rows; those that are not covered stay as they were."""
    n_rows = len(rows.values)
    spread = np.concatenate([_spread(rows.affinities, n_rows, columns) for columns in sums], axis=1)
    covered = covered_by(rows.affinities, n_rows, sums[-1][:, -1:])
    means = spread[:, :-1] / np.where(covered, spread[:, -1], 1.0)[:, None]
    return np.where(covered[:, None], means, rows.values), covered


def _means_of(
    sums: Sequence[NDArray[np.float64]], landmarks: NDArray[np.int64]
) -> NDArray[np.float64]:
    own = np.concatenate([columns[landmarks] for columns in sums], axis=1)
    means: NDArray[np.float64] = own[:, :-1] / own[:, -1:]
    return means
