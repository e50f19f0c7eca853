"""Which arrays that somebody sent are decoded, by their metadata alone: codecs, types, memory.

A codec is a program that the metadata choose. What is decoded here, and why it may be:

- blosc, zstd, gzip, zlib and lz4 yield bytes, and say or show how many (``io.encoded``). One of
  them for an array: what a second one yields has no size that the metadata state. bz2 and lzma are
  left out, which hold tables of a size that the stream chooses, and which hardly a store uses.
- shuffle, delta, the rounding filters, transpose, bytes and sharding move or add numbers; the
  types in their settings are those of numbers.
- crc32c, crc32, adler32 and fletcher32 compare a sum.
- vlen-utf8 and vlen-bytes make Python objects, but only text and bytes. anndata writes no others:
  nullable and categorical columns, records and sparse matrices are groups of plain arrays.

Everything else is refused, whatever the installed numcodecs would do: pickle runs the code of
whoever wrote the store, json2 and msgpack2 make objects of any depth, vlen-array is of no use to a
table, categorize and astype decode to a type of the writer's choice, and a codec that another
package brings is not known.

The arrays that are checked are those that Zarr returns, by the metadata that it decodes them with:
consolidated metadata that say another thing than an array's own cannot hide a codec.
"""

import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import zarr
from zarr.errors import ZarrUserWarning

from balans_dask.errors import InvalidInputError, first_names
from balans_dask.io.encoded import Encoding

__all__ = [
    "MOST_TEXT_BYTES",
    "chunk_bytes",
    "encoding_of",
    "free_bytes",
    "known_arrays",
    "require_chunk",
    "require_known",
    "require_room",
    "text_bytes",
]

COPIES_OF_TEXT = 4
"""It is there as bytes, as objects and in a table of them."""
MOST_TEXT_BYTES = int(psutil.virtual_memory().total) // COPIES_OF_TEXT
"""What a chunk of text could be, if all memory of the machine were free."""
COMPRESSORS = ("blosc", "zstd", "gzip", "zlib", "lz4")
CHECKSUMS = {"crc32c", "crc32", "adler32", "fletcher32"}
TEXT = {"vlen-utf8", "vlen-bytes"}
OF_NUMBERS = {"delta", "quantize", "bitround", "fixedscaleoffset"}
PLAIN = {"bytes", "endian", "transpose", "shuffle"}
SHARDS = "sharding_indexed"
CHECKSUM_BYTES = 4
INDEX_ENTRY_BYTES = 16
INDEXED_BY = (["bytes", "crc32c"], ["bytes"])
SMALL = {*TEXT, *COMPRESSORS, "crc32c", SHARDS}
"""What text is stored by."""
NUMERIC = "biuf"
LARGEST_DEPTH = 32
"""Groups within groups; readers go down by calling themselves."""
LARGEST_GRID = 2**24
"""Files of an array; every one is looked for."""


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


def known_arrays(root: zarr.Group, path: str | Path) -> list[zarr.Array]:
    """Return all arrays of a group, after looking at how each is stored.

    Parameters
    ----------
    path : str or Path
        Of the store.

    Raises
    ------
    InvalidInputError
        If one of them is stored by a codec or of a type that is not read, or groups lie too deep.
    """
    arrays = []
    waiting = [(root, 0)]
    while waiting:
        group, depth = waiting.pop()
        if depth > LARGEST_DEPTH:
            raise InvalidInputError(
                f"{path} holds groups within groups, {depth} deep and more: write it again with "
                f"no more than {LARGEST_DEPTH}"
            )
        for member in _members(group):
            if isinstance(member, zarr.Array):
                require_known(member, path)
                arrays.append(member)
            else:
                waiting.append((member, depth + 1))
    return arrays


