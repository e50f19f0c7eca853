"""Two plain questions to the nearest neighbours: their label, and their batch."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import pairwise_distances
from sklearn.neighbors import NearestNeighbors
from sklearn.utils import gen_batches

__all__ = ["batch_purity", "nearest_label_elsewhere", "profile_means"]

BLOCK_ROWS = 1024
"""Rows whose distances to all others are held at a time."""


def nearest_label_elsewhere(
    profiles: NDArray[np.floating], label: Any, group: Any | None, batch: Any
) -> float:
    """Return how often the nearest profile of another group and another batch has the same label.

    With mechanisms as labels, compounds as groups and one mean profile a treatment, this is the
    NSCB score ("not same compound or batch"), an accuracy of one-nearest-neighbour transfer.

    Parameters
    ----------
    profiles : ndarray of shape (n_rows, n_columns)
        Centred: the nearest is that of the largest cosine.
    label, batch : array-like of shape (n_rows,)
    group : array-like of shape (n_rows,), or None
        ``None`` if only rows of the same batch are excluded.

    Returns
    -------
    accuracy : float
        Over the rows for which such a profile of the same label exists; NaN if there is none.
    """
    excluding = [batch] if group is None else [batch, group]
    codes = [_codes(column) for column in excluding]
    label = _codes(label)
    n_possible = n_right = 0
    for rows in gen_batches(len(label), BLOCK_ROWS):
        allowed = np.logical_and.reduce([code[rows, None] != code for code in codes])
        possible = ((label[rows, None] == label) & allowed).any(axis=1)
        distances = pairwise_distances(profiles[rows], profiles, metric="cosine")
        nearest = np.where(allowed, distances, np.inf).argmin(axis=1)
        n_possible += int(possible.sum())
        n_right += int((label[nearest] == label[rows])[possible].sum())
    return n_right / n_possible if n_possible else float("nan")


def _codes(column: Any) -> NDArray[np.intp]:
    return np.unique(np.asarray(column).astype(str), return_inverse=True)[1]


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
