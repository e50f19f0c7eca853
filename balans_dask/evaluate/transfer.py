"""Two plain questions to the nearest neighbours: their label, and their batch."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import pairwise_distances
from sklearn.neighbors import NearestNeighbors

__all__ = ["batch_purity", "nearest_label_elsewhere", "profile_means"]


def nearest_label_elsewhere(
    profiles: NDArray[np.floating], label: Any, group: Any, batch: Any
) -> float:
    """Return how often the nearest profile of another group and another batch has the same label.

    With mechanisms as labels, compounds as groups and one mean profile a treatment, this is the
    NSCB score ("not same compound or batch"), an accuracy of one-nearest-neighbour transfer.

    Parameters
    ----------
    profiles : ndarray of shape (n_rows, n_columns)
        Centred: the nearest is that of the largest cosine.
    label, group, batch : array-like of shape (n_rows,)

    Returns
    -------
    accuracy : float
        Over the rows for which such a profile of the same label exists; NaN if there is none.
    """
    label, group, batch = (np.asarray(column).astype(str) for column in (label, group, batch))
    distances = pairwise_distances(profiles, metric="cosine")
    allowed = (group[:, None] != group) & (batch[:, None] != batch)
    same = label[:, None] == label
    possible = (same & allowed).any(axis=1)
    if not possible.any():
        return float("nan")
    nearest = np.where(allowed, distances, np.inf).argmin(axis=1)
    return float((label[nearest] == label)[possible].mean())


def profile_means(
    profiles: NDArray[np.floating], by: Any, *columns: Any
) -> tuple[NDArray[np.float64], list[NDArray[Any]]]:
    """Average the rows of every treatment.

    Parameters
    ----------
    profiles : ndarray of shape (n_rows, n_columns)
    by : array-like of shape (n_rows,)
    *columns : array-like of shape (n_rows,)
        Descriptions of the rows, of which each treatment keeps its first.

    Returns
    -------
    means : ndarray of shape (n_treatments, n_columns), float64
    columns : list of ndarray of shape (n_treatments,)
    """
    by = np.asarray(by).astype(str)
    _, first, codes = np.unique(by, return_index=True, return_inverse=True)
    means = pd.DataFrame(np.asarray(profiles, dtype=np.float64)).groupby(codes).mean().to_numpy()
    return means, [np.asarray(column)[first] for column in columns]


def batch_purity(profiles: NDArray[np.floating], batch: Any, n_neighbors: int = 10) -> float:
    """Return the share of the nearest neighbours that come from the row's own batch.

    Parameters
    ----------
    profiles : ndarray of shape (n_rows, n_columns)
        All rows, or those that should be alike wherever they were made, such as untreated wells.
    batch : array-like of shape (n_rows,)
    n_neighbors : int
        Euclidean; the row itself is not counted.
    """
    codes = np.unique(np.asarray(batch).astype(str), return_inverse=True)[1]
    index = NearestNeighbors(n_neighbors=n_neighbors, algorithm="brute").fit(profiles)
    found = index.kneighbors(return_distance=False)
    return float((codes[found] == codes[:, None]).mean())
