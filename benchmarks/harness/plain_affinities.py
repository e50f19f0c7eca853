"""Affinities of landmarks drawn in any way, block by block: for more rows than are held dense.

Equations are those of `dense_operators`, with scales as the package limits them by default. Nothing
of this comes from the kernels of balans_dask: samplers are compared by affinities that none of them
has made, and what the kernels find is looked at from outside.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from balans_dask import Balans
from benchmarks.harness.arrays import Floats, Ints, Texts
from benchmarks.harness.dense_operators import elbow, kth_squared_distance

LEAST_RATIO, STEEPNESS = 1.3, 7
"""Of the default guard against populations that a batch lacks."""
BLOCK_ENTRIES = 4_000_000
NEVER = np.iinfo(np.int64).max
"""Draws of what no landmark covers."""


@dataclass(frozen=True)
class Landmarks:
    """Sampled rows in draw order."""

    rows: Ints  # (n_landmarks,)
    scales: Floats  # (n_landmarks, n_batches), squared; batches in sorted order
    thresholds: Floats  # (n_landmarks,), affinities of u at or above this are dropped


def landmarks_of(model: Balans) -> Landmarks:
    """Take the landmarks that a fitted model has drawn, with its scales and thresholds."""
    in_order = np.argsort(model.batches_.astype(str))
    return Landmarks(model.sampled_rows_, model.scales_[:, in_order] ** 2, model.thresholds_)


def landmarks_at(
    values: Floats, batch: Texts, rows: Ints, n_neighbors: int = 5, guarded: bool = True
) -> Landmarks:
    """Measure scales and thresholds of given rows.

    ``guarded``: scales as the package limits them by default; else those of the paper.
    """
    values = values - values.mean(axis=0, dtype=np.float64)
    codes = np.unique(batch, return_inverse=True)[1]
    members = [codes == code for code in range(codes.max() + 1)]
    variance = float((values**2).sum()) / len(values)
    scales, thresholds = [], []
    for of_block in _blocks(len(rows), len(values)):
        some = rows[of_block]
        squared = _squared_distances(values[some], values)
        squared[np.arange(len(some)), some] = 0.0
        kth = [kth_squared_distance(squared, some, n_neighbors, among) for among in members]
        found = np.maximum(np.stack(kth, axis=1), 2.0**-40 * variance)
        scales.append(_limited(found, variance) if guarded else found)
        thresholds += [elbow(u) for u in squared / scales[-1][:, codes]]
    return Landmarks(rows, np.concatenate(scales), np.array(thresholds))


def affinity_blocks(
    values: Floats, batch: Texts, landmarks: Landmarks, columns: Ints
) -> Iterator[tuple[slice, Floats]]:
    """Kept affinities of some columns, for one block of landmarks after the other."""
    codes = np.unique(batch, return_inverse=True)[1][columns]
    centre = values.mean(axis=0, dtype=np.float64)
    points = values[columns] - centre
    for of_block in _blocks(len(landmarks.rows), len(columns)):
        rows, thresholds = landmarks.rows[of_block], landmarks.thresholds[of_block]
        squared = _squared_distances(values[rows] - centre, points)
        u = squared / landmarks.scales[of_block][:, codes]
        u[rows[:, None] == columns] = 0.0
        yield of_block, np.where(u < thresholds[:, None], np.exp(-u), 0.0)


def _blocks(n_landmarks: int, n_columns: int) -> Iterator[slice]:
    step = max(1, BLOCK_ENTRIES // n_columns)
    for start in range(0, n_landmarks, step):
        yield slice(start, min(start + step, n_landmarks))


def _squared_distances(some: Floats, all_rows: Floats) -> Floats:
    squared = -2.0 * (some @ all_rows.T)
    squared += (some**2).sum(axis=1)[:, None]
    squared += (all_rows**2).sum(axis=1)
    return np.maximum(squared, 0.0, out=squared)


def _limited(scales: Floats, variance: float) -> Floats:
    """Squared scales, where they exceed L^2 replaced by L^2 (L^2 / sigma^2)^7."""
    smallest = scales.min(axis=1, keepdims=True)
    limit = np.maximum(np.sqrt(smallest * 2.0 * variance), LEAST_RATIO**2 * smallest)
    return np.where(scales > limit, limit * (limit / scales) ** STEEPNESS, scales)


def first_to_cover(values: Floats, batch: Texts, landmarks: Landmarks, columns: Ints) -> Ints:
    """Count the rows drawn when each column is first covered: it has a kept affinity.

    Draws (n_columns,) count from 1; ``NEVER`` where no landmark covers it.
    """
    draws = np.full(len(columns), NEVER)
    for of_block, kept in affinity_blocks(values, batch, landmarks, columns):
        covered = kept > 0.0
        fresh = covered.any(axis=0) & (draws == NEVER)
        draws[fresh] = of_block.start + np.argmax(covered[:, fresh], axis=0) + 1
    return draws


def draws_of_clusters(draws: Ints, cluster: Ints, share: float) -> Ints:
    """Count the rows drawn when a share of each cluster's rows is covered.

    Draws are those of ``first_to_cover``; the share is at least one row in any case.
    """
    order = np.lexsort((draws, cluster))
    names, starts, counts = np.unique(cluster[order], return_index=True, return_counts=True)
    places = starts + np.maximum(np.ceil(share * counts).astype(np.int64), 1) - 1
    assert len(places) == len(names)
    return np.asarray(draws[order][places])


def nth_landmark(cluster_of_landmarks: Ints, n_clusters: int, nth: int) -> Ints:
    """Count the rows drawn when each cluster gets its n-th landmark; ``NEVER`` if it does not."""
    order = np.argsort(cluster_of_landmarks, kind="stable")
    of_cluster = cluster_of_landmarks[order]
    rank = np.arange(len(order)) - np.searchsorted(of_cluster, of_cluster)
    draws = np.full(n_clusters, NEVER)
    chosen = rank == nth - 1
    draws[of_cluster[chosen]] = order[chosen] + 1
    return draws


def shares_after(draws: Ints, n_drawn: Ints) -> list[float]:
    """Share of rows or clusters that are covered after so many rows drawn."""
    return [round(float((draws <= n).mean()), 6) for n in n_drawn]
