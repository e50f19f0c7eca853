"""The guard against forced matching: a batch too far from a landmark loses its hold on it (ours).

Where a population is missing from a batch, the k nearest rows of that batch are wrong ones, and a
local scale makes them strong neighbours all the same. A landmark therefore has a limit, beyond
which a scale is not believed.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from balans_dask.kernels.local_scale import NearestByBatch
from balans_dask.parameters import AUTO

__all__ = ["GuardedScales", "guard_scales", "held_within", "squared_limits"]

LEAST_RATIO = 1.3
"""Scales of matching batches differ this much where noise makes all distances alike."""
STEEPNESS = 7
"""Beyond its limit L, sigma^2 becomes L^2 (L^2 / sigma^2)^7. A cap alone leaves wrong rows weight
enough to move others; leaving the batch out at once would make a cliff."""


@dataclass(frozen=True)
class GuardedScales:
    """What the guard makes of the scales of a block.

    Attributes
    ----------
    squared : ndarray of shape (n_landmarks, n_batches), float64
    limits : ndarray of shape (n_landmarks,), float64
        Largest sigma^2 that is believed; infinite without a guard.
    capped : ndarray of shape (n_landmarks,), bool
        Landmarks with a scale beyond their limit.
    """

    squared: NDArray[np.float64]
    limits: NDArray[np.float64]
    capped: NDArray[np.bool_]


def squared_limits(
    smallest: NDArray[np.float64], max_scale_ratio: float | str | None, total_variance: float
) -> NDArray[np.float64]:
    """Largest sigma^2 of each landmark that is believed.

    Parameters
    ----------
    smallest : ndarray of shape (n_landmarks,), float64
        The smallest sigma^2 of each landmark.
    max_scale_ratio : float, "auto" or None
        In units of the smallest sigma; ``"auto"`` takes it from the spread of the data, and never
        below 1.3; ``None``: no limit.
    total_variance : float
        Of the scores.
    """
    if max_scale_ratio is None:
        return np.full(smallest.shape, np.inf)
    if not isinstance(max_scale_ratio, str):
        return np.asarray(max_scale_ratio * max_scale_ratio * smallest)
    # Rows are sqrt(2 * total_variance) apart in the quadratic mean: the limit lies half way, by
    # ratios, from neighbours to strangers.
    limits = np.sqrt(smallest * (2.0 * total_variance))
    return np.maximum(limits, LEAST_RATIO * LEAST_RATIO * smallest)


def guard_scales(
    scales: NDArray[np.float64],
    nearest: NearestByBatch,
    max_scale_ratio: float | str | None,
    total_variance: float,
) -> GuardedScales:
    """Hold the scales of every landmark within its limit.

    A number caps; ``"auto"`` also shrinks what lies beyond the limit, the more the farther it lies.
    Batches without another row have no scale of their own and set no limit. ``None`` is the paper.

    Parameters
    ----------
    scales : ndarray of shape (n_landmarks, n_batches), float64
        Squared.
    nearest : NearestByBatch
        What they were made from.
    max_scale_ratio : float, "auto" or None
    total_variance : float
    """
    known = np.isfinite(nearest.squared[:, :, 0])
    smallest = np.where(known, scales, np.inf).min(axis=1)
    limits = squared_limits(smallest, max_scale_ratio, total_variance)
    return GuardedScales(
        squared=held_within(scales, limits, max_scale_ratio),
        limits=limits,
        capped=np.asarray((scales > limits[:, None]).any(axis=1)),
    )


def held_within(
    scales: NDArray[np.float64],
    limits: NDArray[np.float64],
    max_scale_ratio: float | str | None,
) -> NDArray[np.float64]:
    """Hold squared scales within the limits of their landmarks; within them, nothing changes.

    Parameters
    ----------
    scales : ndarray of shape (n_landmarks, n_batches), float64
    limits : ndarray of shape (n_landmarks,), float64
    max_scale_ratio : float, "auto" or None
        ``"auto"`` shrinks what lies beyond, anything else only caps.
    """
    held: NDArray[np.float64] = np.minimum(scales, limits[:, None])
    if max_scale_ratio == AUTO:
        share = np.divide(held, scales, out=np.ones_like(held), where=scales > 0.0)
        held = held * share**STEEPNESS
    return held
