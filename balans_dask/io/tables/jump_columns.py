"""Annotations of a store as columns of a JUMP table: ``Metadata_*``, keys first and as text."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from balans_dask.errors import InvalidInputError, first_names
from balans_dask.io.tables.columns import METADATA_PREFIX
from balans_dask.labels import labels_of_column, spelled

__all__ = ["JumpColumns"]

KEYS = tuple(METADATA_PREFIX + name for name in ("Source", "Batch", "Plate", "Well", "JCP2022"))
"""Tables are joined by these, so that they are text in all of them."""
ROW_NAMES = [METADATA_PREFIX + name for name in ("row", "row_name", "row_label", "obs_name")]
"""For the names of rows: the first that no other column has, also in another case."""


class JumpColumns:
    """All columns of a table but the values of the features.

    Columns of ``obs`` get the prefix ``Metadata_`` where they lack it, as any other column would be
    read as a feature. Names of rows that are no mere numbers become ``Metadata_row``, or
    ``Metadata_row_name`` where that is a column, as on plates with rows and columns.

    Parameters
    ----------
    path : str
        What to call the store in an error.

    Raises
    ------
    InvalidInputError
        If two columns get the same name.
    """

    def __init__(self, path: str, obs: pd.DataFrame, features: Sequence[str]) -> None:
        named = {str(name): obs[name] for name in obs.columns}
        columns = [(_prefixed(name), column) for name, column in named.items()]
        if list(obs.index) != [str(row) for row in range(len(obs))]:
            taken = {name.lower() for name in (*(name for name, _ in columns), *features)}
            free = next((name for name in ROW_NAMES if name.lower() not in taken), ROW_NAMES[0])
            columns.append((free, obs.index.to_series()))
        names = [*(name for name, _ in columns), *features]
        repeated = sorted(name for name, count in Counter(names).items() if count > 1)
        if repeated:
            raise InvalidInputError(
                f"{path} has {len(repeated)} columns that get the same name in a table, where all "
                f"of obs begin with {METADATA_PREFIX} ({first_names(repeated)}): rename them"
            )
        order = {name: place for place, name in enumerate(KEYS)}
        columns.sort(key=lambda pair: order.get(pair[0], len(order)))
        self._columns = dict(columns)
        self._kinds = {name: _kind(name, column) for name, column in columns}

    @property
    def names(self) -> list[str]:
        """Names, keys first."""
        return list(self._columns)

    def fields(self) -> list[pa.Field]:
        """Names and types."""
        return [pa.field(name, kind) for name, kind in self._kinds.items()]

    def arrays(self, rows: NDArray[np.intp]) -> list[pa.Array]:
        """Values of some rows."""
        return [
            _array(column.iloc[rows], self._kinds[name]) for name, column in self._columns.items()
        ]


def _prefixed(name: str) -> str:
    return name if name.startswith(METADATA_PREFIX) else METADATA_PREFIX + name


def _kind(name: str, column: pd.Series) -> pa.DataType:
    """Type of a column: that of its values, not of the codes by which they are stored."""
    if name in KEYS:
        return pa.string()
    kind = pa.Array.from_pandas(column.iloc[:0]).type if column.dtype != object else pa.string()
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    is_text = pa.types.is_large_string(kind) or pa.types.is_null(kind)
    return pa.string() if is_text else kind


def _array(column: pd.Series, kind: pa.DataType) -> pa.Array:
    if pa.types.is_string(kind):
        codes, values = labels_of_column(column)
        texts = np.array([*(spelled(value) for value in values), None], dtype=object)
        return pa.array(texts[codes], kind)
    missing = column.isna().to_numpy()
    if isinstance(column.dtype, pd.CategoricalDtype):
        return pa.array(column.to_numpy(dtype=object), kind, mask=missing)
    return pa.array(column, kind, from_pandas=True)
