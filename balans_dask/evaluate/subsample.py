"""A subsample in which every batch and label has its share."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["stratified_rows"]


def stratified_rows(strata: NDArray[np.integer], max_rows: int, seed: int = 0) -> NDArray[np.int64]:
    """Choose rows at random, of every stratum in proportion to its size.

    Parameters
    ----------
    strata : ndarray of shape (n_rows,), integer
        Strata whose numbers are close share what remains after rounding.
    max_rows : int
        All rows are taken if there are no more.
    seed : int

    Returns
    -------
    rows : ndarray of shape (min(n_rows, max_rows),), int64
        In increasing order. Every stratum has its share, rounded down or up.
    """
    n_rows = len(strata)
    if n_rows <= max_rows:
        return np.arange(n_rows)
    generator = np.random.default_rng(seed)
    shuffled = generator.permutation(n_rows)
    by_stratum = shuffled[np.argsort(strata[shuffled], kind="stable")]
    # Systematic sampling: evenly spaced places after a random start.
    places = (np.arange(max_rows) + generator.random()) * (n_rows / max_rows)
    return np.sort(by_stratum[places.astype(np.int64)])
