"""From the landmarks' sums to an operator that a task can apply.

On the driver the fields of an operator are lists of futures. To a task they go as plain lists, as
Dask finds futures only there; ``operator_of`` makes the operator of it again, of arrays.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from balans_dask.kernels.displace import BatchSums, displacement_targets, displacements
from balans_dask.kernels.landmarks import LandmarkBlock
from balans_dask.kernels.operators import Displace, Nystrom, Operator, Smooth
from balans_dask.kernels.smooth import landmark_affinities, pseudo_inverse
from balans_dask.passes.engine import Engine, task
from balans_dask.passes.profiles import Landmarks, Profiles
from balans_dask.passes.scores import Scores
from balans_dask.passes.sums import sum_by_batch, sum_rows

__all__ = [
    "all_moves_chunk",
    "as_argument",
    "learn_operator",
    "map_fields",
    "operator_of",
    "with_new_batches",
]


def learn_operator(
    engine: Engine,
    operator: str,
    scores: Scores,
    profiles: Profiles,
    landmarks: Landmarks,
) -> tuple[Operator, dict[str, list[Any]]]:
    """Reduce over all partitions what an operator must know of its landmarks.

    Parameters
    ----------
    operator : {"smooth", "nystrom", "displace"}

    Returns
    -------
    learned : Operator
        Of futures.
    targets : dict of str to list of Future of ndarray
        Of ``displace``: mu_i, cut by columns like the displacements.
    """
    if operator == "displace":
        targets: list[Any] = []
        moves: list[Any] = []
        for _, by_batch in sum_by_batch(engine, scores, profiles, landmarks, scores.n_batches):
            targets += engine.map("targets", _targets_chunk, [by_batch])
            moves += engine.map(
                "moves", _moves_chunk, [by_batch], targets[-1:], [0], [scores.n_batches]
            )
            engine.wait(moves[-1:])
            engine.release([by_batch])
        return Displace(moves), {"targets": targets}
    sums = sum_rows(engine, scores, profiles, landmarks)
    if operator == "smooth":
        return Smooth(sums), {}
    inverse = engine.map(
        "inverse", _inverse_chunk, [landmarks.table], [scores.codes[landmarks.rows]]
    )
    spread = engine.map("inverse-sums", _inverse_sums_chunk, inverse * len(sums), sums)
    engine.wait(spread)
    engine.release(inverse)
    return Nystrom(spread, sums), {}


def with_new_batches(
    engine: Engine,
    frozen: Displace,
    targets: NDArray[np.float64],
    scores: Scores,
    profiles: Profiles,
    landmarks: Landmarks,
    n_known: int,
) -> Displace:
    """Let a frozen ``displace`` move batches that its fit has not seen, towards its own targets.

    Parameters
    ----------
    frozen : Displace
        Of arrays: the displacements of the known batches, uncut.
    targets : ndarray of shape (n_landmarks, n_columns), float64
    n_known : int
        Batches of the fit; those of higher codes are new, and the only ones with reference rows.
    """
    known = frozen.moves[0]
    n_new = scores.n_batches - n_known
    all_moves: list[Any] = []
    for cut, sums in sum_by_batch(engine, scores, profiles, landmarks, n_new):
        new = engine.map(
            "moves",
            _moves_chunk,
            [sums],
            [np.ascontiguousarray(targets[:, cut])],
            [n_known],
            [scores.n_batches],
        )
        of_known = [np.ascontiguousarray(known[:, :, cut])]
        all_moves += engine.map("all-moves", all_moves_chunk, of_known, new)
        engine.wait(all_moves[-1:])
        engine.release([sums, *new])
    return Displace(all_moves)


def as_argument(operator: Operator) -> list[Any]:
    """Make of an operator what a task can take."""
    return [type(operator), *_parts(operator)]


def operator_of(argument: Sequence[Any]) -> Operator:
    """Make the operator again, on a worker."""
    kind, *parts = argument
    operator: Operator = kind(*parts)
    return operator


def map_fields(operator: Operator, function: Callable[[list[Any]], list[Any]]) -> Operator:
    """Make the same operator of other arrays, or of futures of them."""
    return operator_of([type(operator), *map(function, _parts(operator))])


def _parts(operator: Operator) -> list[list[Any]]:
    return [list(part) for part in vars(operator).values()]


@task
def _targets_chunk(sums: BatchSums) -> NDArray[np.float64]:
    return displacement_targets(sums.sums)


@task
def _moves_chunk(
    sums: BatchSums, targets: NDArray[np.float64], first_batch: int, n_batches: int
) -> NDArray[np.float32]:
    moves = np.zeros((n_batches - first_batch, *targets.shape), dtype=np.float32)
    moves[sums.batches - first_batch] = displacements(sums.sums, targets)
    return moves


@task
def all_moves_chunk(known: NDArray[np.float32], new: NDArray[np.float32]) -> NDArray[np.float32]:
    """Join the moves of batches of the fit and of new ones."""
    return np.concatenate([known, new])


@task
def _inverse_chunk(
    table: Sequence[LandmarkBlock], codes: NDArray[np.integer]
) -> NDArray[np.float64]:
    return pseudo_inverse(landmark_affinities(table, codes))


@task
def _inverse_sums_chunk(
    inverse: NDArray[np.float64], sums: NDArray[np.float64]
) -> NDArray[np.float64]:
    return inverse @ sums
