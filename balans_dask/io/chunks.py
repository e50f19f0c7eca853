"""Which chunks of an array are on disk, and whole.

Zarr leaves out chunks that hold nothing but the fill value unless it is told otherwise, and reads a
missing one as fill values: a lost chunk and an empty one look the same.
"""

from math import prod
from pathlib import Path

import numpy as np
import zarr
from numpy.typing import NDArray

from balans_dask.errors import InvalidInputError
from balans_dask.io.files import are_files
from balans_dask.io.places import is_remote, place_of

__all__ = ["folder_of", "has_every_chunk", "require_every_chunk", "require_rows", "require_uncut"]


def has_every_chunk(array: zarr.Array, path: str | Path, mask: zarr.Array | None = None) -> bool:
    """Tell whether all chunks of an array of a store are on disk, or hold masked values alone."""
    return _n_missing(array, path, mask) == 0


def require_every_chunk(
    array: zarr.Array, path: str | Path, mask: zarr.Array | None = None
) -> None:
    """Refuse an array of which stored chunks are missing.

    Parameters
    ----------
    array : zarr.Array
    path : str or Path
        Of the store.
    mask : zarr.Array or None
        Says which values of a column are missing: a chunk of nothing else need not be there.

    Raises
    ------
    InvalidInputError
    """
    _refuse_missing(array, path, _n_missing(array, path, mask), prod(_grid(array)))


def require_rows(matrix: zarr.Array, path: str | Path) -> None:
    """Refuse a matrix of which some rows lack chunks that other rows have.

    Columns of which no chunk is stored are features that hold the fill value in every row; they
    will be reported as constant.

    Parameters
    ----------
    matrix : zarr.Array
    path : str or Path
        Of the store.

    Raises
    ------
    InvalidInputError
    """
    stored = _stored(matrix, path)
    _refuse_missing(matrix, path, int((~stored & stored.any(axis=0)).sum()), stored.size)


def require_uncut(array: zarr.Array, path: str | Path) -> None:
    """Refuse an array of which stored chunks are cut off and would still be decoded.

    Blosc reads on beyond the end of a buffer; other codecs notice it.

    Parameters
    ----------
    array : zarr.Array
    path : str or Path
        Of the store.

    Raises
    ------
    InvalidInputError
    """
    codecs = array.compressors
    if is_remote(place_of(path)):
        return  # an object is whole or not there
    if array.shards or not codecs or "blosc" not in type(codecs[-1]).__name__.lower():
        return
    n_cut = sum(file.is_file() and _is_cut_off(file) for file in _files(array, path))
    if n_cut:
        raise InvalidInputError(f"{path} has {n_cut} chunks of {array.path} cut off: restore them")


def _n_missing(array: zarr.Array, path: str | Path, mask: zarr.Array | None) -> int:
    missing = ~_stored(array, path)
    if mask is None or not missing.any():
        return int(missing.sum())
    length = (array.shards or array.chunks)[0]
    masked = np.asarray(mask[...])
    starts = np.flatnonzero(missing) * length
    return sum(not masked[start : start + length].all() for start in starts.tolist())


def _refuse_missing(array: zarr.Array, path: str | Path, n_missing: int, n_stored: int) -> None:
    if n_missing:
        raise InvalidInputError(
            f"{path} lacks {n_missing} of {n_stored} stored chunks of {array.path}, which would "
            f"read as {str(array.fill_value)!r}: restore them, or write the store again with "
            "Zarr's write_empty_chunks"
        )


def _grid(array: zarr.Array) -> tuple[int, ...]:
    """Count the stored chunks (shards, where there are any) along every axis."""
    cut = array.shards or array.chunks
    return tuple(-(-length // size) for length, size in zip(array.shape, cut, strict=True))


def folder_of(array: zarr.Array, path: str | Path) -> Path:
    """Return the folder of an array of a store."""
    store = place_of(path)
    return store / array.path if array.path else store


def _names(array: zarr.Array) -> list[str]:
    """Return the names of all stored chunks, in the order of the grid."""
    return [array.metadata.encode_chunk_key(place) for place in np.ndindex(*_grid(array))]


def _files(array: zarr.Array, path: str | Path) -> list[Path]:
    """Return the files of all stored chunks."""
    folder = folder_of(array, path)
    return [folder / name for name in _names(array)]


def _stored(array: zarr.Array, path: str | Path) -> NDArray[np.bool_]:
    stored = are_files(folder_of(array, path), _names(array))
    return np.array(stored, dtype=np.bool_).reshape(_grid(array))


def _is_cut_off(file: Path) -> bool:
    """Compare the length of a Blosc buffer with the one in its header (bytes 12 to 15)."""
    with file.open("rb") as content:
        header = content.read(16)
    return len(header) < 16 or file.stat().st_size < int.from_bytes(header[12:], "little")
