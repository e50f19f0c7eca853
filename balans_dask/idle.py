"""Idle rows: drawn rows that cover nothing new, and the patience with them."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["idle_until"]


def idle_until(
    n_idle: int, n_new: NDArray[np.int64], at_most_new: float, patience: int
) -> tuple[int, int]:
    """Count idle rows in draw order, up to the row that exhausts the patience.

    Parameters
    ----------
    n_idle : int
        Consecutive idle rows so far.
    n_new : ndarray of shape (n_drawn,), int64
        Rows that each drawn row covers first.
    at_most_new : float
        An idle row covers no more than these.
    patience : int

    Returns
    -------
    n_kept : int
        Rows up to and including the stopping row; all rows where none stops.
    n_idle : int
        Consecutive idle rows at that point: ``patience`` if the loop is over.
    """
    for place, new in enumerate(n_new):
        n_idle = n_idle + 1 if new <= at_most_new else 0
        if n_idle >= patience:
            return place + 1, n_idle
    return len(n_new), n_idle
