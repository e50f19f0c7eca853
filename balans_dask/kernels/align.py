"""The fields of ``align``: how batches lie to each other, from sums near the landmarks.

Near landmark i the rows of batch b weigh W_ib, have the mean mu_ib, and are trusted by
w_ib = r_ib W_ib / (W_ib + 1), where the belief r_ib says how far rows confirm their matches; p_ib
is the batch's share of that trust. One linear system for all landmarks then finds the offset g_b of
every batch, from which follow the place t_i where batches meet, the scale of every batch, and the
moves of its rows near every landmark. Our choice; the paper has no counterpart.

Tables have one row a batch and one column a landmark, (n_batches, n_landmarks), and tables of
columns a third axis.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

__all__ = [
    "LEAST_SHARED",
    "MOST_KAPPA",
    "Meetings",
    "OffsetSystem",
    "PairShares",
    "ScaleMoments",
    "beliefs",
    "drawn_shares",
    "gates",
    "local_moves",
    "log_scales",
    "means_and_variances",
    "meeting_places",
    "meetings",
    "new_log_scales",
    "new_offsets",
    "offset_sides",
    "pair_shares",
    "relative_shares",
    "scale_moments",
    "shared_kappa",
    "trusts",
    "unshrunk_log_scales",
]

Floats = NDArray[np.float64]

RIDGE = 1e-3
"""Share of the mean of the Laplacian's diagonal that is added to it."""
FAINT = 2.0**-30
"""Share of all trust up to which batches do not meet: half of the digits of g are gone there."""
LEAST_SHARED, SHARED_SPAN = 0.5, 0.3
"""rho, or a gate's ratio, at which a match begins to count, and what it takes to count whole."""
MOST_KAPPA = 0.75
"""kappa where the rows themselves say that populations are shared; 1 where the user does."""
GATE_PRIOR = 5.0
"""Affinity's worth of the share over all pairs in that of one landmark and batch."""
NOISE = 0.75
"""Variance of the logarithm of a batch's scale, times its rows."""
SCALE_ROWS = 50.0
"""Rows that meet others at which a batch's scale is believed by half."""
MOST_LOG_SCALE = 0.7
LEAST_SPREAD = 2.0**-40
"""Share of a mean square that is no variance: rounding leaves as much of equal values."""


@dataclass(frozen=True)
class PairShares:
    """How far the affinities to other batches, and within batches, are confirmed by the rows.

    Attributes
    ----------
    across, within : float
        Sum of A E over that of A, without the landmarks themselves; 0 where there are no pairs.
    of_pair : ndarray of shape (n_batches, n_landmarks), float64
        The same for every landmark and batch, drawn to the two.
    of_own : ndarray of shape (n_landmarks,), float64
        Of every landmark and its own batch.
    """

    across: float
    within: float
    of_pair: Floats
    of_own: Floats

    @property
    def rho(self) -> float:
        """Are populations shared? From 0, not at all, to 1."""
        if self.across <= 0.0 or self.within <= 0.0:
            return 0.0
        return min(1.0, self.across / self.within)

    def relative(self, own: NDArray[np.integer]) -> Floats:
        """Return those of pairs beside the own batch's, which is 1 whatever its rows confirm."""
        found = relative_shares(self.of_pair, self.of_own)
        found[own, np.arange(len(own))] = 1.0
        return found


def pair_shares(confirmed: Floats, affinity: Floats, own: NDArray[np.integer]) -> PairShares:
    """Compare affinities with and without evidence.

    Parameters
    ----------
    confirmed, affinity : ndarray of shape (n_batches, n_landmarks), float64
        Sums of A E and of A, without the landmarks themselves.
    own : ndarray of shape (n_landmarks,), integer
        Batch of every landmark.
    """
    is_own = np.arange(len(affinity))[:, None] == own

    def share(which: NDArray[np.bool_]) -> float:
        total = float(affinity[which].sum())
        return float(confirmed[which].sum()) / total if total > 0.0 else 0.0

    across, within = share(~is_own), share(is_own)
    of_pair = drawn_shares(confirmed, affinity, np.where(is_own, within, across))
    return PairShares(across, within, of_pair, of_pair[own, np.arange(len(own))])


