"""Biology side: are labels still told apart? Every score is 1 at best."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from balans_dask.evaluate.libraries import library
from balans_dask.evaluate.nearest import nearest_neighbours
from balans_dask.evaluate.scib import LISI_NEIGHBORS

__all__ = ["biology_scores", "cluster_agreement", "variance_kept"]


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
    clusters = KMeans(len(np.unique(label)), n_init=1, random_state=seed).fit_predict(embedding)
    return (
        float(normalized_mutual_info_score(label, clusters)),
        float(adjusted_rand_score(label, clusters)),
    )


def variance_kept(before: NDArray[np.floating], after: NDArray[np.floating]) -> float:
    """Return the total variance after correction, as a share of that before."""
    return float(np.var(after, axis=0).sum() / np.var(before, axis=0).sum())
