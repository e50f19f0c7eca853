"""From the landmarks' sums to an operator that a task can apply.

On the driver an operator is a list, its name and its futures, because Dask finds futures in lists;
on a worker, where they have become arrays, ``correction_of`` makes the operator of it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from distributed import Future
from numpy.typing import NDArray

from balans_dask.kernels.corrections import Correction, Displacing, Smoothing
from balans_dask.kernels.displace import BatchSums, displacements
from balans_dask.kernels.landmarks import LandmarkBlock
from balans_dask.kernels.nystrom import landmark_affinities, pseudo_inverse
from balans_dask.passes.batch_sums import sum_by_batch
from balans_dask.passes.engine import Engine, task
from balans_dask.passes.profiles import Profiles
from balans_dask.passes.rows import Pieces
from balans_dask.passes.scores import Scores
from balans_dask.passes.sums import sum_rows

__all__ = ["correction_of", "learn_operator"]


def learn_operator(
    engine: Engine,
    operator: str,
    scores: Scores,
    profiles: Profiles,
    table: Future,
    pieces: Sequence[Pieces],
    rows: NDArray[np.int64],
) -> list[Any]:
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
    """
    if operator == "displace":
        sums = sum_by_batch(engine, scores, profiles, table, pieces, len(rows))
        moves = engine.map("moves", _moves, sums, [scores.n_batches] * len(sums))
        engine.wait(moves)
        engine.release(sums)
        return [operator, moves]
    means = sum_rows(engine, scores, profiles, table, pieces)
    if operator == "smooth":
        return [operator, means, means]
    inverse = engine.map("inverse", _inverse, [table], [scores.codes[rows]])
    spread = engine.map("inverse-sums", _times, inverse * len(means), means)
    engine.wait(spread)
    engine.release(inverse)
    return [operator, spread, means]


def correction_of(correction: list[Any]) -> Correction:
    """Make the operator, on a worker."""
    name, *parts = correction
    return Displacing(*parts) if name == "displace" else Smoothing(*parts)


@task
def _moves(sums: BatchSums, n_batches: int) -> NDArray[np.float32]:
    every = np.zeros((n_batches, *sums.sums.shape[1:]))
    every[sums.batches] = sums.sums
    return displacements(every)[0]


@task
def _inverse(table: Sequence[LandmarkBlock], codes: NDArray[np.integer]) -> NDArray[np.float64]:
    return pseudo_inverse(landmark_affinities(table, codes))


@task
def _times(inverse: NDArray[np.float64], sums: NDArray[np.float64]) -> NDArray[np.float64]:
    return inverse @ sums
