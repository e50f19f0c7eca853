"""A new store that is complete or not there."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from balans_dask.io.atomic import sync_files
from balans_dask.io.files import remove_file
from balans_dask.io.layout import consolidate, create_root
from balans_dask.io.run_folder import RunFolder, check_output
from balans_dask.io.trial import require_readable
from balans_dask.io.units import record_unit, shard_files

__all__ = ["OutputStore", "ShardSink", "StoreSink", "write_shards"]


class OutputStore:
    """A store that is made in one go: it appears at the end of the ``with`` block, or not at all.

    Parameters
    ----------
    path : str
    overwrite : bool
        Replace a store that is there, once the new one is complete.
    inputs : tuple of str
        Paths that must not be touched.
    create : callable
        Makes the empty group at a path: an AnnData store, if not said otherwise.
    """

    def __init__(
        self,
        path: str,
        overwrite: bool,
        inputs: tuple[str, ...] = (),
        create: Callable[[Path], zarr.Group] = create_root,
    ) -> None:
        check_output(path, overwrite, inputs)
        self._folder = RunFolder(path)
        self._overwrite = overwrite
        self._create = create
        self._held = ExitStack()
        self.root: zarr.Group

    def __enter__(self) -> "OutputStore":
        self._held.enter_context(self._folder.held_afresh(self._overwrite))
        self.root = self._create(self._folder.last.store)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._held:
            if kind is not None:
                self._folder.discard()
                return
            try:
                consolidate(self._folder.last.store)
                require_readable(self._folder.last.store, "look at the disk, and run it again")
                sync_files(self._folder.last.store)
                self._folder.publish(self._overwrite)
            except BaseException:
                self._folder.discard()
                raise


@dataclass(frozen=True)
class StoreSink:
    """Where tasks write corrected rows: whole shards, so no two tasks share a file.

    Attributes
    ----------
    features, embedding : zarr.Array or None
        ``None`` where a matrix is not wanted.
    store, units : Path
        The store that holds them, and the manifest.
    run : str
        Fingerprint of the run.
    """

    features: zarr.Array | None
    embedding: zarr.Array | None
    store: Path
    units: Path
    run: str

    @property
    def arrays(self) -> list[zarr.Array]:
        """Both matrices, or the one that there is."""
        return [array for array in (self.features, self.embedding) if array is not None]

    def write(
        self,
        start: int,
        features: NDArray[np.floating],
        embedding: NDArray[np.floating] | None,
        displacement: NDArray[np.float32],
        covered: NDArray[np.bool_],
    ) -> None:
        """Write consecutive rows that begin at ``start``, then record them.

        Raises
        ------
        ValueError
            If the rows are not whole shards.
        """
        stop = start + len(features)
        files = [] if self.features is None else self._write(self.features, start, features)
        if self.embedding is not None and embedding is not None:
            files += self._write(self.embedding, start, embedding)
        record_unit(self.units, self.run, start, stop, files, displacement, covered)

    def _write(self, array: zarr.Array, start: int, rows: NDArray[Any]) -> list[Path]:
        files = shard_files(self.store, array, start, start + len(rows))
        try:
            write_shards(array, start, rows)
        except (RuntimeError, ValueError):
            # Zarr reads a shard before it writes it, and a torn one cannot be read. A sound one
            # stays until it is replaced: another attempt of this task may just have recorded it.
            for file in files:
                remove_file(file)
            write_shards(array, start, rows)
        return files


@dataclass(frozen=True)
class ShardSink:
    """Where tasks write the rows of one matrix of a store that is made in one go.

    Attributes
    ----------
    array : zarr.Array
    """

    array: zarr.Array

    def write(self, start: int, rows: NDArray[Any]) -> None:
        """Write consecutive rows that begin at ``start``.

        Raises
        ------
        ValueError
            If the rows are not whole shards.
        """
        write_shards(self.array, start, rows)


def write_shards(array: zarr.Array, start: int, rows: NDArray[Any]) -> None:
    """Write rows that fill whole shards, but for the last one of the array.

    One shard after another: Zarr would hold the encoded chunks of all of them.
    """
    shard_rows = (array.shards or array.chunks)[0]
    stop = start + len(rows)
    if start % shard_rows or (stop % shard_rows and stop != array.shape[0]):
        raise ValueError(f"rows {start} to {stop} are not whole shards of {shard_rows} rows")
    for first in range(start, stop, shard_rows):
        shard = slice(first, min(first + shard_rows, stop))
        array[shard] = rows[shard.start - start : shard.stop - start]
