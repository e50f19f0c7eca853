"""The manifest of a run: which rows of the output are finished, and the hash of their files.

A *unit* is what one task wrote. Its record appears after its data, by one rename, so a record
vouches for its files; files without a record may be torn and are deleted before they are written
again. A record that no longer matches its files vouches for nothing.
"""

from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
import zarr
from numpy.typing import NDArray

from balans_dask.io.checkpoint import read_json, read_state, write_json, write_state

__all__ = ["Unit", "record_unit", "recorded_units", "shard_files", "unit_holds"]


@dataclass(frozen=True)
class Unit:
    """Finished rows.

    Attributes
    ----------
    start, stop : int
        Rows.
    path : Path
        The record.
    """

    start: int
    stop: int
    path: Path

    def displacement(self) -> NDArray[np.float32]:
        """Read how far the rows moved."""
        state = read_state(self.path.with_suffix(".npz"))
        if state is None:
            raise OSError(f"{self.path.with_suffix('.npz')} is missing or torn")
        moved: NDArray[np.float32] = state["displacement"]
        return moved


def shard_files(store: Path, array: zarr.Array, start: int, stop: int) -> list[Path]:
    """Files of the shards of some rows of a matrix, whether they exist or not."""
    shard_rows = (array.shards or array.chunks)[0]
    keys = [
        array.metadata.encode_chunk_key((shard, 0))
        for shard in range(start // shard_rows, -(-stop // shard_rows))
    ]
    return [store / array.path / key for key in keys]


def record_unit(
    folder: Path, start: int, stop: int, files: list[Path], displacement: NDArray[np.float32]
) -> None:
    """Record rows whose files are written."""
    path = folder / f"{start:012d}-{stop:012d}.json"
    write_state(path.with_suffix(".npz"), {"displacement": displacement})
    root = folder.parent
    hashes = {str(file.relative_to(root)): _hash(file) for file in files}
    write_json(path, {"start": start, "stop": stop, "files": hashes})


def recorded_units(folder: Path) -> list[Unit]:
    """All records in row order, not checked against their files."""
    units = []
    for path in sorted(folder.glob("*.json")):
        record = read_json(path)
        if record is not None:
            units.append(Unit(int(record["start"]), int(record["stop"]), path))
    return units


def unit_holds(unit: Unit) -> bool:
    """Tell whether the files of a unit are the ones it recorded."""
    record = read_json(unit.path)
    if record is None or read_state(unit.path.with_suffix(".npz")) is None:
        return False
    root = unit.path.parent.parent
    return all(
        (root / name).is_file() and _hash(root / name) == digest
        for name, digest in record["files"].items()
    )


def _hash(file: Path) -> str:
    with file.open("rb") as content:
        digest = blake2b(digest_size=16)
        while block := content.read(2**20):
            digest.update(block)
    return digest.hexdigest()
