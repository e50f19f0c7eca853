"""Dense prototypes of guards against forced matching, for small n: one pass per landmark row.

The sampler is the package's draw and elbow with another rule for the scales; the package itself
holds only the rule that was chosen.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from balans_dask.kernels.coverage import Draw, draw_rows, no_coverage
from balans_dask.kernels.elbow import BINS_PER_UNIT, N_BINS, elbow_thresholds

Array = NDArray[np.float64]
K, PATIENCE, BLOCK = 5, 50, 64
Rule = Callable[[Array], Array]
"""From squared scales (landmarks x batches) to guarded ones; 0 leaves a batch out."""


@dataclass(frozen=True)
class Sampled:
    """Rows of A_S, and the share of landmarks with a guarded scale."""

    affinities: Array
    rows: NDArray[np.int64]
    share_guarded: float


def squared_distances(P: Array, rows: NDArray[np.int64]) -> Array:
    """From some rows to all."""
    norms = (P**2).sum(axis=1)
    squared = norms[rows][:, None] + norms - 2 * P[rows] @ P.T
    squared[np.arange(len(rows)), rows] = 0.0
    return np.maximum(squared, 0.0)


def scales_of(squared: Array, rows: NDArray[np.int64], batch: NDArray, k: NDArray) -> Array:
    """Squared distance to the k-th neighbour in every batch."""
    others = squared.copy()
    others[np.arange(len(rows)), rows] = np.inf
    columns = [
        np.partition(others[:, batch == b], k_b - 1, axis=1)[:, k_b - 1] for b, k_b in enumerate(k)
    ]
    return np.stack(columns, axis=1)


def sample(
    P: Array, batch: NDArray, rule: Rule, seed: int, k: NDArray | None = None, mutual: float = 0.0
) -> Sampled:
    """Algorithm 1 with a rule for the scales.

    ``mutual`` takes the smaller of A_ij and A_ji to that degree, which needs scales of all rows.
    """
    n, n_batches = len(P), batch.max() + 1
    k = np.full(n_batches, K) if k is None else k
    everywhere = np.arange(n)
    table = scales_of(squared_distances(P, everywhere), everywhere, batch, k) if mutual else None
    coverage, idle, kept, drawn, guarded = no_coverage(0, n, None), 0, [], [], []
    while idle < PATIENCE and len(drawn) < n:
        rows = draw_rows(Draw(seed, 0, len(guarded), BLOCK), coverage).rows
        squared = squared_distances(P, rows)
        raw = scales_of(squared, rows, batch, k)
        scales = rule(raw)
        guarded.append((scales < raw).any(axis=1))
        u = squared / np.maximum(scales, 1e-300)[:, batch]
        if table is not None:
            returned = squared / table[:, batch[rows]].T
            u = np.where(returned > u, u + mutual * (returned - u), u)
        u[np.arange(len(rows)), rows] = 0.0
        bins = np.minimum(u * BINS_PER_UNIT, N_BINS).astype(np.int64)
        counts = np.stack([np.bincount(row, minlength=N_BINS + 1)[:N_BINS] for row in bins])
        cut = elbow_thresholds(counts, n)[:, None] / BINS_PER_UNIT
        for row, affinity in zip(rows, np.where(u < cut, np.exp(-u), 0.0), strict=True):
            is_idle = not ((coverage.coverage == 0) & (affinity > 0)).any()
            coverage.coverage += affinity
            coverage.drawn[row] = True
            kept.append(affinity)
            drawn.append(row)
            idle = idle + 1 if is_idle else 0
            if idle == PATIENCE:
                break
    share = float(np.concatenate(guarded)[: len(drawn)].mean())
    return Sampled(np.array(kept), np.array(drawn), share)


def smooth(sampled: Sampled, P: Array, batch: NDArray) -> Array:
    """D^-1 A_S^T (A_S X)."""
    A = sampled.affinities
    weight = A.T @ A.sum(axis=1)
    return np.where(weight > 0, (A.T @ (A @ P)).T / np.maximum(weight, 1e-300), P.T).T


def nystrom(sampled: Sampled, P: Array, batch: NDArray) -> Array:
    """A_S^T (A_SS)^+ (A_S X)."""
    A = sampled.affinities
    among = A[:, sampled.rows]
    values, vectors = np.linalg.eigh((among + among.T) / 2)
    large = values > 1e-3 * values[-1]
    inverse = (vectors[:, large] / values[large]) @ vectors[:, large].T
    spread = inverse @ A.sum(axis=1)
    weight = A.T @ spread
    sound = weight > 0.1 * (A.T @ np.abs(spread))
    return np.where(sound, (A.T @ (inverse @ (A @ P))).T / np.where(sound, weight, 1), P.T).T


def displace(
    sampled: Sampled, P: Array, batch: NDArray, shrinkage: float = 1.0, typical: bool = False
) -> Array:
    """Local displacements; ``typical``: where trust is small, the batch's mean displacement."""
    A, names = sampled.affinities, range(batch.max() + 1)
    weight = np.stack([A[:, batch == b].sum(axis=1) for b in names])[:, :, None]
    sums = np.stack([A[:, batch == b] @ P[batch == b] for b in names])
    means = sums / np.maximum(weight, 1e-300)
    trust = weight / (weight + shrinkage)
    target = (trust * means).sum(axis=0) / np.maximum(trust.sum(axis=0), 1e-300)
    moves = trust * (target - means)
    if typical:
        mean_move = moves.sum(axis=1, keepdims=True) / trust.sum(axis=1, keepdims=True)
        moves = moves + (1 - trust) * mean_move
    moved = P.copy()
    for b in names:
        of_batch = A[:, batch == b]
        moved[batch == b] += (of_batch.T @ moves[b]) / np.maximum(of_batch.sum(0), 1e-300)[:, None]
    return moved


def no_guard(scales: Array) -> Array:
    """Return the scales of the paper."""
    return scales


def cap(ratio: float) -> Rule:
    """At most ``ratio`` times the row's smallest."""
    return lambda s: np.minimum(s, ratio**2 * s.min(axis=1, keepdims=True))


def drop(ratio: float) -> Rule:
    """No batch farther than ``ratio`` times the row's smallest."""
    return lambda s: np.where(s > ratio**2 * s.min(axis=1, keepdims=True), 0.0, s)


def drop_outliers(ratio: float) -> Rule:
    """No batch farther than ``ratio`` times what is typical of the batch in this block."""

    def rule(s: Array) -> Array:
        relative = s / s.min(axis=1, keepdims=True)
        return np.where(relative > ratio**2 * np.median(relative, axis=0), 0.0, s)

    return rule


def limit(total_variance: float, least: float, steepness: float) -> Rule:
    """Geometric mean of the smallest and the mean squared distance, as the package has it."""

    def rule(s: Array) -> Array:
        smallest = s.min(axis=1, keepdims=True)
        limits = np.maximum(np.sqrt(smallest * 2 * total_variance), least**2 * smallest)
        held = np.minimum(s, limits)
        return held * (held / s) ** steepness

    return rule
