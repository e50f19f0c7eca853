"""What stored chunks would decode to, by what they say of themselves, before any is decoded.

The metadata of an array state how many bytes a chunk is, and codecs do not ask: a few bytes of
zstd become as many as their writer liked. blosc and lz4 begin with the number, which they keep to;
frames of zstd state it, or are counted in pieces that are thrown away, as gzip and zlib are, which
state it nowhere. Text has no stated size: what it may use is the memory that there is, and the
number of its values is that of the chunk.

Only files are looked at: an object of a bucket would have to be fetched twice.
"""

import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numcodecs.registry import get_codec

from balans_dask.errors import InvalidInputError

__all__ = ["DEFLATE_RATIO", "HARMLESS_BYTES", "Encoding", "inflated_bytes", "require_stated"]

PIECE_BYTES = 2**20
HARMLESS_BYTES = 64 * 2**20
"""A stream that cannot become more than that, whatever is in it, is not counted."""
DEFLATE_RATIO = 1032
"""What zlib's documentation gives as the limit of its format."""
ZSTD_MAGIC = 0xFD2FB528
SKIPPABLE = range(0x184D2A50, 0x184D2A60)
NO_CHUNK = 2**64 - 1


@dataclass(frozen=True)
class Encoding:
    """How the files of an array came about.

    Attributes
    ----------
    compressor : str
        Empty without one.
    chunk_bytes : int
        What it may yield.
    n_values : int
        Values of a chunk of text; 0 for numbers.
    n_chunks : int
        Chunks of a shard; 0 without shards.
    index_bytes : int
        Length of a shard's index.
    index_first : bool
        It is at the beginning of the file.
    checksum_bytes : int
        What follows a compressed chunk.
    """

    compressor: str
    chunk_bytes: int
    n_values: int
    n_chunks: int
    index_bytes: int
    index_first: bool
    checksum_bytes: int


def require_stated(file: Path, encoding: Encoding, what: str) -> None:
    """Refuse a file of which a chunk would decode to more than its array's metadata state.

    Parameters
    ----------
    file : Path
    encoding : Encoding
    what : str
        Names of the file, the array and the store.

    Raises
    ------
    InvalidInputError
    """
    try:
        found = file.stat()
    except FileNotFoundError:
        return
    reason = _found(file, found.st_size, found.st_mtime_ns, encoding)
    if reason:
        raise InvalidInputError(f"{what} {reason}: restore it, or do not use the store")


@lru_cache(maxsize=2**16)
def _found(file: Path, size: int, changed: int, encoding: Encoding) -> str:
    """Say what is wrong with a file as it is; looked at once in a process."""
    with file.open("rb") as content:
        for start, stop in _places(content.fileno(), size, encoding):
            if not 0 <= start <= stop <= size:
                return "is cut off"
            length = stop - start - encoding.checksum_bytes
            n_bytes = _decoded_bytes(content.fileno(), start, length, encoding)
            if n_bytes > encoding.chunk_bytes:
                return (
                    f"holds a chunk that decodes to more than the {encoding.chunk_bytes:,} bytes "
                    "it may have"
                )
            if encoding.n_values:
                stored = os.pread(content.fileno(), max(length, 0), start)
                if _n_texts(stored, encoding) != encoding.n_values:
                    return f"does not hold the {encoding.n_values:,} texts of a chunk"
    return ""


def _places(file: int, size: int, encoding: Encoding) -> Iterator[tuple[int, int]]:
    """Where chunks begin and end in a file."""
    if not encoding.n_chunks:
        yield 0, size
        return
    start = 0 if encoding.index_first else max(0, size - encoding.index_bytes)
    index = os.pread(file, 16 * encoding.n_chunks, start)
    entries = np.frombuffer(index[: len(index) // 16 * 16], dtype="<u8").reshape(-1, 2)
    for offset, length in entries.tolist():
        if offset != NO_CHUNK:
            yield offset, offset + length


def _decoded_bytes(file: int, start: int, length: int, encoding: Encoding) -> int:
    """Bytes that a chunk says or shows to hold; what is beyond the allowed ones is not counted."""
    if encoding.compressor == "blosc":
        return int.from_bytes(os.pread(file, 4, start + 4), "little")
    if encoding.compressor == "lz4":
        return int.from_bytes(os.pread(file, 4, start), "little")
    if encoding.compressor in {"gzip", "zlib"}:
        if length * DEFLATE_RATIO <= max(encoding.chunk_bytes, HARMLESS_BYTES):
            return 0
        return inflated_bytes(os.pread(file, max(length, 0), start), encoding.chunk_bytes)
    if encoding.compressor == "zstd":
        content = os.pread(file, max(length, 0), start)
        stated = _zstd_bytes(content)
        return _zstd_counted(content, encoding.chunk_bytes) if stated is None else stated
    return 0


def inflated_bytes(content: bytes, limit: int) -> int:
    """Count what gzip or zlib yields, up to a little more than a limit.

    Parameters
    ----------
    content : bytes
    limit : int
    """
    n_bytes = 0
    while content and n_bytes <= limit:
        stream = zlib.decompressobj(wbits=47)
        try:
            while not stream.eof and n_bytes <= limit:
                piece = stream.decompress(content, PIECE_BYTES)
                content = stream.unconsumed_tail
                n_bytes += len(piece)
                if not piece and not content:
                    return n_bytes  # cut off, which the codec notices
        except zlib.error:
            return n_bytes
        content = stream.unused_data
    return n_bytes


def _zstd_bytes(content: bytes) -> int | None:
    """Add what frames of zstd state; ``None`` if one of them does not."""
    n_bytes = at = 0
    while at + 5 <= len(content):
        magic = int.from_bytes(content[at : at + 4], "little")
        if magic in SKIPPABLE:
            at += 8 + int.from_bytes(content[at + 4 : at + 8], "little")
            continue
        if magic != ZSTD_MAGIC:
            return n_bytes  # damaged, which the codec notices
        described = content[at + 4]
        single, checked = described >> 5 & 1, described >> 2 & 1
        at += 5 + (not single) + (0, 1, 2, 4)[described & 3]
        width = (single, 2, 4, 8)[described >> 6]
        if not width:
            return None
        n_bytes += int.from_bytes(content[at : at + width], "little") + (256 if width == 2 else 0)
        at += width
        last = False
        while not last and at + 3 <= len(content):
            header = int.from_bytes(content[at : at + 3], "little")
            last, kind = bool(header & 1), header >> 1 & 3
            at += 3 + (1 if kind == 1 else header >> 3)
        at += 4 * checked
    return n_bytes


def _zstd_counted(content: bytes, limit: int) -> int:
    """Count what frames of zstd yield, up to a little more than a limit."""
    n_bytes = 0
    try:
        with pa.input_stream(pa.py_buffer(content), compression="zstd") as stream:
            while n_bytes <= limit and (piece := stream.read(PIECE_BYTES)):
                n_bytes += len(piece)
    except OSError:
        pass  # damaged, which the codec notices
    return n_bytes


def _n_texts(stored: bytes, encoding: Encoding) -> int:
    """How many texts a chunk says to hold, which is what its codec makes room for."""
    codec: Any = get_codec({"id": encoding.compressor}) if encoding.compressor else None
    try:
        content = stored if codec is None else codec.decode(stored)
    except (RuntimeError, ValueError, OSError, zlib.error):
        return encoding.n_values  # damaged, which is said when it is read
    return int.from_bytes(bytes(memoryview(content)[:4]), "little")
