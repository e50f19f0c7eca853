"""Two shares of the nearest neighbours: same label, and other batches."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

__all__ = ["NeighbourShares", "neighbour_shares"]


@dataclass(frozen=True)
class NeighbourShares:
    """How a set of profiles looks from its nearest neighbours.

    Attributes
    ----------
    same_label : float
        Share of neighbours with the row's own label: what retrieval needs. 1 is best.
    batch_mixing : float
        Share of neighbours from other batches, over the share expected among the rows of the same
        label were batches mixed perfectly. 0 is fully separated, 1 is fully mixed.
    """

    same_label: float
    batch_mixing: float


def neighbour_shares(
    profiles: NDArray[np.floating],
    labels: Any,
    batch: Any,
    n_neighbors: int = 30,
    max_rows: int = 5000,
    seed: int = 0,
) -> NeighbourShares:
    """Score profiles by the nearest neighbours of a random subset of rows.

    Parameters
    ----------
    profiles : ndarray of shape (n_rows, n_columns)
    labels, batch : array-like of shape (n_rows,)
    n_neighbors : int
        The row itself is not counted.
    max_rows : int
        Rows whose neighbours are looked at; they are sought among all rows.
    seed : int
        Of the choice of rows.

    Notes
    -----
    Euclidean, exact. O(max_rows * n_rows * n_columns) time.
    """
    n_rows = len(profiles)
    n_neighbors = min(n_neighbors, n_rows - 1)
    label_codes = np.unique(np.asarray(labels), return_inverse=True)[1]
    batch_codes = np.unique(np.asarray(batch), return_inverse=True)[1]
    chosen = np.random.default_rng(seed).permutation(n_rows)[:max_rows]
    index = NearestNeighbors(n_neighbors=n_neighbors + 1, algorithm="brute").fit(profiles)
    found = index.kneighbors(profiles[chosen], return_distance=False)
    # Among exact duplicates a row need not be its own first neighbour.
    other = found != chosen[:, None]
    other[other.all(axis=1), -1] = False
    neighbours = found[other].reshape(len(chosen), n_neighbors)
    same_label = label_codes[neighbours] == label_codes[chosen][:, None]
    other_batch = batch_codes[neighbours] != batch_codes[chosen][:, None]
    table = np.zeros((label_codes.max() + 1, batch_codes.max() + 1))
    np.add.at(table, (label_codes, batch_codes), 1)
    of_label = table.sum(axis=1)[label_codes[chosen]]
    own = table[label_codes[chosen], batch_codes[chosen]]
    expected = float(np.mean((of_label - own) / np.maximum(of_label - 1, 1)))
    mixing = float(other_batch.mean()) / expected if expected > 0 else 1.0
    return NeighbourShares(float(same_label.mean()), mixing)
