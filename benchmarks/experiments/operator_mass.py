"""Where the operator D^-1 A_S^T A_S takes its weights from: the clusters, row by row."""

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness.plain_affinities import Landmarks, affinity_blocks

__all__ = ["cluster_weights", "mass_elsewhere"]


def cluster_weights(
    values: NDArray[np.floating],
    batch: NDArray[np.str_],
    cluster: NDArray[np.int64],
    landmarks: Landmarks,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Weight that rows of D^-1 A_S^T A_S put on every cluster.

    Parameters
    ----------
    values, batch, cluster : ndarray of shape (n_rows, ...)
    landmarks : Landmarks
        S.
    rows : ndarray
        Rows of the operator that are looked at.
    columns : ndarray
        Rows that weights are summed over: all, or a random part that stands for them.

    Returns
    -------
    weights : ndarray of shape (len(rows), n_clusters)
        Each row sums to one; NaN where no landmark covers it.
    """
    n_clusters = int(cluster.max()) + 1
    member = np.eye(n_clusters)[cluster[columns]]
    weights = np.zeros((len(rows), n_clusters))
    sums = affinity_blocks(values, batch, landmarks, columns)
    heads = affinity_blocks(values, batch, landmarks, rows)
    of_clusters = np.concatenate([kept @ member for _, kept in sums])
    for of_block, kept in heads:
        weights += kept.T @ of_clusters[of_block]
    with np.errstate(invalid="ignore"):
        return weights / weights.sum(axis=1, keepdims=True)


def mass_elsewhere(weights: NDArray[np.float64], cluster: NDArray[np.int64]) -> float:
    """Mean weight on other clusters than the row's own, over covered rows; 0 is perfect."""
    covered = ~np.isnan(weights[:, 0])
    own = weights[np.arange(len(cluster)), cluster]
    return float(1.0 - own[covered].mean())
