"""What stored chunks would decode to, by what they say of themselves, before any is decoded.

The metadata of an array state how many bytes a chunk is, and codecs do not ask: a few bytes of
zstd become as many as their writer liked. blosc and lz4 begin with the number, which they keep to;
frames of zstd state it, or are counted in pieces that are thrown away, as gzip and zlib are, which
state it nowhere. blosc also begins with its own length, up to which it reads:
beyond the end of a chunk that was cut off, or that lies, it reads what is there, or crashes. Text
has no stated size: what it may use is the memory that there is, and the number of its values is
that of the chunk.

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
BLOSC_HEADER_BYTES = 16
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
        What it may yield; of text, up to where it is counted.
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


def require_stated(file: Path, encoding: Encoding, limit_bytes: int, what: str) -> None:
    """Refuse a file of which a chunk is cut off, or would decode to more than it may.

    Parameters
    ----------
    limit_bytes : int
        What a chunk of text may yield.
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
    as_it_is = file, found.st_size, found.st_mtime_ns, encoding
    allowed = limit_bytes if encoding.n_values else encoding.chunk_bytes
    n_bytes = _largest(*as_it_is)
    if n_bytes is None:
        reason = "is cut off"
    elif n_bytes > allowed:
        reason = f"holds a chunk that decodes to more than the {allowed:,} bytes it may have"
    elif encoding.n_values and not _has_every_text(*as_it_is):
        reason = f"does not hold the {encoding.n_values:,} texts of a chunk"
    else:
        return
    raise InvalidInputError(f"{what} {reason}: restore it, or do not use the store")


@lru_cache(maxsize=2**16)
def _largest(file: Path, size: int, changed: int, encoding: Encoding) -> int | None:
    """Bytes of the largest chunk of a file as it is; ``None`` if one is not there as a whole."""
    if size < max(1, encoding.index_bytes):
        return None
    largest = 0
    with file.open("rb") as content:
        for start, stop in _places(content.fileno(), size, encoding):
            length = stop - start - encoding.checksum_bytes
            if not 0 <= start <= stop <= size or _reads_on(
                content.fileno(), start, length, encoding
            ):
                return None
            largest = max(largest, _decoded_bytes(content.fileno(), start, length, encoding))
            if largest > encoding.chunk_bytes:
                break
    return largest


@lru_cache(maxsize=2**16)
def _has_every_text(file: Path, size: int, changed: int, encoding: Encoding) -> bool:
    """Whether all chunks of a file as it is say to hold as many texts as they should."""
    with file.open("rb") as content:
        return all(
            _n_texts(
                os.pread(content.fileno(), max(stop - start - encoding.checksum_bytes, 0), start),
                encoding,
            )
            == encoding.n_values
            for start, stop in _places(content.fileno(), size, encoding)
        )


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


def _reads_on(file: int, start: int, length: int, encoding: Encoding) -> bool:
    """Whether a decoder would read beyond the end of a chunk."""
    if encoding.compressor != "blosc":
        return False
    header = os.pread(file, BLOSC_HEADER_BYTES, start)
    return length < BLOSC_HEADER_BYTES or int.from_bytes(header[12:], "little") > length


def _decoded_bytes(file: int, start: int, length: int, encoding: Encoding) -> int:
    """Bytes that a chunk says or shows to hold; what is beyond the allowed ones is not counted."""
    if encoding.compressor == "blosc":
        return int.from_bytes(os.pread(file, 4, start + 4), "little")
    if encoding.compressor == "lz4":
        return int.from_bytes(os.pread(file, 4, start), "little")
    if encoding.compressor in {"gzip", "zlib"}:
        harmless = (
            HARMLESS_BYTES if encoding.n_values else max(encoding.chunk_bytes, HARMLESS_BYTES)
        )
        if length * DEFLATE_RATIO <= harmless:
            return 0
        return inflated_bytes(os.pread(file, max(length, 0), start), encoding.chunk_bytes)
    if encoding.compressor == "zstd":
        stated = _zstd_bytes(file, start, length)
        if stated is not None:
            return stated
        return _zstd_counted(os.pread(file, max(length, 0), start), encoding.chunk_bytes)
    return 0


def inflated_bytes(content: bytes, limit: int) -> int:
    """Count what gzip or zlib yields, up to a little more than a limit."""
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


def _zstd_bytes(file: int, start: int, length: int) -> int | None:
    """Add what frames of zstd state, by their headers; ``None`` if one of them does not."""

    def number(at: int, width: int) -> int:
        return int.from_bytes(os.pread(file, width, start + at), "little")

    n_bytes = at = 0
    while at + 5 <= length:
        magic = number(at, 4)
        if magic in SKIPPABLE:
            at += 8 + number(at + 4, 4)
            continue
        if magic != ZSTD_MAGIC:
            return n_bytes  # damaged, which the codec notices
        described = number(at + 4, 1)
        single, checked = described >> 5 & 1, described >> 2 & 1
        at += 5 + (not single) + (0, 1, 2, 4)[described & 3]
        width = (single, 2, 4, 8)[described >> 6]
        if not width:
            return None
        n_bytes += number(at, width) + (256 if width == 2 else 0)
        at += width
        last = False
        while not last and at + 3 <= length:
            header = number(at, 3)
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
