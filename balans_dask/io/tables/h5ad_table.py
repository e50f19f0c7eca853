"""Reading h5ad as a stream of rows."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
import pandas as pd
from anndata.io import read_elem, sparse_dataset
from numpy.typing import NDArray

from balans_dask.errors import InvalidInputError, exhaustion, first_line, first_names, warn_of_input
from balans_dask.io.files import table_source
from balans_dask.io.matrices import require_parts
from balans_dask.io.tables.annotations import storable
from balans_dask.io.tables.columns import require_features
from balans_dask.io.tables.row_stream import SLAB_ROWS, RowStream, Slab, float32, readable

__all__ = [
    "CATEGORIES",
    "open_h5ad",
    "records_frame",
    "with_categories",
]

CATEGORIES = "_categories"
"""Ends the name of the categories of a column, which lie in ``uns``."""
NUMBERS = "biuf"
"""Kinds of types that a matrix may have."""
WHOLE = {"X", "obs", "var"}
GROUPS = {"layers", "obsm", "obsp", "varm", "varp", "uns"}


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


def open_h5ad(path: str) -> RowStream:
    """Open an h5ad file: its X, obs, var and the dense matrices of its obsm; warn of all else.

    Raises
    ------
    InvalidInputError
        If the file cannot be read, holds no features, X as anything but dense or csr, or parts that
        lie elsewhere.
    """
    with readable(path, "h5ad"):
        file = h5py.File(table_source(path), "r")
        require_parts(path, file)
        (obs, of_obs), (var, of_var) = _frame(path, file, "obs"), _frame(path, file, "var")
        matrix = file["X"]
        if isinstance(matrix, h5py.Group):
            matrix = sparse_dataset(matrix)
        obsm = _dense_matrices(file)
    kind = getattr(matrix, "format", "dense")
    if kind not in {"dense", "csr"}:
        raise InvalidInputError(f"{path} holds X as {kind}: save it dense or as csr")
    if matrix.shape != (len(obs), len(var)):
        raise InvalidInputError(
            f"{path} has X of shape {matrix.shape} with {len(obs)} rows in obs and {len(var)} in "
            "var: write the file again"
        )
    for name, reader in obsm.items():
        if reader.n_rows != len(obs):
            raise InvalidInputError(
                f"{path} has {reader.n_rows} rows in obsm/{name} and {len(obs)} in obs: write the "
                "file again"
            )
    require_features(path, list(var.index), list(var.index))
    _warn_of_what_stays_behind(path, file, {"obsm": set(obsm), "uns": {*of_obs, *of_var}})
    return RowStream(var, _slabs(path, file, matrix, obsm, len(obs)), obs_complete=obs)


@dataclass(frozen=True)
class _DenseMatrix:
    """A matrix of obsm: of its own, or a field of records, as anndata wrote them before 0.7."""

    element: h5py.Dataset
    field: str | None = None

    @property
    def n_rows(self) -> int:
        return int(self.element.shape[0])

    def read(self, rows: slice) -> NDArray[np.float32]:
        values = self.element if self.field is None else self.element.fields(self.field)
        return float32(values[rows])


def _dense_matrices(file: h5py.File) -> dict[str, _DenseMatrix]:
    obsm = file.get("obsm", {})
    if isinstance(obsm, h5py.Dataset):
        fields = {name: obsm.dtype[name] for name in obsm.dtype.names or ()}
        return {
            name: _DenseMatrix(obsm, name)
            for name, kind in fields.items()
            if len(kind.shape) == 1 and kind.base.kind in NUMBERS
        }
    return {
        name: _DenseMatrix(element)
        for name, element in obsm.items()
        if isinstance(element, h5py.Dataset) and element.ndim == 2 and element.dtype.kind in NUMBERS
    }


def _frame(path: str, file: h5py.File, key: str) -> tuple[pd.DataFrame, list[str]]:
    """Read a table, and name what of uns it takes."""
    used: list[str] = []
    frame: Any
    try:
        element = file[key]
        if isinstance(element, h5py.Dataset):
            frame, used = with_categories(records_frame(element), file.get("uns"))
        else:
            frame = read_elem(element)
        if not isinstance(frame, pd.DataFrame):
            raise ValueError("it is no table")
    except Exception as error:  # anndata wraps whatever a torn element raises
        raise exhaustion(error) or InvalidInputError(
            f"{path} cannot be read as h5ad ({key}: {first_line(error)}): check it"
        ) from error
    return storable(path, frame), used


def _warn_of_what_stays_behind(path: str, file: h5py.File, taken: dict[str, set[str]]) -> None:
    """Name, by group, what the store will not hold."""
    found = []
    n_left = 0
    for key in file:
        group = file[key]
        members = list(group) if isinstance(group, h5py.Group) else group.dtype.names or ()
        left = [name for name in members if name not in taken.get(key, ())]
        if key in WHOLE or not left:
            continue
        if key in GROUPS:
            found.append(f"{len(left)} of {key} ({first_names(left, 3)})")
            n_left += len(left)
        elif "raw" not in found:
            # Before 0.7 its parts were called raw.X and raw.var.
            found.append(key.partition(".")[0])
            n_left += 1
    if found:
        warn_of_input(
            f"{n_left} elements of {path} are not converted ({', '.join(found)}): only X, obs, var "
            "and the dense matrices of obsm are"
        )


def _slabs(
    path: str, file: h5py.File, matrix: Any, obsm: dict[str, _DenseMatrix], n_rows: int
) -> Iterator[Slab]:
    with file, readable(path, "h5ad"):
        for start in range(0, n_rows, SLAB_ROWS):
            rows = slice(start, min(start + SLAB_ROWS, n_rows))
            block: Any = matrix[rows]
            dense = block if isinstance(block, np.ndarray) else block.toarray()
            extra = {name: element.read(rows) for name, element in obsm.items()}
            # Annotations are complete already.
            yield Slab(pd.DataFrame(), float32(dense), extra)
