"""`align` from its equations alone: dense, all landmarks beside all rows. Imports nothing of ours.

s_b    median of sigma^2_{i,b} over the landmarks i of batch b, drawn to the median over all
e_ij   2 d_ij^2 / (s_{b_i} + s_{b_j});  e*_j its least over landmarks of other batches
E_ij   exp(-max(0, e_ij / e*_j - 1) / 0.1);  1 where no landmark is of another batch
rho    (sum A E / sum A across) / (sum A E / sum A within);  kappa = .75 clip((rho - .5) / .3, 0, 1)
r_ib   min(1, h_ib / h_{i,b_i}), at least kappa / .75, 1 for its own batch: how far b is believed
A'     A E^(1 - kappa), A'' = A E^((1 - kappa) / 2), of float32: what is below its range is nothing

Only rows that ``counts`` names are summed; all rows move. Tables have one row a landmark.
"""

from dataclasses import dataclass, replace

import numpy as np

from tests.support.reference import ReferenceRun

LEAST = 2.0**-40


@dataclass
class Evidence:
    """What one step knows before it looks at any column."""

    E: np.ndarray
    rho: float
    kappa: float
    r: np.ndarray
    gates: np.ndarray
    own: np.ndarray
    s: float
    of_batch: np.ndarray
    h_across: float
    h_own: np.ndarray


@dataclass
class Fields:
    """What one step has learned of one matrix: enough to move rows, also of batches to come."""

    step: str
    found: Evidence
    shared: bool
    uses: np.ndarray
    g: np.ndarray
    t: np.ndarray
    moves: np.ndarray | None = None
    a: np.ndarray | None = None
    m: np.ndarray | None = None
    t_scale: np.ndarray | None = None
    common: np.ndarray | None = None
    mean_a: np.ndarray | None = None
    centre: np.ndarray | None = None


def distances(landmarks: np.ndarray, P: np.ndarray) -> np.ndarray:
    wide = P.astype(np.float64)
    return np.stack([((wide - row) ** 2).sum(axis=1) for row in landmarks.astype(np.float64)])


def evidence_table(d2, own, batch, of_batch, s, total_variance):
    """E_ij, from d_ij^2, the batches of landmarks and rows, and the batches' units."""
    e = 2 * d2 / (of_batch[own][:, None] + of_batch[batch][None, :])
    across = own[:, None] != batch[None, :]
    nearest = np.where(across, e, np.inf).min(axis=0)
    nearest = np.maximum(nearest, LEAST * total_variance / s)
    with np.errstate(under="ignore"):
        E = np.exp(-np.maximum(0.0, e / nearest - 1.0) / 0.1)
    E[:, np.isinf(nearest)] = 1.0
    return E


def weighed(A: np.ndarray, E: np.ndarray, power: float) -> np.ndarray:
    """A E^power; what float32 cannot hold is nothing."""
    with np.errstate(under="ignore"):
        return (A * E**power).astype(np.float32).astype(np.float64)


def risen(share):
    return np.clip((share - 0.5) / 0.3, 0.0, 1.0)


