"""Which chunks of an array are on disk, and whole.

Zarr leaves out chunks that hold nothing but the fill value unless it is told otherwise, and reads a
missing one as fill values: a lost chunk and an empty one look the same. It also takes a shard that
is too short to have an index for one without chunks.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import zarr
from numpy.typing import NDArray

from balans_dask.errors import InvalidInputError
from balans_dask.io.codecs import encoding_of, require_room, text_bytes
from balans_dask.io.encoded import require_stated
from balans_dask.io.files import file_sizes
from balans_dask.io.places import is_remote, place_of

__all__ = [
    "folder_of",
    "has_every_chunk",
    "require_decodable",
    "require_every_chunk",
    "require_rows",
    "require_small",
]

MISSING = -1


def has_every_chunk(array: zarr.Array, path: str | Path, mask: zarr.Array | None = None) -> bool:
    """Tell whether all chunks of an array of a store are on disk, or hold masked values alone."""
    return _n_missing(array, _sizes(array, path), mask) == 0


def require_every_chunk(
    array: zarr.Array, path: str | Path, mask: zarr.Array | None = None
) -> None:
    """Refuse an array of which stored chunks are missing or plainly cut off.

    Parameters
    ----------
    path : str or Path
        Of the store.
    mask : zarr.Array or None
        Says which values of a column are missing: a chunk of nothing else need not be there.

    Raises
    ------
    InvalidInputError
    """
    sizes = _sizes(array, path)
    _refuse_missing(array, path, _n_missing(array, sizes, mask), sizes.size)
    _refuse_cut(array, path, int(_too_short(array, sizes).sum()))


def require_rows(matrix: zarr.Array, path: str | Path) -> None:
    """Refuse a matrix of which some rows lack chunks that other rows have, or have cut ones.

    Columns of which no chunk is stored are features that hold the fill value in every row; they
    will be reported as constant.

    Parameters
    ----------
    path : str or Path
        Of the store.

    Raises
    ------
    InvalidInputError
    """
    sizes = _sizes(matrix, path)
    stored = sizes != MISSING
    _refuse_missing(matrix, path, int((~stored & stored.any(axis=0)).sum()), stored.size)
    _refuse_cut(matrix, path, int(_too_short(matrix, sizes).sum()))


def require_decodable(
    array: zarr.Array,
    path: str | Path,
    rows: slice | None = None,
    limit_bytes: int | None = None,
) -> None:
    """Refuse an array of which stored chunks are cut off, or decode to more than they may.

    In a bucket an object is whole or not there, and what it decodes to is not looked at.

    Parameters
    ----------
    path : str or Path
        Of the store.
    rows : slice or None
        Those that will be read; ``None`` for all.
    limit_bytes : int or None
        Memory that may be used.

    Raises
    ------
    InvalidInputError
    """
    if is_remote(place_of(path)):
        return
    encoding, limit = encoding_of(array), text_bytes(limit_bytes)
    folder, grid = folder_of(array, path), _grid(array)
    touched = range(grid[0]) if grid else range(0)
    if rows is not None:
        length = (array.shards or array.chunks)[0]
        start, stop, _ = rows.indices(array.shape[0])
        touched = range(start // length, -(-stop // length))
    beside = list(np.ndindex(*grid[1:]))
    for place in [(first, *others) for first in touched for others in beside] if grid else [()]:
        name = array.metadata.encode_chunk_key(place)
        require_stated(folder / name, encoding, limit, f"{array.path}/{name} of {path}")


def require_small(
    arrays: Sequence[zarr.Array], path: str | Path, limit_bytes: int | None = None
) -> None:
    """Refuse arrays that are to be read whole where they are too large, cut off, or lie.

    Parameters
    ----------
    path : str or Path
        Of the store.
    limit_bytes : int or None
        Memory that may be used.

    Raises
    ------
    InvalidInputError
    """
    require_room(arrays, path, limit_bytes)
    for array in arrays:
        require_decodable(array, path, limit_bytes=limit_bytes)


def _n_missing(array: zarr.Array, sizes: NDArray[np.int64], mask: zarr.Array | None) -> int:
    missing = sizes == MISSING
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


def _refuse_cut(array: zarr.Array, path: str | Path, n_cut: int) -> None:
    if n_cut:
        kind = "shards" if array.shards else "chunks"
        raise InvalidInputError(f"{path} has {n_cut} {kind} of {array.path} cut off: restore them")


def _too_short(array: zarr.Array, sizes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Find files that cannot be what they should be, whatever is in them."""
    least = max(1, encoding_of(array).index_bytes)
    short: NDArray[np.bool_] = (sizes != MISSING) & (sizes < least)
    return short


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


def _sizes(array: zarr.Array, path: str | Path) -> NDArray[np.int64]:
    """Bytes of every stored chunk or shard; ``MISSING`` where there is none."""
    found = file_sizes(folder_of(array, path), _names(array))
    sizes = [MISSING if size is None else size for size in found]
    return np.array(sizes, dtype=np.int64).reshape(_grid(array))
