"""How near the means of the corrected clusters come to those that the mixture was made from."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["mean_errors"]


def mean_errors(
    values: NDArray[np.floating],
    cluster: NDArray[np.int64],
    batch: NDArray[np.int64],
    true_means: NDArray[np.float64],
) -> dict[str, float]:
    """Compare the mean of every cluster in every batch with the cluster's true mean.

    Let m_cb be the mean of cluster c in batch b, t_c the true mean, and both without their own mean
    over all c and b, as no method can know where the batch-free origin lies. Distances are in units
    of s, the root mean square of |t_c|: 0 is perfect, and 1 is as far off as one point for all.

    Returns
    -------
    errors : dict
        ``mean_error``, the root mean square of |m_cb - t_c| / s, and its two parts, whose squares
        add up to its own: ``between_batches``, of |m_cb - m_c| / s with m_c the mean over b, and
        ``of_centres``, of |m_c - t_c| / s. ``spread_kept`` is the root mean square of |m_c| / s:
        below 1 the clusters have moved together.
    """
    n_clusters, n_batches = len(true_means), int(batch.max()) + 1
    cell = cluster * n_batches + batch
    size = n_clusters * n_batches
    counts = np.bincount(cell, minlength=size)
    sums = [np.bincount(cell, column, minlength=size) for column in np.asarray(values).T]
    means = np.stack(sums, axis=1) / counts[:, None]
    means = (means - means.mean(axis=0)).reshape(n_clusters, n_batches, -1)
    true = true_means - true_means.mean(axis=0)
    unit = _size(true)
    centres = means.mean(axis=1)
    return {
        "mean_error": _size(means - true[:, None]) / unit,
        "between_batches": _size(means - centres[:, None]) / unit,
        "of_centres": _size(centres - true) / unit,
        "spread_kept": _size(centres) / unit,
    }


def _size(vectors: NDArray[np.float64]) -> float:
    """Root mean square of the lengths."""
    return float(np.sqrt((vectors**2).sum(axis=-1).mean()))
