"""BALANS from the equations alone: dense, O(n^2), one row at a time. Imports nothing of ours.

Definition 2.1  sigma_{i,b} = distance from i to its k-th nearest neighbour within batch b
Affinity        A_ij = exp(-d_ij^2 / sigma_{i,b_j}^2), A_ii = 1
Sparsifier      of row i sorted decreasingly, keep what stands before the elbow
Algorithm 1     draw rows with probability ~ 1 / (eps + c_j) until patience is exhausted
Correctors      smooth    X_hat = D^-1 A_S^T (A_S X)
                nystrom   X_hat = D^-1 A_S^T (A_SS)^+ (A_S X)
                displace  x_hat_j = x_j + sum_i A_ij l_{i,b_j} (mu_i - mu_{i,b_j}) / sum_i A_ij
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

EPS = 1e-3
BIN = 1 / 256
LAST_U = 8.0


@dataclass
class ReferenceRun:
    rows: list[int]
    scales: np.ndarray
    thresholds: np.ndarray
    affinities: np.ndarray
    coverage: np.ndarray
    stop_reason: str


def squared_distances(P: np.ndarray) -> np.ndarray:
    P = P.astype(np.float64)
    return np.stack([((P - row) ** 2).sum(axis=1) for row in P])


def squared_scales(d2_row, i: int, batch: np.ndarray, k: int, floor: float, counts):
    """Squared local scales of row i, one a batch, from the rows that count."""
    scales = []
    for b in np.unique(batch):
        rows = [j for j in range(len(batch)) if batch[j] == b and j != i and counts[j]]
        others = np.sort(d2_row[rows])
        kth = others[min(k, len(others)) - 1] if len(others) else 0.0
        scales.append(max(kth, floor))
    return np.array(scales)


def elbow(u: np.ndarray) -> float:
    """Value of u at which the kept entries end: each u counts as the lower edge of its bin."""
    binned = np.sort(np.floor(u / BIN) * BIN)
    affinity = np.where(binned >= LAST_U, 0.0, np.exp(-binned))
    rank = np.arange(len(u))
    chord = 1.0 + (affinity[-1] - 1.0) * rank / rank[-1]
    depth = chord - affinity
    if depth.max() <= 1e-12:
        return LAST_U
    return min(binned[np.argmax(depth)], LAST_U)


def balans(
    P: np.ndarray,
    batch: np.ndarray,
    *,
    n_neighbors: int,
    patience: int,
    exponentials: Callable[[int, int], np.ndarray],
    max_rows: int | None = None,
    anchors: np.ndarray | None = None,
) -> ReferenceRun:
    """The sequential loop: one row drawn, scaled, cut and added at a time.

    ``exponentials(round, n)`` gives the n standard exponentials of a round; landmarks are drawn
    among the ``anchors``, and scales measured to them alone, if there are any.
    """
    counts = np.ones(len(P), dtype=bool) if anchors is None else anchors
    n = len(P)
    batch_number = np.unique(batch, return_inverse=True)[1]
    d2 = squared_distances(P)
    centred = P - P.mean(axis=0)
    floor = 2.0**-40 * float((centred.astype(np.float64) ** 2).sum()) / n
    coverage, rows, scales, thresholds, kept = np.zeros(n), [], [], [], []
    idle, reason = 0, ""
    while not reason:
        keys = exponentials(len(rows), n) * (EPS + coverage)
        keys[rows] = np.inf
        keys[~counts] = np.inf
        i = int(np.argmin(keys))
        row_scales = squared_scales(d2[i], i, batch, n_neighbors, floor, counts)
        u = d2[i] / row_scales[batch_number]
        # Scales to anchors alone say nothing of how dense other rows lie: no elbow.
        threshold = elbow(u) if anchors is None else LAST_U
        affinity = np.where(u < threshold, np.exp(-u), 0.0)
        n_new = int(((coverage == 0) & (affinity > 0)).sum())
        coverage = coverage + affinity
        rows.append(i)
        scales.append(row_scales)
        thresholds.append(threshold)
        kept.append(affinity)
        idle = idle + 1 if n_new == 0 else 0
        if idle >= patience:
            reason = "patience"
        elif len(rows) == counts.sum():
            reason = "all_rows"
        elif len(rows) == max_rows:
            reason = "max_rows"
    return ReferenceRun(
        rows, np.sqrt(scales), np.array(thresholds), np.array(kept), coverage, reason
    )


def smooth(run: ReferenceRun, P: np.ndarray, X: np.ndarray, batch: np.ndarray) -> np.ndarray:
    """X_hat = D^-1 A_S^T (A_S X); rows without affinity go to the landmark of smallest u."""
    A = run.affinities
    sums = A @ X.astype(np.float64)
    weights = A.sum(axis=1)
    normaliser = A.T @ weights
    corrected = (A.T @ sums) / np.where(normaliser > 0, normaliser, 1)[:, None]
    batch_number = np.unique(batch, return_inverse=True)[1]
    for j in np.flatnonzero(normaliser == 0):
        d2 = ((P[run.rows].astype(np.float64) - P[j]) ** 2).sum(axis=1)
        nearest = np.argmin(d2 / run.scales[:, batch_number[j]] ** 2)
        corrected[j] = sums[nearest] / weights[nearest]
    return corrected


def nearest_landmark(run: ReferenceRun, P: np.ndarray, batch: np.ndarray, j: int) -> int:
    batch_number = np.unique(batch, return_inverse=True)[1]
    d2 = ((P[run.rows].astype(np.float64) - P[j]) ** 2).sum(axis=1)
    return int(np.argmin(d2 / run.scales[:, batch_number[j]] ** 2))


def nystrom(run: ReferenceRun, P: np.ndarray, X: np.ndarray, batch: np.ndarray) -> np.ndarray:
    """A_S^T (A_SS)^+ (A_S X), row-normalised; rows whose weights cancel follow the nearest."""
    A = run.affinities
    among = (A[:, run.rows] + A[:, run.rows].T) / 2
    values, vectors = np.linalg.eigh(among)
    inverse = np.zeros_like(among)
    for value, vector in zip(values, vectors.T, strict=True):
        if value > 1e-3 * values[-1]:
            inverse += np.outer(vector, vector) / value
    sums, weights = A @ X.astype(np.float64), A.sum(axis=1)
    spread = inverse @ weights
    corrected = np.empty(X.shape)
    for j in range(len(X)):
        normaliser = A[:, j] @ spread
        if normaliser > 0.1 * (A[:, j] @ np.abs(spread)):
            corrected[j] = A[:, j] @ inverse @ sums / normaliser
        else:
            nearest = nearest_landmark(run, P, batch, j)
            corrected[j] = sums[nearest] / weights[nearest]
    return corrected


def displace(run: ReferenceRun, P, X, batch: np.ndarray, anchors=None) -> np.ndarray:
    """Every row moves by the weighted mean of its landmarks' displacements of its batch."""
    counts = np.ones(len(P), dtype=bool) if anchors is None else anchors
    A, X = run.affinities, X.astype(np.float64)
    names, batch_number = np.unique(batch, return_inverse=True)
    moves = np.zeros((len(A), len(names), X.shape[1]))
    for i, row in enumerate(A):
        in_batch = {name: (batch == name) & counts for name in names}
        weight = np.array([row[in_batch[name]].sum() for name in names])
        means = np.array(
            [
                row[in_batch[name]] @ X[in_batch[name]] / max(w, 1e-300)
                for name, w in zip(names, weight, strict=True)
            ]
        )
        trust = weight / (weight + 1.0)
        target = (trust[:, None] * means).sum(axis=0) / max(trust.sum(), 1e-300)
        moves[i] = trust[:, None] * (target - means)
    moved = X.copy()
    for j in range(len(X)):
        total = A[:, j].sum()
        if total > 0:
            moved[j] += A[:, j] @ moves[:, batch_number[j]] / total
        else:
            moved[j] += moves[nearest_landmark(run, P, batch, j), batch_number[j]]
    return moved


