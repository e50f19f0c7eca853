"""The last pass: operators map their landmarks' sums over partitions.

A task may let its rows take several steps, one after another: between them nothing is stored. The
same weights correct the original features and the embedding in which distances were taken, so
both stand side by side as columns.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from balans_dask.errors import InvalidInputError, first_names
from balans_dask.kernels.operators import Affine, Operator
from balans_dask.kernels.smooth import nearest_landmarks
from balans_dask.parameters import KEEP, NEAREST
from balans_dask.passes.engine import Engine, Future, task
from balans_dask.passes.operators import as_argument, operator_of
from balans_dask.passes.profiles import (
    Landmarks,
    OriginRows,
    PartitionRows,
    Profiles,
    output_dtype,
)
from balans_dask.passes.scores import Scores
from balans_dask.tiling import Partition

__all__ = ["AppliedStep", "CorrectedRows", "RowSink", "correct_chunk", "correct_rows"]


class RowSink(Protocol):
    """Where a task puts the corrected rows of its partition."""

    def write(
        self,
        start: int,
        features: NDArray[np.floating],
        embedding: NDArray[np.floating] | None,
        displacement: NDArray[np.float32],
        covered: NDArray[np.bool_],
    ) -> None:
        """Store consecutive rows that begin at ``start``."""


@dataclass(frozen=True)
class CorrectedRows:
    """Corrected rows of one partition.

    Attributes
    ----------
    displacement : ndarray of shape (n_rows,), float32
        Euclidean distance by which each row moved in the embedding.
    covered : ndarray of shape (n_rows,), bool
        Rows that some landmark covers.
    features : ndarray of shape (n_rows, n_features)
    embedding : ndarray or None
        The second matrix, if there is one.
    """

    displacement: NDArray[np.float32]
    covered: NDArray[np.bool_]
    features: NDArray[np.floating]
    embedding: NDArray[np.floating] | None


@dataclass(frozen=True)
class AppliedStep:
    """An operator, as a task lets its rows take it.

    Attributes
    ----------
    landmarks : Landmarks
    operator : Operator
        Of futures.
    strength : ndarray of shape (n_batches,), float64
        Share of the correction in what it puts out; the rest is the input.
    """

    landmarks: Landmarks
    operator: Operator
    strength: NDArray[np.float64]

    def arguments(self, partition: int) -> list[Any]:
        """Return what ``correct_chunk`` takes of it."""
        return [self.landmarks.arguments(partition), as_argument(self.operator), self.strength]


def correct_rows(
    engine: Engine,
    scores: Scores,
    profiles: Profiles,
    partitions: Sequence[Partition],
    steps: Sequence[AppliedStep],
    uncovered: str,
    origin: Profiles | None,
    sink: RowSink | None,
) -> list[Future]:
    """Map operators over partitions; each task writes its rows into the sink.

    Parameters
    ----------
    steps : sequence of AppliedStep
        One, or several that do not know of each other's rows; then scores are not kept.
    origin : Profiles or None
        Where displacement and strength count from, if not from the profiles.

    Returns
    -------
    corrected : list of Future of CorrectedRows, or of None
        The rows, unless a sink took them.
    """
    n = len(partitions)
    return engine.map(
        "correct",
        correct_chunk,
        [scores.tiles_source(part) for part in partitions],
        map(profiles.matrices, partitions),
        [[step.arguments(part.number) for step in steps] for part in partitions],
        [profiles.constant] * n,
        [uncovered] * n,
        [_origin(origin, scores, part) for part in partitions],
        [sink] * n,
        numbers=[part.number for part in partitions],
    )


def _origin(origin: Profiles | None, scores: Scores, part: Partition) -> list[Any]:
    if origin is None:
        return []
    return [*origin.matrices(part), scores.shared_projection]


@task
def correct_chunk(
    tiles_source: Any,
    matrices: Sequence[Any],
    steps: Sequence[Sequence[Any]],
    constant: NDArray[np.bool_],
    uncovered: str,
    origin: Sequence[Any],
    sink: RowSink | None,
) -> CorrectedRows | None:
    """Correct the rows of one partition; the body of a task, and of a lazy array's chunk.

    Parameters
    ----------
    tiles_source, matrices : object
        As ``PartitionRows`` takes them.
    steps : sequence of sequence
        By ``AppliedStep.arguments``, with arrays.
    constant : ndarray of shape (n_features,), bool
    origin : sequence
        What ``OriginRows`` takes, or nothing.

    Returns
    -------
    corrected : CorrectedRows or None
        The rows, unless a sink took them.

    Raises
    ------
    InvalidInputError
        If a corrected value is not finite.
    """
    part = PartitionRows(tiles_source, matrices, steps[0][0], embeds=len(steps) == 1)
    if len(steps) > 1:
        origin = part.as_origin()
    start = OriginRows(*origin) if origin else None
    covered = np.ones(len(part.features), dtype=bool)
    *earlier, last = steps
    for step, following in zip(earlier, steps[1:], strict=True):
        rows = _corrected(part, step, constant, uncovered, None, is_last=False)
        covered &= rows.covered
        part = part.moved(rows.features, rows.embedding, following[0], following is last)
    rows = _corrected(part, last, constant, uncovered, start, is_last=True)
    corrected = replace(rows, covered=covered & rows.covered)
    if sink is None:
        return corrected
    sink.write(
        part.start,
        corrected.features,
        corrected.embedding,
        corrected.displacement,
        corrected.covered,
    )
    return None


def _corrected(
    part: PartitionRows,
    step: Sequence[Any],
    constant: NDArray[np.bool_],
    uncovered: str,
    start: OriginRows | None,
    is_last: bool,
) -> CorrectedRows:
    """Let the rows of a partition take one step; how far they went is measured after the last."""
    _, operator, strength = step
    learned = operator_of(operator)
    n_features = part.features.shape[1]
    features = np.empty_like(part.features, dtype=output_dtype(part.features.dtype))
    embedding = None
    if part.embedding is not None:
        embedding = np.empty_like(part.embedding, dtype=output_dtype(part.embedding.dtype))
    n_rows = len(features)
    displacement, covered = np.zeros(n_rows, dtype=np.float32), np.ones(n_rows, dtype=bool)
    # What leaves the range of a type is counted below, which says more than a warning.
    with np.errstate(over="ignore", invalid="ignore"):
        for tile, place in enumerate(part.slices):
            if isinstance(learned, Affine) and uncovered != KEEP:
                # What moves whole batches asks landmarks only if it leaves some of their rows.
                rows = part.rows_by_batch(tile)
                after = learned.moved(rows.values, rows.batch)
            else:
                rows = part.rows(tile)
                after, covered[place] = learned.apply(rows)
                which = np.flatnonzero(~covered[place])
                if len(which) and uncovered != KEEP:
                    nearest = None
                    if uncovered == NEAREST:
                        nearest = nearest_landmarks(part.tiles, tile, which, part.blocks)
                    after[which] = learned.follow(rows, which, nearest)
            before = rows.values if start is None else start.values(place)
            share = strength[rows.batch][:, None]
            if (share != 1.0).any():
                after = (1.0 - share) * before + share * after
                # Zero times a move is no zero where that is infinite, and has a sign.
                np.copyto(after, before, where=share == 0.0)
            after[:, :n_features][:, constant] = before[:, :n_features][:, constant]
            features[place] = after[:, :n_features]
            if embedding is not None:
                embedding[place] = after[:, n_features:]
            if is_last:
                moved = slice(0 if embedding is None else n_features, None)
                displacement[place] = _distances(after[:, moved], before[:, moved])
            # The plan counts one tile at a time, and none while rows are written.
            del rows, before, after
    for name, values in (
        ("features", features),
        ("embedding", embedding),
        ("displacement", displacement),
    ):
        if values is not None:
            _require_finite(name, values, part.start)
    return CorrectedRows(displacement, covered, features, embedding)


def _distances(after: NDArray[np.float64], before: NDArray[np.float64]) -> NDArray[np.float64]:
    way = after - before
    distances: NDArray[np.float64] = np.sqrt(np.square(way, out=way).sum(axis=1))
    return distances


def _require_finite(name: str, values: NDArray[np.floating], start: int) -> None:
    """Refuse to hand on what no reader could use, such as values beyond the range of float32."""
    finite = np.isfinite(values)
    if finite.all():
        return
    bad = ~finite.reshape(len(values), -1)
    columns = np.flatnonzero(bad.any(axis=0)).tolist()
    where = f" in {len(columns)} columns ({first_names(columns)})" if values.ndim > 1 else ""
    raise InvalidInputError(
        f"{int(bad.any(axis=1).sum())} of {len(values)} rows from row {start} on would be "
        f"corrected to {name} that are NaN or infinite{where} in {values.dtype}: rescale the "
        "profiles to a smaller range"
    )
