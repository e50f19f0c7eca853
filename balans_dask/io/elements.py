"""The elements of AnnData that a table of profiles has; anndata itself is asked for any other one.

To import anndata, and with it dask.array, takes as long as to correct a thousand wells. Its format
is published, element by element, each with a name and a version:
https://anndata.readthedocs.io/en/stable/fileformat-prose.html.
"""

from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import zarr
from zarr.core.dtype import VariableLengthUTF8

__all__ = ["ARRAY", "COLUMNS", "INDEX", "encoded", "read_element", "write_element"]

COLUMNS = "column-order"
"""Attribute of a table that lists its columns."""
INDEX = "_index"
"""Attribute of a table that names its index, and what the index is called if it has no name."""
Encoding: TypeAlias = tuple[str, str]
ARRAY, TEXTS = ("array", "0.2.0"), ("string-array", "0.2.0")
NUMBER, TEXT = ("numeric-scalar", "0.2.0"), ("string", "0.2.0")
TABLE, CATEGORICAL = ("dataframe", "0.2.0"), ("categorical", "0.2.0")
MAPPING = ("dict", "0.1.0")


def read_element(element: zarr.Array | zarr.Group) -> Any:
    """Read an element, as ``anndata.io.read_elem`` does."""
    attributes = element.attrs
    encoding = attributes.get("encoding-type"), attributes.get("encoding-version")
    if isinstance(element, zarr.Array):
        if encoding in (ARRAY, TEXTS):
            return element[()]
        if encoding == NUMBER:
            return element[()].item()
        if encoding == TEXT:
            return str(element[()])
    elif encoding == MAPPING:
        return {name: read_element(member) for name, member in element.members()}
    elif encoding == CATEGORICAL:
        codes, categories = (read_element(element[name]) for name in ("codes", "categories"))
        return pd.Categorical.from_codes(codes, categories, ordered=bool(attributes["ordered"]))
    elif encoding == TABLE:
        return _read_table(element)
    from anndata.io import read_elem  # noqa: PLC0415  (slow to import, and seldom needed)

    return read_elem(element)


def _read_table(group: zarr.Group) -> pd.DataFrame:
    names, index = list(group.attrs[COLUMNS]), group.attrs[INDEX]
    frame = pd.DataFrame(
        {name: read_element(group[name]) for name in names},
        index=read_element(group[index]),
        columns=names or None,
    )
    if index != INDEX:
        frame.index.name = index
    return frame


def write_element(group: zarr.Group, name: str, element: Any, codecs: Any) -> None:
    """Write an element that is not there yet, as ``anndata.io.write_elem`` does.

    The versions of anndata and pandas do not change what is written, and nothing is in shards.

    Parameters
    ----------
    group : zarr.Group
        Of Zarr v3.
    name : str
    element : object
    codecs : sequence of Codec
        Of all arrays.
    """
    if "/" in name:
        _write_by_anndata(group, name, element, codecs)
    elif type(element) is dict:
        inner = group.create_group(name, attributes=encoded(MAPPING))
        for key, value in element.items():
            write_element(inner, key, value, codecs)
    elif isinstance(element, pd.DataFrame) and _is_plain(element):
        _write_table(group, name, element, codecs)
    elif isinstance(element, pd.Categorical):
        ordered = {"ordered": bool(element.ordered)}
        inner = group.create_group(name, attributes=ordered | encoded(CATEGORICAL))
        write_element(inner, "codes", element.codes, codecs)
        write_element(inner, "categories", element.categories.to_numpy(), codecs)
    elif type(element) is list:
        write_element(group, name, np.array(element), codecs)
    elif type(element) is np.ndarray and not element.ndim:
        write_element(group, name, element[()], codecs)
    else:
        encoding, dtype = _encoding(element)
        if encoding is None:
            _write_by_anndata(group, name, element, codecs)
            return
        values = np.asarray(element)
        array = group.create_array(
            name,
            shape=values.shape,
            dtype=dtype,
            compressors=codecs,
            attributes=encoded(encoding),
        )
        array[...] = values


def encoded(encoding: Encoding) -> dict[str, Any]:
    """Return the attributes that name an encoding."""
    return dict(zip(("encoding-type", "encoding-version"), encoding, strict=True))


def _encoding(element: Any) -> tuple[Encoding | None, Any]:
    """Tell how an array or a scalar is encoded, and its type; ``None`` if anndata must say it."""
    if type(element) in (str, np.str_):
        return TEXT, VariableLengthUTF8()
    if type(element) is np.ndarray:
        if element.dtype.kind in "biuf":
            return ARRAY, element.dtype
        held = pd.api.types.infer_dtype(element, skipna=False)
        return (TEXTS, VariableLengthUTF8()) if held in {"string", "empty"} else (None, None)
    if isinstance(element, bool | int | float | np.generic):
        dtype = np.asarray(element).dtype
        return (NUMBER, dtype) if dtype.kind in "biuf" else (None, None)
    return None, None


def _is_plain(frame: pd.DataFrame) -> bool:
    """Tell whether names of columns and index are such that anndata would not refuse them."""
    names = [*frame.columns, INDEX if frame.index.name is None else frame.index.name]
    plain = all(type(name) is str and "/" not in name for name in names)
    return plain and INDEX not in frame.columns and len(set(names)) == len(names)


def _write_table(group: zarr.Group, name: str, frame: Any, codecs: Any) -> None:
    index = INDEX if frame.index.name is None else frame.index.name
    said = {COLUMNS: list(frame.columns), INDEX: index}
    inner = group.create_group(name, attributes=said | encoded(TABLE))
    write_element(inner, index, frame.index._values, codecs)
    for column, series in frame.items():
        write_element(inner, column, series._values, codecs)


def _write_by_anndata(group: zarr.Group, name: str, element: Any, codecs: Any) -> None:
    from anndata import settings  # noqa: PLC0415  (slow to import, and seldom needed)
    from anndata.io import write_elem  # noqa: PLC0415

    with settings.override(allow_write_nullable_strings=True, auto_shard_zarr_v3=False):
        write_elem(group, name, element, dataset_kwargs={"compressors": codecs})
