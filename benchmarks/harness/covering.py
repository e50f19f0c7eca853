"""When landmarks, one after the other, cover rows and clusters."""

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness.plain_affinities import Landmarks, affinity_blocks

__all__ = ["draws_of_clusters", "first_to_cover", "nth_landmark", "shares_after"]

NEVER = np.iinfo(np.int64).max
"""Draws of what no landmark covers."""


def first_to_cover(
    values: NDArray[np.floating],
    batch: NDArray[np.str_],
    landmarks: Landmarks,
    columns: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Count the rows drawn when each column is first covered: it has a kept affinity.

    Returns
    -------
    draws : ndarray of shape (n_columns,)
        From 1; ``NEVER`` where no landmark covers it.
    """
    draws = np.full(len(columns), NEVER)
    for of_block, kept in affinity_blocks(values, batch, landmarks, columns):
        covered = kept > 0.0
        fresh = covered.any(axis=0) & (draws == NEVER)
        draws[fresh] = of_block.start + np.argmax(covered[:, fresh], axis=0) + 1
    return draws


def draws_of_clusters(
    draws: NDArray[np.int64], cluster: NDArray[np.int64], share: float
) -> NDArray[np.int64]:
    """Count the rows drawn when a share of each cluster's rows is covered.

    Parameters
    ----------
    draws : ndarray of shape (n_columns,)
        By ``first_to_cover``.
    cluster : ndarray of shape (n_columns,)
    share : float
        At least one row in any case.
    """
    order = np.lexsort((draws, cluster))
    names, starts, counts = np.unique(cluster[order], return_index=True, return_counts=True)
    places = starts + np.maximum(np.ceil(share * counts).astype(np.int64), 1) - 1
    assert len(places) == len(names)
    return np.asarray(draws[order][places])


def nth_landmark(
    cluster_of_landmarks: NDArray[np.int64], n_clusters: int, nth: int
) -> NDArray[np.int64]:
    """Count the rows drawn when each cluster gets its n-th landmark; ``NEVER`` if it does not."""
    order = np.argsort(cluster_of_landmarks, kind="stable")
    of_cluster = cluster_of_landmarks[order]
    rank = np.arange(len(order)) - np.searchsorted(of_cluster, of_cluster)
    draws = np.full(n_clusters, NEVER)
    chosen = rank == nth - 1
    draws[of_cluster[chosen]] = order[chosen] + 1
    return draws


def shares_after(draws: NDArray[np.int64], n_drawn: NDArray[np.int64]) -> list[float]:
    """Share of rows or clusters that are covered after so many rows drawn."""
    return [round(float((draws <= n).mean()), 6) for n in n_drawn]
