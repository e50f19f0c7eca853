"""Two groups of runs compared: tests, equivalence within a margin, and what could be detected."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.stats
from numpy.typing import NDArray

__all__ = ["LEVEL", "POWER", "Comparison", "compare", "corrected", "counts_differ", "detectable"]

LEVEL = 0.05
POWER = 0.8
N_PERMUTATIONS = 5000
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Comparison:
    """One figure of two groups of independent runs.

    Attributes
    ----------
    difference : float
        Of the means.
    low, high : float
        Its 95 % interval (Welch).
    inner : tuple of float
        Its 90 % interval: inside a margin, the two one-sided tests say equivalent at 5 %.
    p_mean, p_shape : float
        Welch's t-test, and Kolmogorov-Smirnov's test of the whole distribution.
    error : float
        Standard error of the difference.
    """

    difference: float
    low: float
    high: float
    inner: tuple[float, float]
    p_mean: float
    p_shape: float
    error: float

    def equivalent(self, margin: float) -> bool:
        """Both one-sided tests reject a difference of the margin."""
        return -margin < self.inner[0] and self.inner[1] < margin


def compare(first: Sequence[float], second: Sequence[float]) -> Comparison:
    """Compare the second group with the first."""
    one, other = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    difference = float(other.mean() - one.mean())
    error = float(np.sqrt(one.var(ddof=1) / len(one) + other.var(ddof=1) / len(other)))
    p_shape = float(scipy.stats.ks_2samp(one, other).pvalue)
    if error == 0.0:
        same = float(difference == 0.0)
        sides = (difference, difference)
        return Comparison(difference, *sides, sides, same, p_shape, error)
    test = scipy.stats.ttest_ind(other, one, equal_var=False)
    wide, narrow = test.confidence_interval(0.95), test.confidence_interval(0.90)
    inner = (float(narrow.low), float(narrow.high))
    return Comparison(
        difference, float(wide.low), float(wide.high), inner, float(test.pvalue), p_shape, error
    )


def counts_differ(first: Array, second: Array, seed: int = 0) -> float:
    """P-value that two groups of runs draw from clusters alike.

    Landmarks of a run depend on each other, so runs are permuted, not landmarks: the statistic is
    the sum over clusters of the squared difference of mean counts over their variance.

    Parameters
    ----------
    first, second : ndarray of shape (n_runs, n_clusters)
    seed : int
        Of the permutations.
    """
    counts = np.concatenate([first, second]).astype(float)
    spread = counts.std(axis=0)
    scaled = counts[:, spread > 0] / spread[spread > 0]
    n_first, n_runs = len(first), len(counts)
    rng = np.random.default_rng(seed)
    orders = np.array(
        [np.arange(n_runs), *(rng.permutation(n_runs) for _ in range(N_PERMUTATIONS))]
    )
    weights = np.where(orders < n_first, 1 / n_first, -1 / (n_runs - n_first))
    statistics = ((weights @ scaled) ** 2).sum(axis=1)
    return float((statistics >= statistics[0] * (1 - 1e-12)).mean())


def detectable(error: float, n_tests: int) -> float:
    """Smallest difference that a two-sided test finds with the stated power.

    At the level that Bonferroni's correction for so many tests leaves, which Holm's at least has.
    """
    normal = scipy.stats.norm
    return float((normal.ppf(1 - LEVEL / (2 * n_tests)) + normal.ppf(POWER)) * error)


def corrected(p_values: Sequence[float]) -> list[float]:
    """Holm's correction of p-values of one family."""
    order = np.argsort(p_values)
    n_left = len(p_values) - np.arange(len(p_values))
    climbing = np.maximum.accumulate(np.asarray(p_values)[order] * n_left)
    found = np.empty(len(p_values))
    found[order] = np.minimum(climbing, 1.0)
    return [float(each) for each in found]
