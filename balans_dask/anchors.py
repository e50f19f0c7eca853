"""Anchor rows: the wells, such as controls, that may be compared across batches."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from balans_dask.errors import InvalidInputError, first_names, warn_of_input
from balans_dask.labels import BatchLabels
from balans_dask.parameters import Parameters

__all__ = ["GIVEN_ROWS", "anchor_mask", "require_anchors"]

GIVEN_ROWS = "rows given by the caller"
"""Stands for the query where a mask was given instead."""


def anchor_mask(anchor: Any, n_rows: int) -> NDArray[np.bool_]:
    """Check a mask that the caller gave.

    Raises
    ------
    InvalidInputError
        If it is not a boolean for every row.
    """
    mask = np.asarray(anchor)
    if mask.dtype != bool or mask.shape != (n_rows,):
        raise InvalidInputError(
            f"anchor has shape {mask.shape} and type {mask.dtype}: give one True or False for each "
            f"of the {n_rows} rows"
        )
    return mask


def require_anchors(mask: NDArray[np.bool_], labels: BatchLabels, parameters: Parameters) -> None:
    """Refuse anchors from which a correction cannot be estimated; warn where they are few.

    Parameters
    ----------
    mask : ndarray of shape (n_rows,), bool
    labels : BatchLabels
    parameters : Parameters

    Raises
    ------
    InvalidInputError
        If the operator has no use for anchors, or a batch has none.
    """
    if parameters.operator != "displace":
        raise InvalidInputError(
            f"anchors mean nothing to operator {parameters.operator!r}, which replaces rows by "
            "means of all rows near them: use operator 'displace', which moves rows as its "
            "batch's anchors move"
        )
    n_anchors = np.bincount(labels.codes[mask], minlength=labels.n_batches)
    without = [labels.names[code] for code in np.flatnonzero(n_anchors == 0).tolist()]
    if without:
        raise InvalidInputError(
            f"{len(without)} of {labels.n_batches} batches have no row that is an anchor "
            f"({first_names(without)}): every batch needs some"
        )
    few = [
        labels.names[code] for code in np.flatnonzero(n_anchors < parameters.n_neighbors).tolist()
    ]
    if few:
        warn_of_input(
            f"{len(few)} of {labels.n_batches} batches have fewer than {parameters.n_neighbors} "
            f"anchor rows ({first_names(few)}): their local scale is the distance to their "
            "farthest one"
        )