def meet(run: ReferenceRun, P, batch, new_P, new_batch, *, n_neighbors, floor, cap=None):
    """Landmarks of a run meet further rows: scales of unknown batches come from the new rows.

    Returns the affinities of the landmarks to the new rows.
    """
    known = list(np.unique(batch))
    landmarks = P[run.rows].astype(np.float64)
    affinities = np.zeros((len(landmarks), len(new_P)))
    for i, landmark in enumerate(landmarks):
        d2 = ((new_P.astype(np.float64) - landmark) ** 2).sum(axis=1)
        for b in np.unique(new_batch):
            here = np.flatnonzero(new_batch == b)
            if b in known:
                scale2 = run.scales[i, known.index(b)] ** 2
            else:
                near = np.sort(d2[here])
                scale2 = max(near[min(n_neighbors, len(near)) - 1], floor)
                if cap is not None:
                    scale2 = min(scale2, cap**2 * (run.scales[i] ** 2).min())
            u = d2[here] / scale2
            affinities[i, here] = np.where(u < run.thresholds[i], np.exp(-u), 0.0)
    return affinities


def frozen_smooth(run: ReferenceRun, X, A_new, new_X, middle=None):
    """D^-1 A_new^T M (A_S X) with the sums of the fit; M is the identity or a pseudo-inverse."""
    sums, weights = run.affinities @ X.astype(np.float64), run.affinities.sum(axis=1)
    spread = A_new.T if middle is None else A_new.T @ middle
    total = spread @ weights
    covered = A_new.sum(axis=0) > 0
    moved = new_X.astype(np.float64).copy()
    moved[covered] = (spread @ sums)[covered] / total[covered, None]
    return moved, covered