def require_known(array: zarr.Array, path: str | Path) -> None:
    """Refuse an array that is stored by a codec, or of a type, that is not read.

    Parameters
    ----------
    path : str or Path
        Of the store.

    Raises
    ------
    InvalidInputError
    """
    what = f"{path} has {array.path or 'an array'}"
    codecs = _codecs_of(array)
    names = [name for name, _ in codecs]
    strange = [name for name in names if name not in _KNOWN]
    if strange:
        raise InvalidInputError(
            f"{what} stored by the codec {first_names([repr(name) for name in strange])}, which is "
            f"not read: write it again with {', '.join(COMPRESSORS[:-1])} or {COMPRESSORS[-1]}"
        )
    pressed = [i for i, name in enumerate(names) if name in COMPRESSORS]
    shards = [i for i, name in enumerate(names) if name == SHARDS]
    after = codecs[pressed[0] + 1 :] if pressed else []
    if (
        (len(pressed) > 1 or shards not in ([], [0]) or _around_shards(array))
        or any(name != "crc32c" or made.get("location", "end") != "end" for name, made in after)
        or (TEXT.intersection(names) and not SMALL.issuperset(names))
    ):
        raise InvalidInputError(
            f"{what} stored by {' within '.join(names)}: write it again with one compressor, and "
            "nothing after it but crc32c"
        )
    for name, settings in codecs:
        if name in OF_NUMBERS:
            _require_numbers(what, name, settings)
        index = [str(codec["name"]) for codec in settings.get("index_codecs", ())]
        if name == SHARDS and index not in INDEXED_BY:
            raise InvalidInputError(
                f"{what} in shards with an index stored by {', '.join(index)}: write it again with "
                "bytes and crc32c"
            )
    # An element that is an object is one only of the text that its codec makes.
    if array.dtype.hasobject and not (array.dtype.fields is None and TEXT.intersection(names)):
        raise InvalidInputError(f"{what} of Python objects: write it again as text or numbers")
    n_files = math.prod(
        -(-length // max(size, 1))
        for length, size in zip(array.shape, array.shards or array.chunks, strict=True)
    )
    if n_files > LARGEST_GRID:
        raise InvalidInputError(
            f"{what} cut into {n_files:,} chunks, more than {LARGEST_GRID:,}: write it again in "
            "larger ones"
        )


def _codecs_of(array: zarr.Array) -> list[tuple[str, Mapping[str, Any]]]:
    """Return names and settings of the codecs of an array, in the order of writing.

    Those within shards follow the one that makes shards.
    """
    described: Any = array.metadata.to_dict()
    if described["zarr_format"] == 2:
        used = [*(described["filters"] or ()), described["compressor"]]
        return [(str(codec["id"]), codec) for codec in used if codec is not None]
    return list(_named(described["codecs"]))


def encoding_of(array: zarr.Array) -> Encoding:
    """Describe how the files of an array came about.

    Parameters
    ----------
    array : zarr.Array
        That ``require_known`` has let pass.
    """
    codecs = _codecs_of(array)
    names = [name for name, _ in codecs]
    is_text = bool(TEXT.intersection(names))
    pressed = [i for i, name in enumerate(names) if name in COMPRESSORS]
    at = pressed[0] if pressed else len(names)
    kinds = [made[key] for _, made in codecs for key in ("dtype", "astype") if key in made]
    width = max([array.dtype.itemsize, *(np.dtype(kind).itemsize for kind in kinds)])
    n_values = math.prod(array.chunks)
    checked = CHECKSUM_BYTES * sum(name in CHECKSUMS for name in names[:at])
    shard = codecs[0][1] if array.shards else {}
    within = zip(array.shards or array.chunks, array.chunks, strict=True)
    n_chunks = math.prod(n // size for n, size in within) if shard else 0
    return Encoding(
        compressor=names[at] if pressed else "",
        chunk_bytes=MOST_TEXT_BYTES if is_text else n_values * width + checked,
        n_values=n_values if is_text else 0,
        n_chunks=n_chunks,
        index_bytes=INDEX_ENTRY_BYTES * n_chunks
        + CHECKSUM_BYTES * (len(shard.get("index_codecs", ())) == 2),
        index_first=shard.get("index_location") == "start",
        checksum_bytes=CHECKSUM_BYTES * len(names[at + 1 :]),
    )


def _named(codecs: Sequence[Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for codec in codecs:
        settings = codec.get("configuration") or {}
        yield str(codec["name"]).removeprefix("numcodecs."), settings
        yield from _named(settings.get("codecs", ()))


def _around_shards(array: zarr.Array) -> bool:
    return bool(array.shards) and len(array.metadata.codecs) > 1


def _members(group: zarr.Group) -> list[Any]:
    with warnings.catch_warnings():
        # Files of others in a store are none of our business.
        warnings.filterwarnings("ignore", category=ZarrUserWarning)
        return [member for _, member in group.members()]


def _require_numbers(what: str, name: str, settings: Mapping[str, Any]) -> None:
    for key in ("dtype", "astype"):
        kind = settings.get(key)
        if kind is not None and np.dtype(kind).kind not in NUMERIC:
            raise InvalidInputError(
                f"{what} stored by {name} of type {kind!r}: write it again as numbers"
            )


_KNOWN = {*COMPRESSORS, *CHECKSUMS, *TEXT, *OF_NUMBERS, *PLAIN, SHARDS}
