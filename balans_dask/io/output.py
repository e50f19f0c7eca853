"""What tasks write, whole shards and a record of each unit, and stores complete or not there.

A *unit* is what one task wrote. Its record appears after its data, by one rename (in a bucket, by
one put, of what was read back), so a record vouches for its files; files without a record may be
torn and are deleted before they are written again. A record that no longer matches its files
vouches for nothing.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from balans_dask.io.atomic import (
    read_json,
    read_state,
    sync_file,
    sync_files,
    write_json,
    write_state,
)
from balans_dask.io.files import file_size, files_in, many, open_file, relative_name, remove_file
from balans_dask.io.layout import consolidate, create_root
from balans_dask.io.run_folder import RunFolder, check_output
from balans_dask.io.trial import require_readable

__all__ = [
    "OutputStore",
    "ShardSink",
    "StoreSink",
    "Unit",
    "record_unit",
    "recorded_units",
    "shard_files",
    "unit_files",
    "write_shards",
]


@dataclass(frozen=True)
class Unit:
    """Finished rows.

    Attributes
    ----------
    start, stop : int
        Rows.
    path : Path
        The record.
    run : str
        Fingerprint of the run that wrote them.
    files : dict of str to list
        Size and hash of every file, by its place in the run's folder.
    """

    start: int
    stop: int
    path: Path
    run: str
    files: dict[str, list[Any]]

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.path.parent.parent

    def vouches_for(self, files: Sequence[Path]) -> bool:
        """Tell whether the record names just these files."""
        return self.paths() == set(files)

    def paths(self) -> set[Path]:
        """All files."""
        return {self.folder / name for name in self.files}

    def facts(self) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Read how far the rows moved, and which of them a landmark covers."""
        state = read_state(self.path.with_suffix(".npz"))
        if state is None:
            raise OSError(f"{self.path.with_suffix('.npz')} is missing or torn")
        return state["displacement"], state["covered"]

    def is_there(self) -> bool:
        """Tell whether all files have their recorded sizes."""
        return all(file_size(self.folder / name) == size for name, (size, _) in self.files.items())

    def holds(self) -> bool:
        """Tell whether all files are the ones that were recorded."""
        return self.is_there() and all(
            _hash(self.folder / name) == digest for name, (_, digest) in self.files.items()
        )


def shard_files(store: Path, array: zarr.Array, start: int, stop: int) -> list[Path]:
    """Files of the shards of some rows of a matrix, whether they exist or not."""
    shard_rows = (array.shards or array.chunks)[0]
    keys = [
        array.metadata.encode_chunk_key((shard, 0))
        for shard in range(start // shard_rows, -(-stop // shard_rows))
    ]
    return [store / array.path / key for key in keys]


def unit_files(
    folder: Path, store: Path, arrays: Sequence[zarr.Array], start: int, stop: int
) -> list[Path]:
    """Files that a unit must vouch for: its shards, and what its rows met."""
    shards = [file for array in arrays for file in shard_files(store, array, start, stop)]
    return [*shards, _place(folder, start, stop).with_suffix(".npz")]


def record_unit(
    folder: Path,
    run: str,
    start: int,
    stop: int,
    shards: list[Path],
    displacement: NDArray[np.float32],
    covered: NDArray[np.bool_],
) -> None:
    """Record rows whose shards are written, once these are on disk."""
    path = _place(folder, start, stop)
    moved = path.with_suffix(".npz")
    write_state(moved, {"displacement": displacement, "covered": covered})
    for file in shards:
        sync_file(file)
    files = {
        relative_name(file, folder.parent): [file_size(file), _hash(file)]
        for file in [*shards, moved]
    }
    write_json(path, {"start": start, "stop": stop, "run": run, "files": files})


def recorded_units(folder: Path) -> list[Unit]:
    """All readable records in row order, not checked against their files."""
    names = sorted(name for name in files_in(folder) if name.endswith(".json"))
    units = many(lambda name: _read(folder / name), names)
    return [unit for unit in units if unit is not None]


def _place(folder: Path, start: int, stop: int) -> Path:
    return folder / f"{start:012d}-{stop:012d}.json"


def _read(path: Path) -> Unit | None:
    record = read_json(path)
    try:
        assert record is not None
        unit = Unit(record["start"], record["stop"], path, record["run"], record["files"])
        assert path == _place(path.parent, unit.start, unit.stop)
        assert all(len(fact) == 2 for fact in unit.files.values())
    except (AssertionError, KeyError, TypeError, ValueError, AttributeError):
        return None
    return unit


def _hash(file: Path) -> str:
    with open_file(file) as content:
        digest = blake2b(digest_size=16)
        while block := content.read(2**20):
            digest.update(block)
    return digest.hexdigest()


class OutputStore:
    """A store that is made in one go: it appears at the end of the ``with`` block, or not at all.

    Parameters
    ----------
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
