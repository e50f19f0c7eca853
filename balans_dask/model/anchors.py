"""Anchors and controls: rows that a query names, by the operators of pandas' columns, or a mask."""

import functools
import operator
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from balans_dask.errors import (
    InvalidInputError,
    did_you_mean,
    first_names,
    printable,
    warn_of_input,
)
from balans_dask.io.tables.columns import METADATA_PREFIX
from balans_dask.labels import BatchLabels
from balans_dask.model.query import (
    Column,
    Compared,
    Constant,
    Joined,
    Listed,
    Minus,
    Node,
    Opposite,
    parse_query,
    query_error,
    shown_query,
)
from balans_dask.parameters import ALIGN, DISPLACE, Parameters

__all__ = [
    "GIVEN_ROWS",
    "given_mask",
    "named_rows",
    "require_anchors",
    "require_controls",
    "rows_by_query",
]

SIGNS: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
JOINS: dict[str, Callable[[Any, Any], Any]] = {"and": operator.and_, "or": operator.or_}
GIVEN_ROWS = "rows given by the caller"
"""Stands for the query where a mask was given instead."""


class _Meaningless(Exception):
    """Why a query says nothing of these columns."""


def rows_by_query(obs: pd.DataFrame, query: str) -> NDArray[np.bool_]:
    """Find the rows that a query names, such as ``Metadata_pert_type == 'negcon'``.

    Parameters
    ----------
    obs : DataFrame
        Annotations of the rows.
    query : str
        Comparisons of columns with values or with each other, joined by ``and``, ``or``, ``not``;
        a column of yes and no stands for itself. ``balans_dask.model.query`` has the grammar.

    Returns
    -------
    mask : ndarray of shape (n_rows,), bool

    Raises
    ------
    InvalidInputError
        If it cannot be understood, names a column that is not there, or compares what has no order.

    Notes
    -----
    The rows are those of ``obs.query(query)``, or the query is refused. Text that is missing is
    unlike every text (``!=`` and ``not in`` name it), and a number or a yes that is missing in a
    nullable column is neither like nor unlike, so that no comparison names its row.
    """
    tree = parse_query(query)
    try:
        found = _yes_or_no(_value(tree, obs))
    except (_Meaningless, TypeError, ValueError, ArithmeticError, NotImplementedError) as error:
        raise query_error(query, printable(error)) from error
    mask: NDArray[np.bool_] = found.to_numpy(dtype=bool, na_value=False)
    return mask


def named_rows(obs: pd.DataFrame, query: str) -> NDArray[np.bool_]:
    """Find the rows that a query names, of which there must be one at least.

    Parameters
    ----------
    obs, query
        As ``rows_by_query`` takes them.

    Raises
    ------
    InvalidInputError
        If the query cannot be used, or names no row; then with the values that may be meant.
    """
    mask = rows_by_query(obs, query)
    if not mask.any():
        near = next(filter(None, _meant(parse_query(query), obs)), ": check its values")
        raise InvalidInputError(f"the query {shown_query(query)} names no row{near}")
    return mask


def _meant(node: Node, obs: pd.DataFrame) -> Iterator[str]:
    """For every value that a query asks for and its column lacks, name those that are there."""
    match node:
        case Joined(parts=parts):
            for part in parts:
                yield from _meant(part, obs)
        case Compared((Column(name), Constant() | Listed() as asked), ("==" | "in",)):
            there = [repr(value) for value in _column(obs, name).dropna().drop_duplicates()]
            for value in asked.values if isinstance(asked, Listed) else (asked.value,):
                if repr(value) not in there:
                    yield did_you_mean(repr(value), there) or f": {name} has {first_names(there)}"


def _value(node: Node, obs: pd.DataFrame) -> Any:
    """Return what a node stands for: a column, a constant or a list."""
    match node:
        case Column(name):
            return _column(obs, name)
        case Constant(value):
            return value
        case Listed(constants):
            return list(constants)
        case Minus(operand):
            return -_value(operand, obs)
        case Opposite(operand):
            return ~_yes_or_no(_value(operand, obs))
        case Joined(word, parts):
            conditions = (_yes_or_no(_value(part, obs)) for part in parts)
            return functools.reduce(JOINS[word], conditions)
        case Compared(operands, signs):
            values = [_value(operand, obs) for operand in operands]
            each = (
                _compared(values[i], sign, values[i + 1], operands[i : i + 2])
                for i, sign in enumerate(signs)
            )
            return functools.reduce(operator.and_, each)


