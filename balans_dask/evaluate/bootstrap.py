"""How sure a difference between two corrections of the same rows is."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["paired_bootstrap"]


def paired_bootstrap(
    first: NDArray[np.floating],
    second: NDArray[np.floating],
    groups: NDArray[np.generic],
    level: float = 0.95,
    n_resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Bootstrap the mean of ``first - second``, drawing whole groups with replacement.

    Parameters
    ----------
    first, second : ndarray of shape (n_rows,)
        One score a row each; rows where either is NaN are left out.
    groups : ndarray of shape (n_rows,)
        Rows that stand or fall together, such as the replicates of a label: each is in the others'
        rankings, so rows drawn alone would make the interval too narrow.
    level : float
    n_resamples, seed : int

    Returns
    -------
    difference, low, high : float
        The mean difference and the percentile interval of ``level``.
    """
    difference = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    known = np.isfinite(difference)
    difference = difference[known]
    codes = np.unique(np.asarray(groups)[known], return_inverse=True)[1]
    sums, sizes = np.bincount(codes, difference), np.bincount(codes)
    drawn = np.random.default_rng(seed).integers(len(sums), size=(n_resamples, len(sums)))
    means = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(difference.mean()), float(low), float(high)
