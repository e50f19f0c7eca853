"""The displacement operator: keep each profile, and move it by the local displacement of its batch.

For landmark i and batch b, W_ib is the sum of A_ij over the rows j of b, and mu_ib their A-weighted
mean. The landmark's target mu_i is the mean of mu_ib over batches, weighted by how well each is
known, l_ib = W_ib / (W_ib + 1); a row of b near i moves by l_ib (mu_i - mu_ib).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from balans_dask.kernels._jit import kernel, read_only
from balans_dask.kernels.affinity import AffinityRows

__all__ = [
    "BatchSums",
    "batch_sums",
    "displacement_targets",
    "displacements",
    "merge_batch_sums",
    "spread_displacements",
]

SHRINKAGE = 1.0
"""Affinity at which a batch's mean near a landmark is trusted by half."""


@dataclass(frozen=True)
class BatchSums:
    """Affinity-weighted sums of the rows of every batch, for each landmark.

    Attributes
    ----------
    batches : ndarray of shape (n_local,), int32
        Codes of the batches, increasing.
    sums : ndarray of shape (n_local, n_landmarks, n_columns + 1), float64
        The last column is W_ib.
    """

    batches: NDArray[np.int32]
    sums: NDArray[np.float64]

    def __sizeof__(self) -> int:
        return self.batches.nbytes + self.sums.nbytes


def batch_sums(
    affinities: Sequence[AffinityRows],
    batch: NDArray[np.intp],
    values: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """Add the rows of one tile to ``out``, landmark by landmark and batch by batch.

    Parameters
    ----------
    affinities : sequence of AffinityRows
        All blocks of landmarks over the tile, in draw order.
    batch : ndarray of shape (n_rows,), intp
        Local batch of every row, in input order; rows of a negative one do not count.
    values : ndarray of shape (n_rows, n_columns), float64
    out : ndarray of shape (n_local, n_landmarks, n_columns), float64
    """
    first = 0
    for block in affinities:
        _add_by_batch(
            read_only(block.indptr),
            read_only(block.columns),
            read_only(block.values),
            read_only(batch),
            read_only(values),
            first,
            out,
        )
        first += block.n_landmarks


def merge_batch_sums(a: BatchSums, b: BatchSums) -> BatchSums:
    """Add two nodes of the summation tree; a batch that one lacks is zero there."""
    batches = np.union1d(a.batches, b.batches).astype(np.int32)
    sums = np.zeros((len(batches), *a.sums.shape[1:]))
    sums[np.searchsorted(batches, a.batches)] += a.sums
    sums[np.searchsorted(batches, b.batches)] += b.sums
    return BatchSums(batches, sums)


def displacement_targets(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where the batches near each landmark meet, mu_i.

    Parameters
    ----------
    sums : ndarray of shape (n_batches, n_landmarks, n_columns + 1), float64

    Returns
    -------
    targets : ndarray of shape (n_landmarks, n_columns), float64
    """
    means, trust = _means_and_trust(sums)
    total = np.add.reduce(trust, axis=0)
    targets: NDArray[np.float64] = np.add.reduce(trust * means, axis=0)
    return targets / np.where(total > 0.0, total, 1.0)


def displacements(sums: NDArray[np.float64], targets: NDArray[np.float64]) -> NDArray[np.float32]:
    """Displacements l_ib (mu_i - mu_ib).

    Parameters
    ----------
    sums : ndarray of shape (n_batches, n_landmarks, n_columns + 1), float64
    targets : ndarray of shape (n_landmarks, n_columns), float64

    Returns
    -------
    moves : ndarray of shape (n_batches, n_landmarks, n_columns), float32
        Zero where a batch has no row near a landmark.
    """
    means, trust = _means_and_trust(sums)
    return (trust * (targets - means)).astype(np.float32)


def _means_and_trust(
    sums: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    weight = sums[:, :, -1:]
    return sums[:, :, :-1] / np.where(weight > 0.0, weight, 1.0), weight / (weight + SHRINKAGE)


def spread_displacements(
    affinities: Sequence[AffinityRows],
    batch: NDArray[np.intp],
    moves: NDArray[np.float32],
    out: NDArray[np.float64],
    weights: NDArray[np.float64],
) -> None:
    """Add to every row of a tile the A-weighted sum of its landmarks' displacements of its batch.

    Parameters
    ----------
    batch : ndarray of shape (n_rows,), intp
        Batch of every row as numbered in ``moves``, in input order.
    moves : ndarray of shape (n_batches, n_landmarks, n_columns), float32
    out : ndarray of shape (n_rows, n_columns), float64
    weights : ndarray of shape (n_rows,), float64
        Takes the sums of A.
    """
    first = 0
    for block in affinities:
        _add_moves(
            read_only(block.indptr),
            read_only(block.columns),
            read_only(block.values),
            read_only(batch),
            read_only(moves),
            first,
            out,
            weights,
        )
        first += block.n_landmarks


@kernel
def _add_by_batch(
    indptr: NDArray[np.int64],
    columns: NDArray[np.uint16],
    values: NDArray[np.float32],
    batch: NDArray[np.intp],
    rows: NDArray[np.float64],
    first: int,
    out: NDArray[np.float64],
) -> None:
    # Entries come batch by batch: the sum of one waits in a short array, which nothing else holds.
    sums = np.empty(rows.shape[1])
    for i in range(indptr.shape[0] - 1):
        current = -1
        for entry in range(indptr[i], indptr[i + 1]):
            row = columns[entry]
            own = batch[row]
            if own < 0:
                continue
            if own != current:
                if current >= 0:
                    out[current, first + i] = sums
                current = own
                sums[:] = out[current, first + i]
            weight = np.float64(values[entry])
            for column in range(sums.shape[0]):
                sums[column] += weight * rows[row, column]
        if current >= 0:
            out[current, first + i] = sums


@kernel
def _add_moves(
    indptr: NDArray[np.int64],
    columns: NDArray[np.uint16],
    values: NDArray[np.float32],
    batch: NDArray[np.intp],
    moves: NDArray[np.float32],
    first: int,
    out: NDArray[np.float64],
    weights: NDArray[np.float64],
) -> None:
    # Entries come batch by batch: the move of one waits in a short array, which nothing else holds.
    move = np.empty(moves.shape[2])
    for i in range(indptr.shape[0] - 1):
        current = -1
        for entry in range(indptr[i], indptr[i + 1]):
            row = columns[entry]
            own = batch[row]
            if own != current:
                current = own
                move[:] = moves[own, first + i]
            weight = np.float64(values[entry])
            for column in range(move.shape[0]):
                out[row, column] += weight * move[column]
            weights[row] += weight
