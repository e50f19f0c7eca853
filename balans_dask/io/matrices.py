"""Reading a matrix of a store where the work is done, or saying why it cannot be read."""

import math
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from balans_dask.errors import InvalidInputError, RunError
from balans_dask.io.store import is_store

__all__ = ["VisibleArray", "require_whole_chunks"]


@dataclass(frozen=True)
class VisibleArray:
    """A matrix of a store that refuses to be read where the store is not, or is damaged.

    Zarr reads a missing file as a chunk of fill values, so a worker without the file system of the
    input would correct zeros.

    Attributes
    ----------
    array : zarr.Array
    path : str
        Absolute path of the store.
    """

    array: zarr.Array
    path: str

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and columns."""
        return tuple(self.array.shape)

    @property
    def dtype(self) -> Any:
        """Type of the values."""
        return self.array.dtype

    @property
    def chunks(self) -> tuple[int, ...]:
        """Shape of a chunk."""
        return tuple(self.array.chunks)

    def __getitem__(self, rows: slice) -> Any:
        if not is_store(self.path):
            raise InvalidInputError(
                f"the worker on {platform.node()} does not see {self.path}: put the store on a "
                "file system that all workers share"
            )
        place = f"{self.array.path} of {self.path} in rows {rows.start} to {rows.stop}"
        try:
            return self.array[rows]
        except OSError as error:
            raise RunError(
                f"cannot read {place} ({error}): look at the file system, and continue with "
                "--resume"
            ) from error
        except (RuntimeError, ValueError, TypeError, KeyError) as error:
            # What a codec raises on bytes that are not its own has no common base.
            raise InvalidInputError(
                f"cannot decode {place} ({_first_line(error)}): a chunk is damaged, restore it"
            ) from error


def require_whole_chunks(array: zarr.Array, path: str) -> None:
    """Refuse a matrix of which stored chunks are missing or cut off.

    Zarr leaves out chunks that hold nothing but the fill value unless it is told otherwise, so a
    lost chunk and an empty one look the same: both are refused, rather than a lost one corrected.

    Parameters
    ----------
    array : zarr.Array
    path : str
        Of the store, for the message.

    Raises
    ------
    InvalidInputError
    """
    stored = array.shards or array.chunks
    grid = [-(-length // cut) for length, cut in zip(array.shape, stored, strict=True)]
    n_stored = math.prod(grid)
    chunks_each = math.prod(a // b for a, b in zip(stored, array.chunks, strict=True))
    n_missing = n_stored - array.nchunks_initialized // chunks_each
    if n_missing:
        raise InvalidInputError(
            f"{path} lacks {n_missing} of {n_stored} stored chunks of {array.path}, which would "
            f"read as {array.fill_value}: restore them, or write the store again with Zarr's "
            "write_empty_chunks"
        )
    names = [array.metadata.encode_chunk_key(place) for place in np.ndindex(*grid)]
    n_torn = sum(
        _is_cut_off(Path(path, array.path, name)) for name in names if _ends_in_blosc(array)
    )
    if n_torn:
        raise InvalidInputError(
            f"{path} has {n_torn} of {n_stored} stored chunks of {array.path} cut off: restore them"
        )


def _ends_in_blosc(array: zarr.Array) -> bool:
    """Tell whether stored chunks are Blosc buffers, whose decoder reads on beyond their end."""
    codecs = array.compressors
    return array.shards is None and bool(codecs) and "blosc" in type(codecs[-1]).__name__.lower()


def _is_cut_off(file: Path) -> bool:
    """Compare the length of a Blosc buffer with the one in its header (bytes 12 to 15)."""
    with file.open("rb") as content:
        header = content.read(16)
    return len(header) < 16 or file.stat().st_size < int.from_bytes(header[12:], "little")


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