def evidence(
    run: ReferenceRun,
    P: np.ndarray,
    batch: np.ndarray,
    step: str,
    total_variance: float,
    shared: bool = False,
    counts: np.ndarray | None = None,
) -> Evidence:
    """E, rho, kappa, r_ib and the gates G_ib; ``batch`` holds codes, ``counts`` reference rows."""
    A, rows = run.affinities, np.array(run.rows)
    counts = np.ones(len(P), dtype=bool) if counts is None else counts
    n_batches, own = batch.max() + 1, batch[rows]
    squared = run.scales[np.arange(len(rows)), own] ** 2
    s = np.median(squared)
    of_batch = np.full(n_batches, s)
    for b in np.unique(own):
        q = (own == b).sum()
        of_batch[b] = np.exp((q * np.log(np.median(squared[own == b])) + 5 * np.log(s)) / (q + 5))
    E = evidence_table(distances(P[rows], P), own, batch, of_batch, s, total_variance)
    across = own[:, None] != batch[None, :]
    pairs = np.broadcast_to(counts, A.shape).copy()
    pairs[np.arange(len(rows)), rows] = False
    sure = weighed(A, E, 1.0)

    def share(which: np.ndarray) -> float:
        total = A[which].sum()
        return sure[which].sum() / total if total > 0 else 0.0

    h_across, h_within = share(pairs & across), share(pairs & ~across)
    rho = min(1.0, h_across / h_within) if h_across > 0 and h_within > 0 else 0.0
    kappa = 0.0 if step == "location" else 0.75 * float(risen(rho))
    if shared:
        kappa = 1.0
    r, gates, h_own = np.ones((len(rows), n_batches)), np.ones((len(rows), n_batches)), []
    for i in range(len(rows)):
        h = np.zeros(n_batches)
        for b in range(n_batches):
            which = pairs[i] & (batch == b)
            prior = h_within if b == own[i] else h_across
            h[b] = (sure[i, which].sum() + 5 * prior) / (A[i, which].sum() + 5)
        h_own.append(h[own[i]])
        for b in range(n_batches):
            if b != own[i]:
                r[i, b], gates[i, b] = belief_and_gate(h[b], h_own[i], kappa)
    return Evidence(E, rho, kappa, r, gates, own, s, of_batch, h_across, np.array(h_own))


def belief_and_gate(h: float, h_own: float, kappa: float) -> tuple[float, float]:
    """r_ib and G_ib of another batch than the landmark's."""
    ratio, least = h / h_own if h_own > 0 else 0.0, min(1.0, kappa / 0.75)
    return max(min(1.0, ratio), least), max(risen(ratio), least)


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


def trusts(W: np.ndarray, r: np.ndarray):
    """w, p, and w without the landmarks that one batch alone reaches."""
    w = r * W / (W + 1.0)
    p = w / np.where(w.sum(axis=1) > 0, w.sum(axis=1), 1.0)[:, None]
    return w, p, np.where(((W > 0).sum(axis=1) > 1)[:, None], w, 0.0)


def offsets(W: np.ndarray, mu: np.ndarray, sizes: np.ndarray, r: np.ndarray):
    """g, less its row-weighted mean where batches meet, and t_i = sum_b p_ib (mu_ib + g_b)."""
    _, p, met = trusts(W, r)
    L = np.diag(met.sum(axis=0)) - met.T @ p
    g = np.zeros((W.shape[1], mu.shape[2]))
    if np.trace(L) > 0:
        middle = np.einsum("ib,ibf->if", p, mu)
        R = np.einsum("ib,ibf->bf", met, middle[:, None] - mu)
        ridge = 1e-3 * np.trace(L) / len(L)
        g = np.linalg.solve(L + ridge * np.eye(len(L)), R)
        meets = np.diag(L) > 0
        g[meets] -= sizes[meets] @ g[meets] / sizes[meets].sum()
    t = np.einsum("ib,ibf->if", p, mu + g[None])
    return g, t


def rows_shared_out(A: np.ndarray, batch: np.ndarray, n_batches: int) -> np.ndarray:
    """o_ib: every row is shared out among the landmarks that reach it."""
    c = A.sum(axis=0)
    share = A / np.where(c > 0, c, 1.0)
    return np.stack([share[:, batch == b].sum(axis=1) for b in range(n_batches)], axis=1)


def scale_moments(omega, mu, V, t, common, mean_square=0.0):
    """m_b, v_b and v_t of every batch; 0 for one without any omega, and what rounding leaves."""
    m = np.zeros((omega.shape[1], mu.shape[2]))
    v, v_t = np.zeros_like(m), np.zeros_like(m)
    for b in range(omega.shape[1]):
        total = omega[:, b].sum()
        if total > 0:
            share = omega[:, b] / total
            m[b] = share @ mu[:, b]
            v[b] = share @ ((mu[:, b] - m[b]) ** 2 + V[:, b])
            v_t[b] = share @ ((t - share @ t) ** 2 + common)
    least = LEAST * mean_square
    return m, np.where(v > least, v, 0.0), np.where(v_t > least, v_t, 0.0)