def drawn_shares(confirmed: Floats, affinity: Floats, prior: Floats | float) -> Floats:
    """Return the share of every landmark and batch, drawn to that over all pairs."""
    shares: Floats = (confirmed + GATE_PRIOR * prior) / (affinity + GATE_PRIOR)
    return shares


def shared_kappa(rho: float) -> float:
    """Weigh matches that the rows do not confirm: 0, not at all, to 0.75."""
    return MOST_KAPPA * float(_risen(np.asarray(rho)))


def relative_shares(of_pair: Floats, of_own: Floats) -> Floats:
    """Compare a batch with the landmark's own: h_ib / h_{i,b_i}, at most 1.

    Parameters
    ----------
    of_pair : ndarray of shape (n_batches, n_landmarks), float64
    of_own : ndarray of shape (n_landmarks,), float64

    Returns
    -------
    relative : ndarray of shape (n_batches, n_landmarks), float64
        0 where the landmark's own rows are not confirmed.
    """
    ratio = np.divide(of_pair, of_own, out=np.zeros_like(of_pair), where=of_own > 0.0)
    return np.minimum(ratio, 1.0)


def beliefs(relative: Floats, kappa: float) -> Floats:
    """How far batches are believed to meet at a landmark, r_ib: of any shape, from 0 to 1."""
    return np.maximum(relative, min(1.0, kappa / MOST_KAPPA))


def gates(relative: Floats, kappa: float) -> Floats:
    """Hold moves back where a batch does not have what is near the landmark, G_ib."""
    return beliefs(_risen(relative), kappa)


def _risen(share: Floats) -> Floats:
    risen: Floats = np.clip((share - LEAST_SHARED) / SHARED_SPAN, 0.0, 1.0)
    return risen


@dataclass(frozen=True)
class Meetings:
    """Which batches meet at which landmarks.

    Attributes
    ----------
    share : ndarray of shape (n_batches, n_landmarks), float64
        p_ib.
    trust : ndarray of shape (n_batches, n_landmarks), float64
        w_ib; 0 at landmarks that one batch alone reaches.
    """

    share: Floats
    trust: Floats

    def laplacian(self) -> Floats:
        """L = diag(sum_i w_ib) - w p^T, of shape (n_batches, n_batches).

        All 0 where batches meet by a share ``FAINT`` of their trust, or less.
        """
        laplacian: Floats = self.trust @ -self.share.T
        # A row sums to 0. The difference of two sums may be negative where batches hardly meet.
        np.fill_diagonal(laplacian, 0.0)
        met = -laplacian.sum(axis=1)
        np.fill_diagonal(laplacian, met)
        if met.sum() <= FAINT * self.trust.sum():
            laplacian[:] = 0.0
        return laplacian


def meetings(weight: Floats, belief: Floats) -> Meetings:
    """Make p and w of the weights W_ib and beliefs r_ib, of shape (n_batches, n_landmarks)."""
    trust = trusts(weight, belief)
    total = trust.sum(axis=0)
    share = trust / np.where(total > 0.0, total, 1.0)
    several = (weight > 0.0).sum(axis=0) > 1
    return Meetings(share, np.where(several, trust, 0.0))


def trusts(weight: Floats, belief: Floats) -> Floats:
    """w_ib = r_ib W_ib / (W_ib + 1): rows that become many do not outvote what they confirm."""
    return belief * weight / (weight + 1.0)


def means_and_variances(sums: Floats, centre: Floats | None = None) -> tuple[Floats, Floats]:
    """mu_ib, and the variance of the rows of b near i where ``sums`` hold squares too.

    Parameters
    ----------
    sums : ndarray of shape (n_batches, n_landmarks, n_sums), float64
        Weighted sums of columns, or of columns less ``centre`` and of their squares; then W_ib.
    centre : ndarray of shape (n_columns,), float64, or None

    Returns
    -------
    means, variances : ndarray of shape (n_batches, n_landmarks, n_columns), float64
        Variances are empty without a centre.
    """
    weight = sums[:, :, -1:]
    moments = sums[:, :, :-1] / np.where(weight > 0.0, weight, 1.0)
    if centre is None:
        return moments, np.empty((*moments.shape[:2], 0))
    first, second = np.split(moments, 2, axis=2)
    means = np.where(weight > 0.0, first + centre, 0.0)
    spread = second - np.square(first)
    return means, np.where(spread > LEAST_SPREAD * second, spread, 0.0)


