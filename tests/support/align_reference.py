"""`align` from its equations alone: dense, every landmark beside every row. Imports nothing of ours.

s_b    median of sigma^2_{i,b} over the landmarks i of batch b, drawn to the median over all
e_ij   2 d_ij^2 / (s_{b_i} + s_{b_j});  e*_j its least over landmarks of other batches
E_ij   exp(-max(0, e_ij / e*_j - 1) / 0.1);  1 where no landmark is of another batch
rho    (sum A E / sum A across) / (sum A E / sum A within);  kappa = .75 clip((rho - .5) / .3, 0, 1)
A'     A E^(1 - kappa), A'' = A E^((1 - kappa) / 2)
"""

from dataclasses import dataclass

import numpy as np

from tests.support.reference import ReferenceRun, squared_distances

LEAST = 2.0**-40


@dataclass
class Evidence:
    """What one step knows before it looks at any column."""

    E: np.ndarray
    rho: float
    kappa: float
    gates: np.ndarray
    batch_of: np.ndarray


def evidence(
    run: ReferenceRun,
    P: np.ndarray,
    batch: np.ndarray,
    step: str,
    total_variance: float,
    shared: bool = False,
    counts: np.ndarray | None = None,
) -> Evidence:
    """E, rho, kappa and the gates G_ib; ``batch`` holds codes, ``counts`` the reference rows."""
    A, rows = run.affinities, np.array(run.rows)
    counts = np.ones(len(P), dtype=bool) if counts is None else counts
    n_batches, own = batch.max() + 1, batch[rows]
    squared = run.scales[np.arange(len(rows)), own] ** 2
    s = np.median(squared)
    of_batch = np.full(n_batches, s)
    for b in np.unique(own):
        q = (own == b).sum()
        of_batch[b] = np.exp((q * np.log(np.median(squared[own == b])) + 5 * np.log(s)) / (q + 5))
    d2 = squared_distances(P)[rows]
    e = 2 * d2 / (of_batch[own][:, None] + of_batch[batch][None, :])
    across = own[:, None] != batch[None, :]
    nearest = np.where(across, e, np.inf).min(axis=0)
    nearest = np.maximum(nearest, LEAST * total_variance / s)
    E = np.exp(-np.maximum(0.0, e / nearest - 1.0) / 0.1)
    E[:, np.isinf(nearest)] = 1.0
    pairs = np.broadcast_to(counts, A.shape).copy()
    pairs[np.arange(len(rows)), rows] = False

    def share(which: np.ndarray) -> float:
        total = A[which].sum()
        return (A * E)[which].sum() / total if total > 0 else 0.0

    h_across, h_within = share(pairs & across), share(pairs & ~across)
    rho = min(1.0, h_across / h_within) if h_across > 0 and h_within > 0 else 0.0
    kappa = 0.0 if step == "location" else 0.75 * float(np.clip((rho - 0.5) / 0.3, 0.0, 1.0))
    if shared:
        kappa = 1.0
    gates = np.ones((len(rows), n_batches))
    for i in range(len(rows)):
        h = {}
        for b in range(n_batches):
            which = pairs[i] & (batch == b)
            prior = h_within if b == own[i] else h_across
            h[b] = ((A * E)[i, which].sum() + 5 * prior) / (A[i, which].sum() + 5)
        for b in range(n_batches):
            if b != own[i]:
                gate = np.clip((h[b] / h[own[i]] - 0.5) / 0.3, 0.0, 1.0) if h[own[i]] > 0 else 0.0
                gates[i, b] = max(gate, min(1.0, kappa / 0.75))
    return Evidence(E, rho, kappa, gates, own)


def moments(weights: np.ndarray, X: np.ndarray, batch: np.ndarray, n_batches: int):
    """Sums of weights, weighted means, and weighted variances of every landmark and batch."""
    W = np.stack([weights[:, batch == b].sum(axis=1) for b in range(n_batches)], axis=1)
    mu = np.zeros((*W.shape, X.shape[1]))
    V = np.zeros_like(mu)
    for b in range(n_batches):
        inside = weights[:, batch == b]
        total = np.where(W[:, b] > 0, W[:, b], 1.0)[:, None]
        mu[:, b] = inside @ X[batch == b] / total
        for i in range(len(W)):
            V[i, b] = inside[i] @ (X[batch == b] - mu[i, b]) ** 2 / total[i]
    return W, mu, V


def offsets(W: np.ndarray, mu: np.ndarray, sizes: np.ndarray):
    """g, less its row-weighted mean, and the targets t_i = sum_b p_ib (mu_ib + g_b)."""
    w = W / (W + 1.0)
    p = w / np.where(w.sum(axis=1) > 0, w.sum(axis=1), 1.0)[:, None]
    met = np.where(((W > 0).sum(axis=1) > 1)[:, None], w, 0.0)
    L = np.diag(met.sum(axis=0)) - met.T @ p
    g = np.zeros((W.shape[1], mu.shape[2]))
    if np.trace(L) > 0:
        middle = np.einsum("ib,ibf->if", p, mu)
        R = np.einsum("ib,ibf->bf", met, middle[:, None] - mu)
        ridge = 1e-3 * np.trace(L) / len(L)
        g = np.linalg.solve(L + ridge * np.eye(len(L)), R)
        g = g - sizes @ g / sizes.sum()
    t = np.einsum("ib,ibf->if", p, mu + g[None])
    return g, t