def rows_met(half: np.ndarray, batch: np.ndarray, n_batches: int) -> np.ndarray:
    reach = np.minimum(1.0, half.sum(axis=0))
    return np.array([reach[batch == b].sum() for b in range(n_batches)])


def scale_fields(run, found: Evidence, X, batch, sizes, counts):
    """g, m_b, v_b and v_t of every batch, the rows N_b that meet others, and the targets."""
    n_batches = len(sizes)
    X, batch_of = X[counts], batch[counts]
    A, E = run.affinities[:, counts], found.E[:, counts]
    sure = weighed(A, E, 1 - found.kappa)
    g, t = offsets(*moments(sure, X, batch_of, n_batches)[:2], sizes, found.r)
    half = weighed(A, E, (1 - found.kappa) / 2)
    W, mu, V = moments(half, X, batch_of, n_batches)
    _, p, met = trusts(W, found.r)
    t_scale = np.einsum("ib,ibf->if", p, mu + g[None])
    common = np.einsum("ib,ibf->if", p, V)
    omega = met * rows_shared_out(A, batch_of, n_batches)
    m, v, v_t = scale_moments(omega, mu, V, t_scale, common, X.var(axis=0))
    return g, t, m, v, v_t, rows_met(half, batch_of, n_batches), t_scale, common


def unshrunk(v, v_t, N, uses):
    """a_bf before it is centred, and of which batches it is known."""
    a = np.zeros_like(v)
    known = (v[:, uses] > 0).all(axis=1) & (v_t[:, uses] > 0).all(axis=1)
    for b in np.flatnonzero(known):
        vb, vt = v[b, uses], v_t[b, uses]
        u, u0 = 0.5 * np.log(vb / vt), 0.5 * np.log(vb.sum() / vt.sum())
        z = 0.75 / max(N[b], 1.0)
        tau = max(0.0, ((u - u0) ** 2).mean() - z)
        a[b, uses] = (u0 + (u - u0) * tau / (tau + z)) * N[b] / (N[b] + 50.0)
    return a, known


def log_scales(v, v_t, N, sizes, uses):
    """a_bf, less its row-weighted mean, within +-0.7, and that mean; ``uses``: what counts."""
    a, known = unshrunk(v, v_t, N, uses)
    mean = sizes @ a / sizes.sum()
    return np.where(known[:, None], np.clip(a - mean, -0.7, 0.7), 0.0), mean


def softness(found: Evidence, shared: bool) -> float:
    return 1.0 if shared else 3.0 - 2.0 * found.kappa / 0.75


def local_moves(W, mu, t, g, gates, soft):
    """g_b + G_ib W_ib / (W_ib + lambda) (t_i - mu_ib - g_b)."""
    trust = gates * W / (W + soft)
    return g[None] + trust[:, :, None] * (t[:, None] - mu - g[None])


def learn(
    run: ReferenceRun,
    P: np.ndarray,
    X: np.ndarray,
    batch: np.ndarray,
    step: str,
    total_variance: float,
    shared: bool = False,
    counts: np.ndarray | None = None,
    uses: np.ndarray | None = None,
) -> Fields:
    """What one step, location, scale or local, finds in X, measured in P."""
    X = X.astype(np.float64)
    counts = np.ones(len(P), dtype=bool) if counts is None else counts
    uses = np.ones(X.shape[1], dtype=bool) if uses is None else uses
    found = evidence(run, P, batch, step, total_variance, shared, counts)
    sizes = np.bincount(batch).astype(float)
    if step == "scale":
        g, t, m, v, v_t, N, t_scale, common = scale_fields(run, found, X, batch, sizes, counts)
        a, mean_a = log_scales(v, v_t, N, sizes, uses)
        centre = X[counts].mean(axis=0)
        return Fields(step, found, shared, uses, g, t, None, a, m, t_scale, common, mean_a, centre)
    weights = weighed(run.affinities, found.E, 1 - found.kappa)[:, counts]
    W, mu, _ = moments(weights, X[counts], batch[counts], len(sizes))
    g, t = offsets(W, mu, sizes, found.r)
    if step == "location":
        return Fields(step, found, shared, uses, g, t)
    moves = local_moves(W, mu, t, g, found.gates, softness(found, shared))
    return Fields(step, found, shared, uses, g, t, moves)