def meeting_places(met: Meetings, means: Floats, offsets: Floats | None = None) -> Floats:
    """t_i = sum_b p_ib (mu_ib + g_b), of shape (n_landmarks, n_columns)."""
    places: Floats = np.einsum("bi,bic->ic", met.share, means)
    return places if offsets is None else places + np.einsum("bi,bc->ic", met.share, offsets)


def offset_sides(met: Meetings, means: Floats) -> Floats:
    """R_b = sum_i w_ib (sum_b' p_ib' mu_ib' - mu_ib), of shape (n_batches, n_columns)."""
    sides: Floats = np.einsum("bi,bic->bc", met.trust, meeting_places(met, means)[None] - means)
    return sides


class OffsetSystem:
    """The linear system of the offsets, factorised once for any number of columns.

    Parameters
    ----------
    laplacian : ndarray of shape (n_batches, n_batches), float64
    sizes : ndarray of shape (n_batches,), integer
        Rows of every batch.

    Notes
    -----
    Cost: one Cholesky factorisation, n_batches cubed.
    """

    def __init__(self, laplacian: Floats, sizes: NDArray[np.integer]) -> None:
        # A batch that meets no other has no part in the mean of those that do.
        self._sizes = np.where(np.diag(laplacian) > 0.0, sizes, 0)
        self._factor: Any = None
        trace = np.trace(laplacian)
        if trace > 0.0:
            # The transpose, which is the same, is in LAPACK's order: it takes no further copy.
            ridged = laplacian.copy().T
            np.fill_diagonal(ridged, np.diag(laplacian) + RIDGE * trace / len(laplacian))
            self._factor = scipy.linalg.cho_factor(ridged, overwrite_a=True)

    def offsets(self, sides: Floats) -> Floats:
        """Return g, less its mean over the rows of batches that meet; 0 for those that do not.

        Parameters
        ----------
        sides : ndarray of shape (n_batches, n_columns), float64
        """
        if self._factor is None:
            return np.zeros_like(sides)
        offsets: Floats = scipy.linalg.cho_solve(self._factor, sides)
        centred = offsets - _row_mean(offsets, self._sizes)
        return np.where(self._sizes[:, None] > 0, centred, 0.0)


def new_offsets(weight: Floats, belief: Floats, means: Floats, places: Floats) -> Floats:
    """Offsets of batches that the fit has not seen, towards its own meeting places.

    Parameters
    ----------
    weight, belief : ndarray of shape (n_new, n_landmarks), float64
    means : ndarray of shape (n_new, n_landmarks, n_columns), float64
    places : ndarray of shape (n_landmarks, n_columns), float64
        t_i of the fit.
    """
    trust = trusts(weight, belief)
    total = (1.0 + RIDGE) * trust.sum(axis=1, keepdims=True)
    sides: Floats = np.einsum("bi,bic->bc", trust, places[None] - means)
    return sides / np.where(total > 0.0, total, 1.0)


@dataclass(frozen=True)
class ScaleMoments:
    """Variance of every batch, and of the batches where it meets them.

    Attributes
    ----------
    centre, variance, target : ndarray of shape (n_batches, n_columns), float64
        m_b, v_b, v_t; all 0 for a batch that meets no other, and variances of equal values.
    """

    centre: Floats
    variance: Floats
    target: Floats

    def of_columns(self, columns: NDArray[np.intp]) -> "ScaleMoments":
        """Return those of some columns."""
        return ScaleMoments(
            self.centre[:, columns], self.variance[:, columns], self.target[:, columns]
        )


