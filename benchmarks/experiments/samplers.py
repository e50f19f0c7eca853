"""Other ways to draw landmarks, in draw order."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import kmeans_plusplus

__all__ = ["SAMPLERS"]


def uniform(values: NDArray[np.floating], n_drawn: int, seed: int) -> NDArray[np.int64]:
    """Every row alike, without replacement."""
    return np.random.default_rng([seed, 97]).permutation(len(values))[:n_drawn]


def farthest_point(values: NDArray[np.floating], n_drawn: int, seed: int) -> NDArray[np.int64]:
    """Draw a random row, then again and again the row farthest from those drawn (Gonzalez 1985)."""
    rows = [int(np.random.default_rng([seed, 97]).integers(len(values)))]
    nearest = np.full(len(values), np.inf)
    while len(rows) < n_drawn:
        nearest = np.minimum(nearest, ((values - values[rows[-1]]) ** 2).sum(axis=1))
        rows.append(int(np.argmax(nearest)))
    return np.array(rows)


def kmeans_plus_plus(values: NDArray[np.floating], n_drawn: int, seed: int) -> NDArray[np.int64]:
    """By the squared distance from those drawn; scikit-learn's, the best of several at a time."""
    rows: NDArray[np.int64] = kmeans_plusplus(values, n_drawn, random_state=seed)[1]
    return rows


SAMPLERS: dict[str, Callable[[NDArray[np.floating], int, int], NDArray[np.int64]]] = {
    "uniform": uniform,
    "farthest point": farthest_point,
    "k-means++": kmeans_plus_plus,
}
