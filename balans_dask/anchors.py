"""Anchor rows: the wells, such as controls, that may be compared across batches."""

import ast
import re
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from balans_dask.batches import BatchLabels
from balans_dask.errors import InvalidInputError, first_names, warn_of_input
from balans_dask.parameters import Parameters

__all__ = ["GIVEN_ROWS", "anchor_mask", "anchors_by_query", "require_anchors"]

GIVEN_ROWS = "rows given by the caller"
"""Stands for the query where a mask was given instead."""
ALLOWED = (
    ast.Expression, ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.Invert, ast.USub,
    ast.BinOp, ast.BitAnd, ast.BitOr, ast.Compare, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt,
    ast.GtE, ast.In, ast.NotIn, ast.Name, ast.Load, ast.Constant, ast.List, ast.Tuple,
)  # fmt: skip
"""What a query may hold. A model carries its query to other machines, where it must run no code."""


def anchors_by_query(obs: pd.DataFrame, query: str) -> NDArray[np.bool_]:
    """Find the rows that a query names, such as ``Metadata_pert_type == 'negcon'``.

    Parameters
    ----------
    obs : DataFrame
        Annotations of the rows.
    query : str
        Comparisons of columns with values, joined by ``and``, ``or``, ``not``; in the language of
        ``DataFrame.query``, without calls.

    Raises
    ------
    InvalidInputError
        If it cannot be understood, or names a column that is not there.
    """
    _require_plain(query)
    try:
        chosen = obs.eval(query, engine="python", local_dict={}, global_dict={})
    except Exception as error:
        raise InvalidInputError(
            f"the query {query!r} cannot be used ({error}): compare columns of obs with "
            "values, as in \"Metadata_pert_type == 'negcon'\""
        ) from error
    mask = np.asarray(chosen)
    if mask.dtype != bool or mask.shape != (len(obs),):
        raise InvalidInputError(
            f"the query {query!r} does not say yes or no of every row: "
            "compare columns of obs with values"
        )
    return mask


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


def _require_plain(query: str) -> None:
    """Refuse calls, attributes and variables: a query only compares."""
    without_quoted_names = re.sub(r"`[^`]*`", "column", query)
    try:
        nodes = list(ast.walk(ast.parse(without_quoted_names.strip(), mode="eval")))
    except SyntaxError as error:
        raise InvalidInputError(
            f"the query {query!r} cannot be read ({error.msg}): write it as in "
            "\"Metadata_pert_type == 'negcon'\""
        ) from error
    odd = [type(node).__name__ for node in nodes if not isinstance(node, ALLOWED)]
    if odd:
        raise InvalidInputError(
            f"the query {query!r} holds a {odd[0]}: only comparisons of columns with "
            "values, joined by and, or, not"
        )