def scale_moments(
    omega: Floats, sums: Floats, centre: Floats, places: Floats, common: Floats
) -> ScaleMoments:
    """Weigh what lies near the landmarks by where the rows of each batch are.

    Parameters
    ----------
    omega : ndarray of shape (n_batches, n_landmarks), float64
    sums, centre : ndarray
        As ``means_and_variances`` takes them.
    places, common : ndarray of shape (n_landmarks, n_columns), float64
        t_i, and V_i: the batches' common variance near i.
    """
    means, variances = means_and_variances(sums, centre)
    all_sums = sums.sum(axis=(0, 1))
    mean_square = all_sums[len(centre) : -1] / (all_sums[-1] or 1.0)
    total = omega.sum(axis=1, keepdims=True)
    share = omega / np.where(total > 0.0, total, 1.0)

    def spread(of: Floats, within: Floats) -> tuple[Floats, Floats]:
        middle = np.einsum("bi,bic->bc", share, of)
        squares = np.square(of - middle[:, None]) + within
        variance = np.einsum("bi,bic->bc", share, squares)
        return middle, np.where(variance > LEAST_SPREAD * mean_square, variance, 0.0)

    everywhere = (len(omega), *places.shape)
    centre, variance = spread(means, variances)
    _, target = spread(np.broadcast_to(places, everywhere), np.broadcast_to(common, everywhere))
    return ScaleMoments(centre, variance, target)


def log_scales(
    moments: ScaleMoments, n_met: Floats, sizes: NDArray[np.integer]
) -> tuple[Floats, Floats]:
    """Return a, less its mean over all rows and within +-0.7, and that mean.

    Parameters
    ----------
    moments : ScaleMoments
        Of columns that take part.
    n_met : ndarray of shape (n_batches,), float64
        N_b, the rows of every batch that meet others.
    sizes : ndarray of shape (n_batches,), integer
    """
    logs, known = unshrunk_log_scales(moments, n_met)
    mean = _row_mean(logs, sizes)
    return np.where(known[:, None], _clipped(logs - mean), 0.0), mean


def unshrunk_log_scales(moments: ScaleMoments, n_met: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Estimate a from the columns of one matrix together, and tell of which batches it is known."""
    variance, target = moments.variance, moments.target
    known: NDArray[np.bool_] = np.asarray(((variance > 0.0) & (target > 0.0)).all(axis=1))
    logs = np.zeros_like(variance)
    v, v_t, n = variance[known], target[known], n_met[known, None]
    of_column = 0.5 * np.log(v / v_t)
    of_all = 0.5 * np.log(v.sum(axis=1) / v_t.sum(axis=1))[:, None]
    noise = NOISE / np.maximum(n, 1.0)
    excess = np.square(of_column - of_all).mean(axis=1, keepdims=True) - noise
    signal = np.maximum(0.0, excess)
    shrunk = of_all + (of_column - of_all) * signal / (signal + noise)
    logs[known] = shrunk * n / (n + SCALE_ROWS)
    return logs, known


def new_log_scales(moments: ScaleMoments, n_met: Floats, mean: Floats) -> Floats:
    """Return a of batches that the fit has not seen, less the mean of the fit."""
    logs, known = unshrunk_log_scales(moments, n_met)
    return np.where(known[:, None], _clipped(logs - mean), 0.0)


def _clipped(logs: Floats) -> Floats:
    clipped: Floats = np.clip(logs, -MOST_LOG_SCALE, MOST_LOG_SCALE)
    return clipped


def _row_mean(table: Floats, sizes: NDArray[np.integer]) -> Floats:
    mean: Floats = np.einsum("b,bc->c", sizes.astype(np.float64), table) / float(sizes.sum())
    return mean


def local_moves(
    weight: Floats,
    means: Floats,
    places: Floats,
    offsets: Floats,
    gate: Floats,
    softness: float,
) -> NDArray[np.float32]:
    """Move of the rows of batch b near landmark i: to where batches meet, as far as it is known.

    Parameters
    ----------
    weight, gate : ndarray of shape (n_batches, n_landmarks), float64
        W_ib and G_ib.
    means : ndarray of shape (n_batches, n_landmarks, n_columns), float64
    places : ndarray of shape (n_landmarks, n_columns), float64
    offsets : ndarray of shape (n_batches, n_columns), float64
        Where nothing is known, a row moves with its batch.
    softness : float
        lambda: affinity at which a batch's mean near a landmark is trusted by half.
    """
    trust = gate * weight / (weight + softness)
    moves = offsets[:, None] + trust[:, :, None] * (places[None] - means - offsets[:, None])
    return moves.astype(np.float32)
