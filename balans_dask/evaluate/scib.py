"""Scores of scib-metrics: how little of the batch is still seen, and how much of the label."""

import logging
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from threading import RLock
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from balans_dask.errors import InvalidInputError, adding

__all__ = [
    "batch_scores",
    "biology_scores",
    "cluster_agreement",
    "exact_search",
    "library",
    "nearest_neighbours",
    "variance_kept",
]

_SEARCH = RLock()
LISI_NEIGHBORS = 90
KBET_NEIGHBORS = 50
GRAPH_NEIGHBORS = 15
KBET_ROWS = 10
"""scib-metrics leaves smaller labels out of kBET."""
KBET_BATCHES = 70
"""scib-metrics takes at most so many neighbours; among more batches the test expects less than one
row of each, and means nothing."""


def library(name: str) -> ModuleType:
    """Import a module of scib-metrics or copairs.

    Parameters
    ----------
    name : str
        Dotted name.

    Raises
    ------
    InvalidInputError
        If it is not installed.
    """
    package = name.partition(".")[0]
    try:
        module = import_module(name)
    except ImportError as error:
        raise InvalidInputError(
            f"scores need {package}, which cannot be imported ({error}): {adding('evaluate')}"
        ) from error
    # They announce every label that they skip; our tables say so once.
    logging.getLogger(package).setLevel(logging.WARNING)
    return module


def nearest_neighbours(embedding: NDArray[np.floating], n_neighbors: int) -> Any:
    """Find the Euclidean nearest neighbours of every row, of which it is the first itself.

    Parameters
    ----------
    embedding : ndarray of shape (n_rows, n_components)
    n_neighbors : int
        At most all rows are taken.

    Notes
    -----
    scib-metrics' own search is approximate; scores of a few thousand rows need not be.
    """
    results = library("scib_metrics.nearest_neighbors").NeighborsResults
    from sklearn.neighbors import NearestNeighbors  # noqa: PLC0415  (slow to import)

    index = NearestNeighbors(algorithm="brute").fit(embedding)
    distances, others = index.kneighbors(n_neighbors=min(n_neighbors, len(embedding)) - 1)
    # Not as found by the search: a product leaves a row some 1e-8 from itself, and graphs of
    # neighbours are scaled by the least distance above zero.
    own = np.arange(len(embedding))[:, None]
    return results(
        indices=np.hstack([own, others]), distances=np.hstack([np.zeros(own.shape), distances])
    )


@contextmanager
def exact_search() -> Iterator[None]:
    """Let the scores of scib-metrics that search for neighbours themselves do so exactly.

    Within the block, which one thread enters at a time, its module of neighbours has our search in
    the place of pynndescent: kBET has no choice of one, and pynndescent compiles for a minute or
    two in every process.
    """
    module = library("scib_metrics.nearest_neighbors")
    with _SEARCH:
        its_own = module.pynndescent
        module.pynndescent = nearest_neighbours  # type: ignore[attr-defined]
        try:
            yield
        finally:
            module.pynndescent = its_own  # type: ignore[attr-defined]


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


def biology_scores(
    embedding: NDArray[np.floating], label: Any, seeds: Iterable[int] = range(5)
) -> dict[str, float]:
    """Score how well labels are kept, with the functions and defaults of scib-metrics.

    Parameters
    ----------
    embedding : ndarray of shape (n_rows, n_components)
    label : array-like of shape (n_rows,)
    seeds : iterable of int
        Of the clusterings.

    Returns
    -------
    scores : dict
        ``clisi``: inverse Simpson index of labels among 90 neighbours, median, scaled so that one
        label is 1. ``nmi``, ``ari``: agreement of labels with k-means of as many clusters, means
        over seeds, with ``nmi_sd`` and ``ari_sd``. ``silhouette_label``: (silhouette + 1) / 2.
    """
    metrics = library("scib_metrics")
    label = np.asarray(label).astype(str)
    agreement = np.array([cluster_agreement(embedding, label, seed) for seed in seeds])
    nmi, ari = agreement.mean(axis=0)
    nmi_sd, ari_sd = agreement.std(axis=0)
    neighbours = nearest_neighbours(embedding, LISI_NEIGHBORS)
    return {
        "clisi": float(metrics.clisi_knn(neighbours, label)),
        "nmi": float(nmi),
        "ari": float(ari),
        "silhouette_label": float(metrics.silhouette_label(embedding, label)),
        "nmi_sd": float(nmi_sd),
        "ari_sd": float(ari_sd),
    }


def cluster_agreement(
    embedding: NDArray[np.floating], label: Any, seed: int
) -> tuple[float, float]:
    """Compare labels with as many k-means clusters, as scib-metrics does, from one's own seed.

    Returns
    -------
    nmi, ari : float
        Normalised mutual information and adjusted Rand index.

    Notes
    -----
    scikit-learn's k-means, one start from k-means++: scib-metrics' own takes no seed through its
    score, and is many times slower on a CPU.
    """
    label = np.asarray(label).astype(str)
    from sklearn.cluster import KMeans  # noqa: PLC0415  (slow to import)
    from sklearn.metrics import (  # noqa: PLC0415
        adjusted_rand_score,
        normalized_mutual_info_score,
    )

    clusters = KMeans(len(np.unique(label)), n_init=1, random_state=seed).fit_predict(embedding)
    return (
        float(normalized_mutual_info_score(label, clusters)),
        float(adjusted_rand_score(label, clusters)),
    )


def variance_kept(before: NDArray[np.floating], after: NDArray[np.floating]) -> float:
    """Return the total variance after correction, as a share of that before."""
    return float(np.var(after, axis=0).sum() / np.var(before, axis=0).sum())
