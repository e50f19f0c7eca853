"""Affinities and operators from their equations, dense, in numpy and scipy alone.

    u_ij     = d_ij^2 / sigma_ij^2              sigma_ij whatever the caller says
    A_ij     = exp(-u_ij) before the elbow of row i, else 0; A_ii = 1
    smooth     D^-1 A_S^T (A_S X)

For a few thousand rows: m x n float64 numbers are held several times. Nothing of balans_dask is
imported, so that what is compared with it is independent of it. An operator of the identity matrix
is the operator as a matrix.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from benchmarks.harness.arrays import Bools, Floats, Ints

LAST_U = 8.0
BINS_PER_UNIT = 256
"""The elbow is taken on counts of u in bins: each u counts as the lower edge of its bin."""


@dataclass(frozen=True)
class DenseRows:
    """Rows of the affinity matrix."""

    rows: Ints  # (m,), of the profiles; the landmarks
    u: Floats  # (m, n), squared distances in units of squared scales
    kept: Floats  # (m, n), A_S: affinities before the elbow, 0 elsewhere

    @property
    def covered(self) -> Bools:
        """Profiles that have a kept affinity."""
        return self.kept.any(axis=0)


def squared_distances(P: Floats, rows: Ints) -> Floats:
    """Squared Euclidean distances from some profiles to all, by differences."""
    P = np.asarray(P, dtype=np.float64)
    return cdist(P[rows], P, "sqeuclidean")


def kth_squared_distance(squared: Floats, rows: Ints, k: int, among: Bools | None = None) -> Floats:
    """Squared distance of every row to its k-th nearest other profile.

    Of (m, n) squared distances; to the farthest there is, where there are fewer than k. Profiles
    that count are those ``among`` (n,), or all.
    """
    here = np.arange(squared.shape[1]) if among is None else np.flatnonzero(among)
    others = squared[:, here]
    others[here == rows[:, None]] = np.inf
    n_others = len(here) - np.isin(rows, here)
    nearest = np.sort(np.partition(others, min(k, len(here)) - 1, axis=1)[:, :k], axis=1)
    found = nearest[np.arange(len(rows)), np.clip(n_others, 1, k) - 1]
    return np.where(n_others > 0, found, 0.0)


def batch_scales(squared: Floats, rows: Ints, batch: NDArray[np.generic], k: int) -> Floats:
    """Definition 2.1: sigma_ij^2 (m, n), the k-th nearest neighbour of i within the batch of j."""
    names, code = np.unique(batch, return_inverse=True)
    table = [kth_squared_distance(squared, rows, k, code == b) for b in range(len(names))]
    return np.stack(table, axis=1)[:, code]


def affinity_rows(squared: Floats, rows: Ints, scales: Floats, floor: float = 0.0) -> DenseRows:
    """Rows of A by scales of any kind, cut at the elbow of every row.

    Squared scales broadcast to (m, n), the shape of the squared distances. ``floor`` is the least
    of them; the package takes 2^-40 of the total variance.
    """
    u = squared / np.maximum(scales, max(floor, np.finfo(np.float64).tiny))
    u[np.arange(len(rows)), rows] = 0.0
    cut = np.array([elbow(row) for row in u])
    return DenseRows(rows, u, np.where(u < cut[:, None], np.exp(-u), 0.0))


def elbow(u: Floats) -> float:
    """Find the u of the rank that lies farthest below the chord of the sorted affinities."""
    edges = np.sort(np.floor(u * BINS_PER_UNIT) / BINS_PER_UNIT)
    affinity = np.where(edges >= LAST_U, 0.0, np.exp(-edges))
    chord = np.linspace(1.0, affinity[-1], len(edges))
    below = chord - affinity
    return float(min(edges[np.argmax(below)], LAST_U)) if below.max() > 1e-12 else LAST_U


def smooth(sampled: DenseRows, X: Floats) -> Floats:
    """D^-1 A_S^T (A_S X); a profile that is not covered takes the nearest landmark's mean."""
    A = sampled.kept
    normaliser = A.T @ A.sum(axis=1)
    covered = normaliser > 0
    found = (A.T @ (A @ X)) / np.where(covered, normaliser, 1.0)[:, None]
    means = (A @ X) / A.sum(axis=1, keepdims=True)
    return np.where(covered[:, None], found, means[sampled.u.argmin(axis=0)])


def graph_per_batch(P: Floats, batch: NDArray[np.generic], k: int, X: Floats) -> Floats:
    """Mean of the k nearest other profiles in every batch: BBKNN's graph, row-normalised, times X.

    No landmarks, no affinities: every profile takes part with k neighbours a batch, all alike.
    """
    everything = np.arange(len(P))
    squared = squared_distances(P, everything)
    squared[everything, everything] = np.inf
    weights = np.zeros_like(squared)
    for name in np.unique(batch):
        here = np.flatnonzero(batch == name)
        nearest = np.argsort(squared[:, here], axis=1, kind="stable")[:, :k]
        np.put_along_axis(weights, here[nearest], 1.0, axis=1)
    # In a batch of k rows or fewer a profile would be its own neighbour.
    weights[everything, everything] = 0.0
    return (weights @ X) / weights.sum(axis=1, keepdims=True)
