"""A new store that is complete or not there."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from balans_dask.errors import InvalidInputError, StoreExistsError
from balans_dask.io.layout import create_root
from balans_dask.io.store import is_store

__all__ = ["OutputStore", "StoreSink", "check_output"]

SUFFIX = ".partial"


def check_output(path: str, overwrite: bool, inputs: tuple[str, ...] = ()) -> None:
    """Refuse an output path before any work is done.

    Raises
    ------
    StoreExistsError
        If something is there and must not be, or may not be, replaced.
    InvalidInputError
        If the output is, holds or lies within an input, or its folder is missing.
    """
    target = Path(path).resolve()
    for name in inputs:
        source = Path(name).resolve()
        if target == source or target in source.parents or source in target.parents:
            raise InvalidInputError(
                f"output {path} and input {name} are the same place: choose another output"
            )
    if not target.parent.is_dir():
        raise InvalidInputError(f"the folder of {path} does not exist: create it first")
    if not target.exists():
        return
    if not overwrite:
        raise StoreExistsError(f"{path} exists: choose another output, or add --overwrite")
    if not is_store(path):
        raise StoreExistsError(
            f"{path} exists and is not a Zarr store, so it is not replaced: choose another output"
        )


class OutputStore:
    """A store under construction beside its final place.

    Everything is written to ``PATH.partial``. Leaving the ``with`` block moves the finished store
    into place by a rename; leaving it by an exception removes what was written.

    Parameters
    ----------
    path : str
    overwrite : bool
        Replace a store that is there, once the new one is complete.
    inputs : tuple of str
        Paths that must not be touched.
    """

    def __init__(self, path: str, overwrite: bool, inputs: tuple[str, ...] = ()) -> None:
        check_output(path, overwrite, inputs)
        self.path = Path(path).resolve()
        self.partial = self.path.with_name(self.path.name + SUFFIX)
        self.root: zarr.Group

    def __enter__(self) -> "OutputStore":
        if self.partial.exists() and not is_store(str(self.partial)):
            raise StoreExistsError(
                f"{self.partial.name} is in the way and is not a Zarr store: move it"
            )
        shutil.rmtree(self.partial, ignore_errors=True)
        self.root = create_root(str(self.partial))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            shutil.rmtree(self.partial, ignore_errors=True)
            return
        zarr.consolidate_metadata(str(self.partial))
        replaced = self.path.with_name(self.path.name + ".replaced")
        if self.path.exists():
            self.path.rename(replaced)
        self.partial.rename(self.path)
        shutil.rmtree(replaced, ignore_errors=True)


@dataclass(frozen=True)
class StoreSink:
    """Where tasks write corrected rows: whole shards, so no two tasks share a file.

    Attributes
    ----------
    features : zarr.Array
    embedding : zarr.Array or None
    """

    features: zarr.Array
    embedding: zarr.Array | None

    def write(
        self,
        start: int,
        features: NDArray[np.floating],
        embedding: NDArray[np.floating] | None,
    ) -> None:
        """Write consecutive rows that begin at ``start``.

        Raises
        ------
        ValueError
            If the rows are not whole shards.
        """
        write_shards(self.features, start, features)
        if self.embedding is not None and embedding is not None:
            write_shards(self.embedding, start, embedding)


def write_shards(array: zarr.Array, start: int, rows: NDArray[Any]) -> None:
    """Write rows that fill whole shards, but for the last one of the array."""
    shard_rows = (array.shards or array.chunks)[0]
    stop = start + len(rows)
    if start % shard_rows or (stop % shard_rows and stop != array.shape[0]):
        raise ValueError(f"rows {start} to {stop} are not whole shards of {shard_rows} rows")
    array[start:stop] = rows
