"""Sphering: two passes over the controls' rows, and the operator that whitens all rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from balans_dask.errors import InvalidInputError
from balans_dask.kernels.operators import Sphere
from balans_dask.kernels.projection import Moments, add_moments, moments_of_tile
from balans_dask.kernels.sphering import (
    NO_CONTROLS,
    ControlSums,
    add_controls,
    control_sums,
    whitening,
)
from balans_dask.passes.engine import Engine, task
from balans_dask.passes.profiles import PartitionRows, Profiles
from balans_dask.passes.scores import Scores
from balans_dask.tiling import PairwiseSum, tree_sum

__all__ = ["SHRINKAGE", "Sphering", "learn_sphering"]

MATRICES = ("profiles", "scores")
SHRINKAGE = "shrinkage_of_"
"""Begins the names of facts, before one of ``MATRICES``."""


@dataclass(frozen=True)
class Sphering:
    """What whitens all rows.

    Attributes
    ----------
    operator : Sphere
        Of arrays.
    facts : dict of str to float
        ``n_controls``, and the shrinkage of both matrices, as far as they are there and vary.
    """

    operator: Sphere
    facts: dict[str, float]


def learn_sphering(
    engine: Engine,
    scores: Scores,
    profiles: Profiles,
    controls: NDArray[np.bool_],
    constant: Sequence[NDArray[np.bool_]],
) -> Sphering:
    """Sum over the controls, and invert the square root of their covariance on the driver.

    Parameters
    ----------
    controls : ndarray of shape (n_rows,), bool
    constant : sequence of ndarray of shape (n_columns,), bool
        Of the features and of the second matrix, if there is one: columns that take no part.

    Raises
    ------
    InvalidInputError
        If there are too few controls, or they do not vary.
    """
    parts = scores.partitions
    masks = [controls[part.start : part.stop] for part in parts]
    # A partition without controls is a node of the tree, and is not read.
    rows = [
        [scores.tiles_source(part), profiles.matrices(part), mask] if mask.any() else []
        for part, mask in zip(parts, masks, strict=True)
    ]
    n_columns = sum(map(len, constant))
    leaves = engine.leaves("control-means", _moments_chunk, rows, [n_columns] * len(rows))
    moments: Moments = engine.collect("control-means-merge", leaves, _moments_combine)
    # The mean of equal values may be another one in its last bit.
    mean = np.where(moments.constant, moments.smallest, moments.mean)
    shared = engine.share("control-mean", mean)
    leaves = engine.leaves("control-sums", _sums_chunk, rows, [shared] * len(rows))
    # Two at a time: a node of the tree is n_columns squared.
    [sums] = engine.take([engine.reduce("control-sums-merge", leaves, _sums_combine, arity=2)])
    engine.release([shared])
    facts: dict[str, float] = {"n_controls": sums.n_rows}
    matrices = []
    for place, stays in enumerate(constant):
        matrix, shrinkage = _whitening_of(sums, place, stays)
        matrices.append(matrix)
        if shrinkage is not None:
            facts[SHRINKAGE + MATRICES[place]] = shrinkage
    mean = np.where(np.concatenate(constant), 0.0, mean)
    return Sphering(Sphere([mean], matrices[:1], matrices[1:]), facts)


def _whitening_of(
    sums: ControlSums, place: int, stays: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], float | None]:
    """Whiten the columns of one matrix that vary; without any, there is no shrinkage."""
    used = np.flatnonzero(~stays)
    if not len(used):
        return np.eye(len(stays)), None
    scatter, fourth = sums.scatter[place], sums.fourth[place]
    scatter = scatter if len(used) == len(stays) else scatter[np.ix_(used, used)]
    if not (np.isfinite(fourth) and np.isfinite(scatter).all()):
        raise InvalidInputError(
            f"the {sums.n_rows} controls vary on a scale whose squares leave the range of "
            f"float64 in the {MATRICES[place]}: rescale the features"
        )
    if not np.diagonal(scatter).any():
        raise InvalidInputError(
            f"the {sums.n_rows} controls have no variance in the {MATRICES[place]}: name "
            "controls that vary, or leave out the sphering"
        )
    found = whitening(sums.n_rows, scatter, fourth)
    if found.rank < len(used):
        raise InvalidInputError(
            f"the {sums.n_rows} controls vary in {found.rank} of {len(used)} directions of the "
            f"{MATRICES[place]}: name more controls, or leave out the sphering"
        )
    if len(used) == len(stays):
        return found.matrix, found.shrinkage
    whole = np.eye(len(stays))
    whole[np.ix_(used, used)] = found.matrix
    return whole, found.shrinkage


class _ControlRows:
    """The controls of one partition, by tile, inside a task."""

    def __init__(self, tiles_source: Any, matrices: Sequence[Any], mask: NDArray[np.bool_]) -> None:
        part = PartitionRows(tiles_source, matrices, [[], []])
        self._matrices = [part.features]
        if part.embedding is not None:
            self._matrices.append(part.embedding)
        self._mask = mask
        self.tiles = part.slices

    def of_tile(self, rows: slice) -> list[NDArray[np.float64]]:
        """Features and embedding of the controls of one tile."""
        chosen = self._mask[rows]
        return [matrix[rows][chosen].astype(np.float64) for matrix in self._matrices]


@task
def _moments_chunk(rows: Sequence[Any], n_columns: int) -> Moments:
    if not rows:
        return moments_of_tile(np.empty((0, n_columns)))
    part = _ControlRows(*rows)
    return add_moments(
        [moments_of_tile(np.concatenate(part.of_tile(tile), axis=1)) for tile in part.tiles]
    )


@task
def _moments_combine(parts: Sequence[Moments]) -> Moments:
    return add_moments(parts)


@task
def _sums_chunk(rows: Sequence[Any], mean: NDArray[np.float64]) -> ControlSums:
    if not rows:
        return NO_CONTROLS
    part = _ControlRows(*rows)
    total: PairwiseSum[ControlSums] = PairwiseSum(partial(add_controls, in_place=True))
    # What leaves the range of float64 is refused by the driver.
    with np.errstate(over="ignore", invalid="ignore"):
        for tile in part.tiles:
            values = part.of_tile(tile)
            if not len(values[0]):
                total.push(NO_CONTROLS)
                continue
            firsts = np.cumsum([0, *(matrix.shape[1] for matrix in values)])
            for matrix, first in zip(values, firsts[:-1], strict=True):
                matrix -= mean[first : first + matrix.shape[1]]
            total.push(control_sums(values))
        return total.total()


@task
def _sums_combine(parts: Sequence[ControlSums]) -> ControlSums:
    return tree_sum(parts, add_controls)
