"""What scores are read by: shuffled and over-smoothed rows, moves of controls, a bootstrap."""

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = [
    "oversmoothed",
    "paired_bootstrap",
    "shift_followed",
    "shuffled",
]

BLOCK_MEBIBYTES = 128
"""Distances held at a time."""


def shuffled(label: Any, seed: int = 0) -> NDArray[Any]:
    """Give the labels to other rows: scores of the biology side by chance alone."""
    return np.random.default_rng(seed).permutation(np.asarray(label))


def oversmoothed(
    embedding: NDArray[np.floating], share: float = 0.25, n_times: int = 3
) -> NDArray[np.float64]:
    """Replace every row by the mean of its nearest rows, again and again.

    Batches mix, and so does everything else.

    Parameters
    ----------
    embedding : ndarray of shape (n_rows, n_components)
    share : float
        Of all rows that are averaged.
    """
    from sklearn.metrics import pairwise_distances_chunked  # noqa: PLC0415  (slow to import)

    smooth = np.asarray(embedding, dtype=np.float64)
    n_neighbors = max(1, round(share * len(smooth)))
    for _ in range(n_times):
        blocks = pairwise_distances_chunked(
            smooth,
            reduce_func=partial(_near_means, smooth, n_neighbors),
            working_memory=BLOCK_MEBIBYTES,
        )
        smooth = np.concatenate(list(blocks))
    return smooth


def _near_means(
    rows: NDArray[np.float64], n_neighbors: int, distances: NDArray[np.float64], start: int
) -> NDArray[np.float64]:
    farthest = np.partition(distances, n_neighbors - 1, axis=1)[:, n_neighbors - 1]
    near = (distances <= farthest[:, None]).astype(np.float64)
    means: NDArray[np.float64] = near @ rows / near.sum(axis=1, keepdims=True)
    return means


def shift_followed(
    before: NDArray[np.floating], after: NDArray[np.floating], batch: Any, is_control: Any
) -> float:
    """Return how far treated rows moved along the mean move of their batch's negative controls.

    A correction can mix controls and leave treated rows where they are: purity of controls and
    retrieval of treatments then both look well, and the batch effect between treatments stays.

    Parameters
    ----------
    before, after : ndarray of shape (n_rows, n_components)
    batch : array-like of shape (n_rows,)
    is_control : array-like of shape (n_rows,), bool

    Returns
    -------
    share : float
        1: like their controls; 0: not at all. Sum over treated rows of move . controls' mean move,
        over the sum of the squared lengths of the latter; NaN if no control moved.
    """
    controls = np.asarray(is_control, dtype=bool)
    moves = np.asarray(after, dtype=np.float64) - before
    shift = pd.DataFrame(np.where(controls[:, None], moves, np.nan))
    own = shift.groupby(np.asarray(batch).astype(str)).transform("mean").to_numpy()
    usable = ~controls & np.isfinite(own).all(axis=1)
    squared = float((own[usable] ** 2).sum())
    return float((moves[usable] * own[usable]).sum()) / squared if squared > 0 else float("nan")


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
