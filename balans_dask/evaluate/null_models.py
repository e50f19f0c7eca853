"""What no correction should be mistaken for: the floor and the trap that scores are read by."""

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import pairwise_distances_chunked

__all__ = ["oversmoothed", "shuffled"]

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
    n_times : int
    """
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
