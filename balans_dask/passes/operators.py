"""From the landmarks' sums to an operator that a task can apply.

On the driver an operator is a list, its name and its futures, because Dask finds futures in lists;
on a worker, where they have become arrays, ``correction_of`` makes the operator of it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from distributed import Future
from numpy.typing import NDArray

from balans_dask.kernels.displace import BatchSums, displacement_targets, displacements
from balans_dask.kernels.landmarks import LandmarkBlock
from balans_dask.kernels.operators import Correction, Displacing, Smoothing
from balans_dask.kernels.smooth import landmark_affinities, pseudo_inverse
from balans_dask.passes.engine import Engine, task
from balans_dask.passes.profiles import Profiles
from balans_dask.passes.round import Pieces
from balans_dask.passes.scores import Scores
from balans_dask.passes.sums import column_cuts, sum_by_batch, sum_rows

__all__ = ["correction_of", "learn_operator", "with_new_batches"]


def learn_operator(
    engine: Engine,
    operator: str,
    scores: Scores,
    profiles: Profiles,
    table: Future,
    pieces: Sequence[Pieces],
    rows: NDArray[np.int64],
) -> tuple[list[Any], list[Future]]:
    """Reduce over all partitions what an operator must know of its landmarks.

    Parameters
    ----------
    engine : Engine
    operator : {"smooth", "nystrom", "displace"}
    scores : Scores
    profiles : Profiles
    table : Future of list of LandmarkBlock
    pieces : sequence over partitions of Pieces
    rows : ndarray of shape (n_landmarks,), int64
        The landmarks' rows in the data set.

    Returns
    -------
    correction : list
        For ``correct_rows``.
    targets : list of Future of ndarray
        Of ``displace``: mu_i, cut by columns like the displacements.
    """
    if operator == "displace":
        sums = sum_by_batch(engine, scores, profiles, table, pieces, len(rows), scores.n_batches)
        targets = engine.map("targets", _targets, sums)
        n = len(sums)
        moves = engine.map("moves", _moves, sums, targets, [0] * n, [scores.n_batches] * n)
        engine.wait(moves)
        engine.release(sums)
        return [operator, moves], targets
    means = sum_rows(engine, scores, profiles, table, pieces)
    if operator == "smooth":
        return [operator, means, means], []
    inverse = engine.map("inverse", _inverse, [table], [scores.codes[rows]])
    spread = engine.map("inverse-sums", _times, inverse * len(means), means)
    engine.wait(spread)
    engine.release(inverse)
    return [operator, spread, means], []


def with_new_batches(
    engine: Engine,
    correction: list[Any],
    targets: NDArray[np.float64],
    scores: Scores,
    profiles: Profiles,
    table: Future,
    pieces: Sequence[Pieces],
    n_known: int,
) -> list[Any]:
    """Let a frozen ``displace`` move batches that its fit has not seen, towards its own targets.

    Parameters
    ----------
    correction : list
        With arrays: the displacements of the known batches, uncut.
    targets : ndarray of shape (n_landmarks, n_columns), float64
    n_known : int
        Batches of the fit; those of higher codes are new, and the only ones with reference rows.

    Returns
    -------
    correction : list
    """
    name, known = correction[0], correction[1][0]
    n_new = scores.n_batches - n_known
    sums = sum_by_batch(engine, scores, profiles, table, pieces, len(targets), n_new)
    cuts = column_cuts(targets.shape[1], len(targets), n_new)
    n = len(sums)
    new = engine.map(
        "moves",
        _moves,
        sums,
        [np.ascontiguousarray(targets[:, cut]) for cut in cuts],
        [n_known] * n,
        [scores.n_batches] * n,
    )
    of_known = [np.ascontiguousarray(known[:, :, cut]) for cut in cuts]
    both = engine.map("all-moves", _joined, of_known, new)
    engine.wait(both)
    engine.release([*sums, *new])
    return [name, both]


def correction_of(correction: list[Any]) -> Correction:
    """Make the operator, on a worker."""
    name, *parts = correction
    return Displacing(*parts) if name == "displace" else Smoothing(*parts)


@task
def _targets(sums: BatchSums) -> NDArray[np.float64]:
    return displacement_targets(sums.sums)


@task
def _moves(
    sums: BatchSums, targets: NDArray[np.float64], first_batch: int, n_batches: int
) -> NDArray[np.float32]:
    moves = np.zeros((n_batches - first_batch, *targets.shape), dtype=np.float32)
    moves[sums.batches - first_batch] = displacements(sums.sums, targets)
    return moves


@task
def _joined(known: NDArray[np.float32], new: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.concatenate([known, new])


@task
def _inverse(table: Sequence[LandmarkBlock], codes: NDArray[np.integer]) -> NDArray[np.float64]:
    return pseudo_inverse(landmark_affinities(table, codes))


@task
def _times(inverse: NDArray[np.float64], sums: NDArray[np.float64]) -> NDArray[np.float64]:
    return inverse @ sums
