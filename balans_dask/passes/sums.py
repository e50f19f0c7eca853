"""A_S [X, E, 1]: for every landmark the affinity-weighted sums of its rows, over all partitions."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from balans_dask.kernels.displace import BatchSums, batch_sums
from balans_dask.kernels.smooth import landmark_sums
from balans_dask.passes.engine import Engine, Future, task
from balans_dask.passes.evidence import Evidence, batch_sums_combine
from balans_dask.passes.profiles import Landmarks, PartitionRows, Profiles
from balans_dask.passes.projection import add_combine, array_sum
from balans_dask.passes.scores import Scores
from balans_dask.passes.task_bytes import COLUMNS_AT_ONCE, batch_columns_at_once

__all__ = [
    "cut_columns",
    "sum_by_batch",
    "sum_columns",
    "sum_rows",
]


def cut_columns(n_columns: int, at_once: int) -> list[slice]:
    """Slices of at most ``at_once`` columns."""
    firsts = range(0, n_columns, at_once)
    return [slice(first, min(first + at_once, n_columns)) for first in firsts]


def sum_columns(
    engine: Engine,
    name: str,
    body: Callable[..., Any],
    combine: Callable[[list[Any]], Any],
    scores: Scores,
    profiles: Profiles,
    landmarks: Landmarks,
    cuts: Sequence[slice],
    *more: Sequence[Any],
) -> Iterator[Future]:
    """Reduce over all partitions, one pass after another, so that few sums wait at a time.

    Parameters
    ----------
    name : str
        Of the pass.
    body : callable
        Made by ``task``; takes what makes ``PartitionRows``, and the columns as a slice.
    combine : callable
        Made by ``task``; takes consecutive nodes of one level.
    cuts : sequence of slice
        Columns of every pass.
    *more : sequence over partitions
        What the body takes besides.

    Yields
    ------
    sums : Future
        One a pass, which is there; the next pass begins when the next one is asked for.
    """
    for columns in cuts:
        parts = scores.partitions
        leaves = engine.leaves(
            name,
            body,
            scores.tiles_sources(),
            map(profiles.matrices, parts),
            map(landmarks.arguments, range(len(parts))),
            [columns] * len(parts),
            *more,
        )
        # Two at a time: a node of the tree is as large as the result.
        sums = engine.reduce(f"{name}-merge", leaves, combine, arity=2)
        engine.wait([sums])
        yield sums


def sum_rows(
    engine: Engine,
    scores: Scores,
    profiles: Profiles,
    landmarks: Landmarks,
) -> list[Future]:
    """Reduce A_S [X, E, 1] over all partitions: one pass for every ``COLUMNS_AT_ONCE`` columns.

    Returns
    -------
    sums : list of Future of ndarray of shape (n_landmarks, at most COLUMNS_AT_ONCE), float64
        Beside each other they have ``n_columns + 1`` columns.
    """
    n_columns = profiles.n_columns(scores.projection.n_components) + 1
    return list(
        sum_columns(
            engine,
            "sums",
            _sums_chunk,
            add_combine,
            scores,
            profiles,
            landmarks,
            cut_columns(n_columns, COLUMNS_AT_ONCE),
        )
    )


@task
def _sums_chunk(
    tiles_source: Any, matrices: Sequence[Any], landmarks: Sequence[Any], columns: slice
) -> NDArray[np.float64]:
    part = PartitionRows(tiles_source, matrices, landmarks)
    total = array_sum()
    for tile in range(part.tiles.n_tiles):
        of_tile = np.zeros((part.n_landmarks, columns.stop - columns.start))
        values = np.ascontiguousarray(part.values(tile)[:, columns])
        landmark_sums(part.affinities(tile), values, of_tile)
        total.push(of_tile)
    return total.total()


def sum_by_batch(
    engine: Engine,
    scores: Scores,
    profiles: Profiles,
    landmarks: Landmarks,
    n_batches: int,
    evidence: Evidence | None = None,
    power: float = 0.0,
    centre: NDArray[np.float64] | None = None,
) -> Iterator[tuple[slice, Future]]:
    """Reduce A_S [X, E, 1] by batch: one pass for as many columns as memory allows.

    Parameters
    ----------
    n_batches : int
        Those with reference rows.
    evidence : Evidence or None
        Weigh by A E^power instead of A.
    power : float
        From 0 to 1.
    centre : ndarray of shape (n_columns,), float64, or None
        Sum the columns less these values, and then their squares.

    Yields
    ------
    columns : slice
    sums : Future of BatchSums
        Of these columns, with the weights as its last; the next ones are summed when they are asked
        for. Last bits depend on the cuts, which are as memory wants them.
    """
    n_columns, n = profiles.n_columns(scores.projection.n_components), len(scores.partitions)
    summed = (1 if centre is None else 2) * n_batches
    cuts = cut_columns(n_columns, batch_columns_at_once(landmarks.n_landmarks, summed))
    by_cut = sum_columns(
        engine,
        "batch-sums",
        _sums_by_batch_chunk,
        batch_sums_combine,
        scores,
        profiles,
        landmarks,
        cuts,
        [evidence.arguments(number) if evidence else [] for number in range(n)],
        [power] * n,
        [centre] * n,
    )
    yield from zip(cuts, by_cut, strict=True)


@task
def _sums_by_batch_chunk(
    tiles_source: Any,
    matrices: Sequence[Any],
    landmarks: Sequence[Any],
    columns: slice,
    evidence: Sequence[Any],
    power: float,
    centre: NDArray[np.float64] | None,
) -> BatchSums:
    part = PartitionRows(tiles_source, matrices, landmarks)
    batches = part.tiles.batches[part.tiles.reference_batches]
    total = array_sum()
    for tile in range(part.tiles.n_tiles):
        rows = part.rows(tile)
        cut = rows.values[:, columns]
        n_columns = cut.shape[1]
        values = np.ones((len(cut), (1 if centre is None else 2) * n_columns + 1))
        values[:, :n_columns] = cut
        if centre is not None:
            values[:, :n_columns] -= centre[columns]
            np.square(values[:, :n_columns], out=values[:, n_columns:-1])
        of_tile = np.zeros((len(batches), part.n_landmarks, values.shape[1]))
        weights = part.weights(tile, rows.affinities, evidence, power)
        batch_sums(weights, rows.reference, values, of_tile)
        # The plan counts one tile at a time.
        del rows, cut, values, weights
        total.push(of_tile)
    return BatchSums(batches, total.total())