def scale_fields(run, found: Evidence, X, batch, sizes, counts):
    """m_b, v_b and v_t of every batch, g, and the rows N_b that meet others."""
    A, n_batches = run.affinities, len(sizes)
    X, batch_of = X[counts], batch[counts]
    A, E = A[:, counts], found.E[:, counts]
    g, _ = offsets(*moments(A * E ** (1 - found.kappa), X, batch_of, n_batches)[:2], sizes)
    half = A * E ** ((1 - found.kappa) / 2)
    W, mu, V = moments(half, X, batch_of, n_batches)
    w = W / (W + 1.0)
    p = w / np.where(w.sum(axis=1) > 0, w.sum(axis=1), 1.0)[:, None]
    t = np.einsum("ib,ibf->if", p, mu + g[None])
    common = np.einsum("ib,ibf->if", p, V)
    c = A.sum(axis=0)
    o = np.stack(
        [(A / np.where(c > 0, c, 1.0))[:, batch_of == b].sum(axis=1) for b in range(n_batches)],
        axis=1,
    )
    omega = np.where(((W > 0).sum(axis=1) > 1)[:, None], w * o, 0.0)
    m = np.zeros((n_batches, X.shape[1]))
    v, v_t = np.zeros_like(m), np.zeros_like(m)
    for b in range(n_batches):
        total = omega[:, b].sum()
        if total == 0:
            m[b] = X[batch_of == b].mean(axis=0) if (batch_of == b).any() else 0.0
            continue
        share = omega[:, b] / total
        m[b] = share @ mu[:, b]
        v[b] = share @ ((mu[:, b] - m[b]) ** 2 + V[:, b])
        v_t[b] = share @ ((t - share @ t) ** 2 + common)
    reach = np.minimum(1.0, half.sum(axis=0))
    N = np.array([reach[batch_of == b].sum() for b in range(n_batches)])
    return g, m, v, v_t, N


def log_scales(v, v_t, N, sizes, uses):
    """a_bf, less its row-weighted mean, within +-0.7; ``uses``: columns that take part."""
    a = np.zeros_like(v)
    known = (v[:, uses] > 0).all(axis=1) & (v_t[:, uses] > 0).all(axis=1)
    for b in np.flatnonzero(known):
        vb, vt = v[b, uses], v_t[b, uses]
        u, u0 = 0.5 * np.log(vb / vt), 0.5 * np.log(vb.sum() / vt.sum())
        z = 0.75 / max(N[b], 1.0)
        tau = max(0.0, ((u - u0) ** 2).mean() - z)
        a[b, uses] = (u0 + (u - u0) * tau / (tau + z)) * N[b] / (N[b] + 50.0)
    a = a - sizes @ a / sizes.sum()
    a[~known] = 0.0
    return np.clip(a, -0.7, 0.7)


def align_step(
    run: ReferenceRun,
    P: np.ndarray,
    X: np.ndarray,
    batch: np.ndarray,
    step: str,
    total_variance: float,
    shared: bool = False,
    counts: np.ndarray | None = None,
    uses: np.ndarray | None = None,
) -> tuple[np.ndarray, Evidence]:
    """Move the rows of X, measured in P, by one step: location, scale or local."""
    X = X.astype(np.float64)
    counts = np.ones(len(P), dtype=bool) if counts is None else counts
    uses = np.ones(X.shape[1], dtype=bool) if uses is None else uses
    found = evidence(run, P, batch, step, total_variance, shared, counts)
    sizes = np.bincount(batch).astype(float)
    if step == "scale":
        g, m, v, v_t, N = scale_fields(run, found, X, batch, sizes, counts)
        a = log_scales(v, v_t, N, sizes, uses)
        moved = (X - m[batch]) * np.exp(-a[batch]) + m[batch] + g[batch]
        return moved, found
    A = run.affinities
    weights = (A * found.E ** (1 - found.kappa))[:, counts]
    W, mu, _ = moments(weights, X[counts], batch[counts], len(sizes))
    g, t = offsets(W, mu, sizes)
    if step == "location":
        return X + g[batch], found
    softness = 1.0 if shared else 3.0 - 2.0 * found.kappa / 0.75
    trust = found.gates * W / (W + softness)
    moves = g[None] + trust[:, :, None] * (t[:, None] - mu - g[None])
    moved = X.copy()
    for j in range(len(X)):
        total = A[:, j].sum()
        here = A[:, j] @ moves[:, batch[j]] / total if total > 0 else g[batch[j]]
        moved[j] += here
    return moved, found
