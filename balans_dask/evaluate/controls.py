"""Negative controls: which rows they are, and whether the other wells follow them."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from balans_dask.errors import InvalidInputError
from balans_dask.io.store import ProfileStore
from balans_dask.model.anchors import rows_by_query

__all__ = ["controls_by_query", "shift_followed"]


def controls_by_query(store: ProfileStore, query: str) -> NDArray[np.bool_]:
    """Find the negative controls.

    Parameters
    ----------
    store : ProfileStore
    query : str
        About the columns of ``obs``, as ``rows_by_query`` takes it.

    Raises
    ------
    InvalidInputError
        If the query cannot be used, or names no row.
    """
    found = rows_by_query(store.obs, query)
    if not found.any():
        raise InvalidInputError(
            f"no row of {store.path} is a control by {query!r}: check the query's values"
        )
    return found


def shift_followed(
    before: NDArray[np.floating], after: NDArray[np.floating], batch: Any, is_control: Any
) -> float:
    """Return how far treated rows moved along the mean move of their batch's negative controls.

    A correction can mix controls and leave treated rows where they are: purity of controls and
    retrieval of treatments then both look well, and the batch effect between treatments stays.

    Parameters
    ----------
    before, after : ndarray of shape (n_rows, n_components)
    batch : array-like of shape (n_rows,)
    is_control : array-like of shape (n_rows,), bool

    Returns
    -------
    share : float
        1: like their controls; 0: not at all. Sum over treated rows of move . controls' mean move,
        over the sum of the squared lengths of the latter; NaN if no control moved.
    """
    controls = np.asarray(is_control, dtype=bool)
    moves = np.asarray(after, dtype=np.float64) - before
    shift = pd.DataFrame(np.where(controls[:, None], moves, np.nan))
    own = shift.groupby(np.asarray(batch).astype(str)).transform("mean").to_numpy()
    usable = ~controls & np.isfinite(own).all(axis=1)
    squared = float((own[usable] ** 2).sum())
    return float((moves[usable] * own[usable]).sum()) / squared if squared > 0 else float("nan")