def meet(fields: Fields, landmarks, A, P, X, batch, total_variance, *, small=(), counts=None):
    """Fields of further batches: their own rows, towards the targets of the fit.

    ``batch`` holds codes, from the number of fitted batches on for new ones; ``A`` the affinities
    of the landmarks to these rows. A batch of ``small`` gets its offset alone.
    """
    X, found, n_known = X.astype(np.float64), fields.found, len(fields.g)
    n_batches = batch.max() + 1
    counts = batch >= n_known if counts is None else counts & (batch >= n_known)
    of_batch = np.append(found.of_batch, np.full(n_batches - n_known, found.s))
    E = evidence_table(distances(landmarks, P), found.own, batch, of_batch, found.s, total_variance)
    A, E, X, batch_of = A[:, counts], E[:, counts], X[counts], batch[counts]
    new = np.arange(n_known, n_batches)
    kappa = found.kappa
    W, mu, _ = (of[:, new] for of in moments(weighed(A, E, 1 - kappa), X, batch_of, n_batches))
    sure = weighed(A, E, 1.0)
    r, gates = np.zeros((len(A), len(new))), np.zeros((len(A), len(new)))
    for i in range(len(A)):
        for b in new:
            here = batch_of == b
            h = (sure[i, here].sum() + 5 * found.h_across) / (A[i, here].sum() + 5)
            r[i, b - n_known], gates[i, b - n_known] = belief_and_gate(h, found.h_own[i], kappa)
    w = trusts(W, r)[0]
    total = w.sum(axis=0) * (1 + 1e-3)
    g = np.einsum("ib,ibf->bf", w, fields.t[:, None] - mu)
    g = g / np.where(total > 0, total, 1.0)[:, None]
    all_g = np.concatenate([fields.g, g])
    if fields.step == "location":
        return replace(fields, g=all_g)
    if fields.step == "scale":
        half = weighed(A, E, (1 - kappa) / 2)
        W, mu, V = (of[:, new] for of in moments(half, X, batch_of, n_batches))
        omega = trusts(W, r)[0] * rows_shared_out(A, batch_of, n_batches)[:, new]
        mean_square = ((X - fields.centre) ** 2).mean(axis=0)
        m, v, v_t = scale_moments(omega, mu, V, fields.t_scale, fields.common, mean_square)
        N = rows_met(half, batch_of, n_batches)[new]
        a, known = unshrunk(v, v_t, N, fields.uses)
        a = np.where(known[:, None], np.clip(a - fields.mean_a, -0.7, 0.7), 0.0)
        a[np.isin(new, small)] = 0.0
        a, m = np.concatenate([fields.a, a]), np.concatenate([fields.m, m])
        return replace(fields, g=all_g, a=a, m=m)
    gates[:, np.isin(new, small)] = 0.0
    moves = local_moves(W, mu, fields.t, g, gates, softness(found, fields.shared))
    return replace(fields, g=all_g, moves=np.concatenate([fields.moves, moves], axis=1))


def move(fields: Fields, A, X, batch, uncovered: str = "offset", nearest=None) -> np.ndarray:
    """Move the rows of X; ``nearest`` names a landmark for every row, which some may follow."""
    X = X.astype(np.float64)
    covered = A.sum(axis=0) > 0
    if fields.step == "location":
        moved = X + fields.g[batch]
    elif fields.step == "scale":
        m = fields.m[batch]
        moved = (X - m) * np.exp(-fields.a[batch]) + m + fields.g[batch]
    else:
        moved = X + fields.g[batch]
        for j in np.flatnonzero(covered):
            moved[j] = X[j] + A[:, j] @ fields.moves[:, batch[j]] / A[:, j].sum()
        if uncovered == "nearest":
            for j in np.flatnonzero(~covered):
                moved[j] = X[j] + fields.moves[nearest[j], batch[j]]
    if uncovered == "keep":
        moved[~covered] = X[~covered]
    moved[:, ~fields.uses] = X[:, ~fields.uses]
    return moved
