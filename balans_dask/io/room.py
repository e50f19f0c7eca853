"""Whether what is read whole fits in memory, by the metadata of its arrays alone."""

from collections.abc import Iterable
from math import prod
from pathlib import Path

import psutil
import zarr

from balans_dask.errors import InvalidInputError

__all__ = [
    "MOST_TEXT_BYTES",
    "chunk_bytes",
    "free_bytes",
    "require_chunk",
    "require_room",
    "text_bytes",
]

COPIES_OF_TEXT = 4
"""It is there as bytes, as objects and in a table of them."""
MOST_TEXT_BYTES = int(psutil.virtual_memory().total) // COPIES_OF_TEXT
"""What a chunk of text could be, if all memory of the machine were free."""


def free_bytes(limit_bytes: int | None = None) -> int:
    """Memory that there is, or less, if a limit is."""
    free = int(psutil.virtual_memory().available)
    return free if limit_bytes is None else min(free, limit_bytes)


def text_bytes(limit_bytes: int | None = None) -> int:
    """Memory that a chunk of text may decode to."""
    return free_bytes(limit_bytes) // COPIES_OF_TEXT


def chunk_bytes(array: zarr.Array) -> int:
    """Size of a decoded chunk; of text, that of the places which its values take."""
    size: int = prod(array.chunks) * array.dtype.itemsize
    return size


def require_room(
    arrays: Iterable[zarr.Array], path: str | Path, limit_bytes: int | None = None
) -> None:
    """Refuse arrays that do not fit in memory together, or whose chunks are larger than a limit.

    Parameters
    ----------
    arrays : iterable of zarr.Array
        To be read whole.
    path : str or Path
        Of the store.
    limit_bytes : int or None
        What a process may use. Other processes may hold less than this one, but no chunk is larger.

    Raises
    ------
    InvalidInputError
    """
    free, total = free_bytes(), 0
    for array in arrays:
        axes = zip(array.shape, array.chunks, strict=True)
        n_chunks = prod(-(-length // max(cut, 1)) for length, cut in axes)
        total += chunk_bytes(array) * n_chunks
        if n_chunks:
            require_chunk(array, path, limit_bytes)
    if total > free:
        raise InvalidInputError(
            f"{path} has annotations of {total:,} bytes, more than the {free:,} of memory that "
            "there are: write fewer, or use a larger machine"
        )


def require_chunk(array: zarr.Array, path: str | Path, limit_bytes: int | None = None) -> None:
    """Refuse an array of which a single chunk does not fit in memory, before one is decoded.

    Parameters
    ----------
    array : zarr.Array
    path : str or Path
        Of the store.
    limit_bytes : int or None
        What a process may use.

    Raises
    ------
    InvalidInputError
    """
    size, limit = chunk_bytes(array), free_bytes(limit_bytes)
    if size > limit:
        raise InvalidInputError(
            f"{path} has {array.path} in chunks of {size:,} bytes, more than the {limit:,} of "
            "memory that may be used: write it again in smaller ones, or raise --memory-limit"
        )
