"""The manifest of a run: which rows of the output are finished, and the hash of their files.

A *unit* is what one task wrote. Its record appears after its data, by one rename (in a bucket, by
one put, of what was read back), so a record vouches for its files; files without a record may be
torn and are deleted before they are written again. A record that no longer matches its files
vouches for nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from balans_dask.io.atomic import read_json, read_state, sync_file, write_json, write_state
from balans_dask.io.files import file_size, files_in, many, open_file, relative_name

__all__ = ["Unit", "record_unit", "recorded_units", "shard_files", "unit_files"]


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
