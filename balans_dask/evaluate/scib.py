"""Batch side: is the batch of a profile no longer seen? Every score is 1 at best, 0 at worst."""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from balans_dask.evaluate.libraries import library
from balans_dask.evaluate.nearest import exact_search, nearest_neighbours

__all__ = ["batch_scores"]

LISI_NEIGHBORS = 90
KBET_NEIGHBORS = 50
GRAPH_NEIGHBORS = 15
KBET_ROWS = 10
"""scib-metrics leaves smaller labels out of kBET."""
KBET_BATCHES = 70
"""scib-metrics takes at most so many neighbours; among more batches the test expects less than one
row of each, and means nothing."""


def batch_scores(
    embedding: NDArray[np.floating], before: NDArray[np.floating], batch: Any, label: Any
) -> dict[str, float]:
    """Score how well batches mix, with the functions and defaults of scib-metrics.

    Parameters
    ----------
    embedding : ndarray of shape (n_rows, n_components)
        After correction.
    before : ndarray of shape (n_rows, n_components)
        Before correction; only the principal-component regression compares with it.
    batch, label : array-like of shape (n_rows,)

    Returns
    -------
    scores : dict
        ``ilisi``: inverse Simpson index of batches among 90 neighbours, median, scaled.
        ``kbet``: share of rows whose neighbourhood has the batches of its label, mean over labels;
        NaN if no label has 10 rows in two batches, or one lies in more than 70.
        ``silhouette_batch``: 1 - |silhouette of batches| within each label, mean over the labels
        with two batches and two rows in one of them; NaN if there is none.
        ``pcr``: share of the variance explained by batch that is gone.
        ``graph_connectivity``: share of a label in its largest component of the graph of 15
        neighbours, mean over labels.
    """
    metrics = library("scib_metrics")
    batch, label = np.asarray(batch).astype(str), np.asarray(label).astype(str)
    neighbours = nearest_neighbours(embedding, LISI_NEIGHBORS)
    return {
        "ilisi": float(metrics.ilisi_knn(neighbours, batch)),
        "kbet": _kbet(metrics, neighbours, batch, label),
        "silhouette_batch": _silhouette(metrics, embedding, batch, label),
        "pcr": _regression_gone(metrics, before, embedding, batch),
        "graph_connectivity": float(
            metrics.graph_connectivity(_nearest(neighbours, GRAPH_NEIGHBORS), label)
        ),
    }


def _nearest(neighbours: Any, n_neighbors: int) -> Any:
    return neighbours.subset_neighbors(min(n_neighbors, neighbours.n_neighbors))


def _kbet(metrics: Any, neighbours: Any, batch: NDArray[Any], label: NDArray[Any]) -> float:
    sizes = [batches for rows, batches in _sizes(batch, label) if rows >= KBET_ROWS]
    if not 1 < max(sizes, default=0) <= KBET_BATCHES:
        return float("nan")
    with exact_search():
        return float(metrics.kbet_per_label(_nearest(neighbours, KBET_NEIGHBORS), batch, label))


def _silhouette(
    metrics: Any, embedding: NDArray[np.floating], batch: NDArray[Any], label: NDArray[Any]
) -> float:
    if not any(1 < batches < rows for rows, batches in _sizes(batch, label)):
        return float("nan")
    return float(metrics.silhouette_batch(embedding, label, batch))


def _sizes(batch: NDArray[Any], label: NDArray[Any]) -> list[tuple[int, int]]:
    """Count the rows and the batches of every label."""
    of_label = [batch[label == name] for name in np.unique(label)]
    return [(len(found), len(np.unique(found))) for found in of_label]


def _regression_gone(
    metrics: Any,
    before: NDArray[np.floating],
    embedding: NDArray[np.floating],
    batch: NDArray[Any],
) -> float:
    with warnings.catch_warnings():
        # Where batches explain more than before the score is 0: no news beside the score itself.
        warnings.filterwarnings("ignore", message="PCR comparison score is negative")
        return float(metrics.pcr_comparison(before, embedding, batch, categorical=True))
