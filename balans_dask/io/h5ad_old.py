"""Tables as anndata wrote them before 0.7: arrays of records, and their categories apart."""

from typing import Any

import h5py
import numpy as np
import pandas as pd

__all__ = ["CATEGORIES", "records_frame", "with_categories"]

CATEGORIES = "_categories"
"""Ends the name of the categories of a column, which lie in ``uns``."""


def records_frame(records: h5py.Dataset) -> pd.DataFrame:
    """Read a table; its first field names the rows.

    Raises
    ------
    ValueError
        If it is none.
    """
    if not records.dtype.names:
        raise ValueError("it is no table")
    values = records[:]
    index, *names = values.dtype.names
    columns = {name: _text(values[name]) for name in names}
    return pd.DataFrame(columns, index=pd.Index(_text(values[index]), name=index))


def with_categories(
    frame: pd.DataFrame, elements: h5py.Group | None
) -> tuple[pd.DataFrame, list[str]]:
    """Replace codes by the categories that they stand for.

    Parameters
    ----------
    frame : DataFrame
    elements : h5py.Group or None
        ``uns``.

    Returns
    -------
    frame : DataFrame
    used : list of str
        Names of the categories.
    """
    used = []
    for name in frame.columns:
        element = None if elements is None else elements.get(f"{name}{CATEGORIES}")
        codes = frame[name].to_numpy()
        if not isinstance(element, h5py.Dataset) or codes.dtype.kind not in "iu":
            continue
        categories = _text(np.atleast_1d(element[()]))
        # A column of the same name in the other table may be the one that is meant.
        if len(codes) and codes.max() < len(categories):
            frame = frame.assign(**{name: pd.Categorical.from_codes(codes, categories)})
            used.append(f"{name}{CATEGORIES}")
    return frame, used


def _text(values: Any) -> Any:
    """Decode text; numbers stay as they are."""
    if values.dtype.kind not in "SO":
        return values
    texts = [value.decode() if isinstance(value, bytes) else value for value in values.tolist()]
    return np.array(texts, dtype=object)
