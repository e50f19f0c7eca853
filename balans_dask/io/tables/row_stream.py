"""A table as a stream of rows, whatever its format."""

import csv
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from balans_dask.errors import InvalidInputError

__all__ = ["SLAB_ROWS", "RowStream", "Slab", "float32", "readable"]

SLAB_ROWS = 8192


@dataclass(frozen=True)
class Slab:
    """Consecutive rows.

    Attributes
    ----------
    obs : DataFrame
    features : ndarray of shape (n_rows, n_features), float32
    obsm : dict of str to ndarray of shape (n_rows, n_columns)
    """

    obs: pd.DataFrame
    features: NDArray[np.float32]
    obsm: dict[str, NDArray[np.float32]] = field(default_factory=dict)


@dataclass(frozen=True)
class RowStream:
    """A table, read slab by slab.

    Attributes
    ----------
    var : DataFrame
        One row a feature, in the order of the slabs' columns.
    slabs : iterator of Slab
        The rows, once.
    obs_complete : DataFrame or None
        All annotations, where the format holds them apart from the features.
    untyped : bool
        Annotations are text whatever they mean, because the format knows no types.
    left_out : tuple of str
        Columns that are in none of the slabs.
    """

    var: pd.DataFrame
    slabs: Iterator[Slab]
    obs_complete: pd.DataFrame | None = None
    untyped: bool = False
    left_out: tuple[str, ...] = ()


@contextmanager
def readable(path: str, kind: str) -> Iterator[None]:
    """Turn whatever a reader raises on a damaged file into a refusal."""
    try:
        yield
    except InvalidInputError:
        raise
    except (
        *(OSError, ValueError, KeyError, EOFError, StopIteration, NotImplementedError),
        *(zlib.error, csv.Error),
    ) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else "it ends too early"
        raise InvalidInputError(f"{path} cannot be read as {kind} ({reason}): check it") from error


def float32(values: NDArray[Any]) -> NDArray[np.float32]:
    """Round to float32; what is out of its range becomes infinite and is counted as such."""
    with np.errstate(over="ignore"):
        return values.astype(np.float32)
