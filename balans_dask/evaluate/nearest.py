"""Exact nearest neighbours in the form that scib-metrics takes."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from balans_dask.evaluate.libraries import library

__all__ = ["exact_search", "nearest_neighbours"]

_SEARCH = RLock()


def nearest_neighbours(embedding: NDArray[np.floating], n_neighbors: int) -> Any:
    """Find the Euclidean nearest neighbours of every row, of which it is the first itself.

    Parameters
    ----------
    embedding : ndarray of shape (n_rows, n_components)
    n_neighbors : int
        At most all rows are taken.

    Returns
    -------
    neighbours : scib_metrics.nearest_neighbors.NeighborsResults

    Notes
    -----
    scib-metrics' own search is approximate; scores of a few thousand rows need not be.
    """
    results = library("scib_metrics.nearest_neighbors").NeighborsResults
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