def frozen_displace(run: ReferenceRun, X, batch, A_new, new_X, new_batch):
    """Known batches move as the fit's rows do; unknown ones towards the fit's targets."""
    X, new_X = X.astype(np.float64), new_X.astype(np.float64)
    moved, covered = new_X.copy(), A_new.sum(axis=0) > 0

    def mean_and_trust(row, rows):
        weight = row.sum()
        return (row @ rows / weight if weight else rows[0] * 0), weight / (weight + 1.0)

    moves = {}
    for i, row in enumerate(run.affinities):
        met = [mean_and_trust(row[batch == b], X[batch == b]) for b in np.unique(batch)]
        target = sum(t * m for m, t in met) / sum(t for _, t in met)
        for b, (mean, trust) in zip(np.unique(batch), met, strict=True):
            moves[i, b] = trust * (target - mean)
        for b in set(np.unique(new_batch)) - set(np.unique(batch)):
            mean, trust = mean_and_trust(A_new[i, new_batch == b], new_X[new_batch == b])
            moves[i, b] = trust * (target - mean)
    for j in np.flatnonzero(covered):
        shift = sum(A_new[i, j] * moves[i, new_batch[j]] for i in range(len(A_new)))
        moved[j] += shift / A_new[:, j].sum()
    return moved, covered


def sphere(X, controls):
    """Whiten all rows by the controls' covariance, shrunk as Ledoit and Wolf (2004) do: their

    S, m = tr(S) / p, d^2 = |S - m I|^2, b^2 = sum_k |x_k x_k^T - S|^2 / n^2, of norms by entries
    over p; Sigma = b^2 / d^2 m I + (1 - b^2 / d^2) S, and (x - mean) Sigma^-1/2.
    """
    X = np.asarray(X, dtype=np.float64)
    mean = X[controls].mean(axis=0)
    centred = X[controls] - mean
    n, p = centred.shape
    S = centred.T @ centred / n
    m = np.trace(S) / p
    d2 = ((S - m * np.eye(p)) ** 2).sum() / p
    b2 = sum(((np.outer(x, x) - S) ** 2).sum() / p for x in centred) / n**2
    share = min(b2, d2) / d2
    values, vectors = np.linalg.eigh(share * m * np.eye(p) + (1 - share) * S)
    return (X - mean) @ (vectors @ np.diag(values**-0.5) @ vectors.T), share