def _column(obs: pd.DataFrame, name: str) -> pd.Series:
    n_columns = sum(column == name for column in obs.columns)
    if n_columns > 1:
        raise _Meaningless(f"obs has {n_columns} columns {name!r}")
    if n_columns:
        return pd.Series(obs[name].array)
    if name in (obs.index.name, "index"):
        return pd.Series(obs.index.array)
    near = did_you_mean(name, [str(column) for column in obs.columns], METADATA_PREFIX)
    there = first_names([repr(column) for column in obs.columns])
    raise _Meaningless(
        f"obs has no column {name!r}" + (near or f", but {len(obs.columns)} others: {there}")
    )


def _compared(left: Any, sign: str, right: Any, nodes: tuple[Node, ...]) -> pd.Series:
    """Compare as ``DataFrame.query`` does: what is equal to text or a list is *in* it."""
    if not isinstance(left, pd.Series) and not isinstance(right, pd.Series):
        raise _Meaningless("it compares two values that are no column")
    is_listed = isinstance(left, str | list) or isinstance(right, str | list)
    if sign in ("in", "not in") or (sign in ("==", "!=") and is_listed):
        found = _is_in(left, right, nodes)
        return ~found if sign in ("!=", "not in") else found
    if isinstance(left, list) or isinstance(right, list):
        raise _Meaningless(f"a list has no order, which {sign} asks for")
    answer: pd.Series = SIGNS[sign](left, right)
    return answer


def _is_in(left: Any, right: Any, nodes: tuple[Node, ...]) -> pd.Series:
    turned = not isinstance(left, pd.Series)
    column, values, node = (right, left, nodes[1]) if turned else (left, right, nodes[0])
    if not isinstance(node, Column):
        raise _Meaningless("text and lists are compared with columns only")
    if isinstance(values, str):
        values = [values]
    if not isinstance(values, list | pd.Series):
        raise _Meaningless("in asks for a list, as in \"kind in ['negcon', 'DMSO']\"")
    found: pd.Series = column.isin(values)
    return found


def _yes_or_no(value: Any) -> pd.Series:
    if isinstance(value, pd.Series):
        if value.dtype.kind == "b":
            return value
        values = np.asarray(value, dtype=object)
        if pd.api.types.infer_dtype(values, skipna=False) == "boolean":
            return pd.Series(values.astype(bool))
    raise _Meaningless("it does not say yes or no of every row")


def given_mask(rows: Any, n_rows: int, name: str) -> NDArray[np.bool_]:
    """Check a mask that the caller gave.

    Parameters
    ----------
    name : str
        Of the argument.

    Raises
    ------
    InvalidInputError
        If it is not a boolean for every row.
    """
    mask = np.asarray(rows)
    if mask.dtype != bool or mask.shape != (n_rows,):
        raise InvalidInputError(
            f"{name} has shape {mask.shape} and type {mask.dtype}: give one True or False for each "
            f"of the {n_rows} rows"
        )
    return mask


def require_anchors(mask: NDArray[np.bool_], labels: BatchLabels, parameters: Parameters) -> None:
    """Refuse anchors from which a correction cannot be estimated; warn where they are few.

    Parameters
    ----------
    mask : ndarray of shape (n_rows,), bool

    Raises
    ------
    InvalidInputError
        If the operator has no use for anchors, or a batch has none.
    """
    if parameters.operator not in (ALIGN, DISPLACE):
        raise InvalidInputError(
            f"anchors mean nothing to operator {parameters.operator!r}, which is estimated on all "
            "rows: use 'align' or 'displace', which move rows as their batch's anchors move"
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


def require_controls(mask: NDArray[np.bool_], n_features: int) -> None:
    """Refuse controls that have no covariance; warn where they are fewer than the features.

    Parameters
    ----------
    mask : ndarray of shape (n_rows,), bool

    Raises
    ------
    InvalidInputError
        If there are fewer than two.
    """
    n_controls = int(mask.sum())
    if n_controls < 2:
        raise InvalidInputError(
            f"{n_controls} of {len(mask)} rows are controls of the sphering: name two at least, "
            "better more than features"
        )
    if n_controls < n_features:
        warn_of_input(
            f"the sphering has {n_controls} controls for {n_features} features: it shrinks their "
            "covariance, the more the fewer they are"
        )
