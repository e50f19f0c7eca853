"""Scores by nearest neighbours, without scib-metrics: same label, other batches."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = [
    "NeighbourShares",
    "batch_purity",
    "blocks",
    "codes_of",
    "nearest_elsewhere",
    "nearest_label_elsewhere",
    "nearest_rows",
    "neighbour_shares",
    "others_expected",
    "profile_means",
]

BLOCK_ROWS = 512
"""Rows whose distances to all others are held at a time."""


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
    label_codes = np.unique(np.asarray(labels), return_inverse=True)[1]
    batch_codes = np.unique(np.asarray(batch), return_inverse=True)[1]
    chosen, neighbours = nearest_rows(profiles, n_neighbors, max_rows, seed)
    same_label = label_codes[neighbours] == label_codes[chosen][:, None]
    other_batch = batch_codes[neighbours] != batch_codes[chosen][:, None]
    expected = others_expected(label_codes, batch_codes, chosen)
    mixing = float(other_batch.mean()) / expected if expected > 0 else 1.0
    return NeighbourShares(float(same_label.mean()), mixing)


def nearest_rows(
    profiles: NDArray[np.floating], n_neighbors: int, max_rows: int, seed: int = 0
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Find the nearest other rows of a random subset, among all.

    Returns
    -------
    chosen : ndarray of shape (n_chosen,)
    neighbours : ndarray of shape (n_chosen, n_neighbors)
        Fewer columns where there are not so many other rows.
    """
    n_neighbors = min(n_neighbors, len(profiles) - 1)
    chosen = np.random.default_rng(seed).permutation(len(profiles))[:max_rows]
    rows = np.asarray(profiles, dtype=np.float64)
    # Less is rounded off where the centre is 0.
    rows = rows - rows.mean(axis=0)
    each = np.arange(len(rows))
    found = [
        nearest_elsewhere(rows, each, chosen[part], n_neighbors) for part in blocks(len(chosen))
    ]
    return chosen, np.concatenate(found)


def nearest_elsewhere(
    rows: NDArray[np.float64],
    group: NDArray[np.integer],
    asked: NDArray[np.intp],
    n_neighbors: int,
) -> NDArray[np.intp]:
    """Find the nearest rows of other groups, in order: one product for any number of groups.

    Parameters
    ----------
    rows : ndarray of shape (n_rows, n_columns)
    group : ndarray of shape (n_rows,), integer
    asked : ndarray of shape (n_asked,)
        Few at a time: the distances to all rows are held.
    n_neighbors : int
        At least 1.

    Returns
    -------
    found : ndarray of shape (n_asked, n_neighbors)
    """
    # Squared distances, less what is the same for all that a row compares.
    distance = np.square(rows).sum(axis=1) - 2 * (rows[asked] @ rows.T)
    distance[group[asked, None] == group] = np.inf
    nearest = np.argpartition(distance, n_neighbors - 1, axis=1)[:, :n_neighbors]
    ranks = np.argsort(np.take_along_axis(distance, nearest, axis=1), axis=1)
    return np.take_along_axis(nearest, ranks, axis=1)


def blocks(n_rows: int) -> Iterator[slice]:
    """Cut rows into runs of which the distances to all others can be held."""
    for start in range(0, n_rows, BLOCK_ROWS):
        yield slice(start, min(start + BLOCK_ROWS, n_rows))


def others_expected(
    label: NDArray[np.integer], batch: NDArray[np.integer], rows: NDArray[np.intp]
) -> float:
    """Share of other batches among all other rows of a row's label, the mean of some rows."""
    table = np.zeros((label.max() + 1, batch.max() + 1))
    np.add.at(table, (label, batch), 1)
    of_label = table.sum(axis=1)[label[rows]]
    own = table[label[rows], batch[rows]]
    return float(np.mean((of_label - own) / np.maximum(of_label - 1, 1)))


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
    codes = [codes_of(column) for column in excluding]
    label = codes_of(label)
    length = np.linalg.norm(profiles, axis=1, keepdims=True)
    directions = np.asarray(profiles, dtype=np.float64) / np.where(length > 0, length, 1)
    n_possible = n_right = 0
    for rows in blocks(len(label)):
        allowed = np.logical_and.reduce([code[rows, None] != code for code in codes])
        possible = ((label[rows, None] == label) & allowed).any(axis=1)
        cosine = directions[rows] @ directions.T
        nearest = np.where(allowed, cosine, -np.inf).argmax(axis=1)
        n_possible += int(possible.sum())
        n_right += int((label[nearest] == label[rows])[possible].sum())
    return n_right / n_possible if n_possible else float("nan")


def codes_of(column: Any) -> NDArray[np.intp]:
    """Give the values of a column numbers, by their spelling."""
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
    codes = codes_of(batch)
    chosen, found = nearest_rows(profiles, n_neighbors, len(profiles))
    return float((codes[found] == codes[chosen, None]).mean())
