"""Where a task finds its rows: a slice of a Zarr, numpy or Dask array."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from balans_dask.errors import InvalidInputError
from balans_dask.kernels.projection import checksum_of_tile
from balans_dask.tiling import TILE_ROWS, tile_slices

if TYPE_CHECKING:
    import dask.array as da

__all__ = [
    "READS_AT_ONCE",
    "Chunks",
    "HeldArray",
    "LazyRows",
    "LazySlice",
    "PickedRows",
    "RowSource",
    "Rows",
    "StoredRows",
]


_HELD: WeakValueDictionary[int, NDArray[Any]] = WeakValueDictionary()
RUN_BYTES = 16 * 2**20
"""Consecutive rows that are read for some of them, where a tile is not larger."""
READS_AT_ONCE = 10
"""Chunks that Zarr decodes at once for one read (its ``async.concurrency``)."""


@dataclass(frozen=True)
class Chunks:
    """How a matrix is cut where it is stored: what a read must decode besides what it wants.

    Attributes
    ----------
    n_rows : int
        Rows of a chunk.
    n_across : int
        Chunks beside each other.
    n_bytes : int
        One chunk, decoded.
    at_once : int
        Chunks that are in memory together.
    """

    n_rows: int
    n_across: int
    n_bytes: int
    at_once: int = READS_AT_ONCE

    def read_bytes(self, n_rows: int) -> int:
        """Size of the encoded and decoded chunks while consecutive rows are read."""
        touched = (-(-n_rows // self.n_rows) + 1) * self.n_across
        return 2 * min(touched, self.at_once) * self.n_bytes


class RowSource(Protocol):
    """A matrix of profiles, whose rows tasks can read."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and features."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""

    @property
    def chunks(self) -> Chunks | None:
        """How it is cut where it is stored; ``None`` if it is in memory."""

    def rows(self, start: int, stop: int) -> Any:
        """Return what a task needs to read some rows: ``Rows``, or a ``LazySlice``."""

    def examined(self, checksums: tuple[int, ...]) -> "RowSource":
        """Return the same rows, held to the checksums of their tiles where they can change."""

    def picked(self, rows: NDArray[np.int64]) -> "RowSource":
        """Return some rows, in increasing order."""


@dataclass(frozen=True)
class Rows:
    """A recipe for reading consecutive rows; cheap to send, except for a slice of numpy.

    Attributes
    ----------
    array : object
    start, stop : int
    checksums : tuple of int
        Of the tiles of these rows, as they must be; none where nobody has examined them.
    """

    array: Any
    start: int
    stop: int
    checksums: tuple[int, ...] = ()

    def read(self) -> NDArray[np.number]:
        """Read the rows.

        Raises
        ------
        InvalidInputError
            If they are not as they were.
        """
        rows = np.ascontiguousarray(self.array[self.start : self.stop])
        tiles = tile_slices(len(rows)) if self.checksums else []
        for tile, checksum in zip(tiles, self.checksums, strict=True):
            if checksum_of_tile(rows[tile]) != checksum:
                name = getattr(self.array, "name", None) or "the input"
                raise InvalidInputError(
                    f"rows {self.start + tile.start} to {self.start + tile.stop} of {name} have "
                    "changed since this run first read them: restore them, or begin afresh when "
                    "nothing writes to them"
                )
        return rows


@dataclass(frozen=True)
class HeldArray:
    """A numpy array that threads of this process read in place: only its number is sent.

    The driver must hold on to it while tasks read.
    """

    array: NDArray[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and features."""
        return self.array.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return self.array.dtype

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        return self.array[rows]

    def __reduce__(self) -> tuple[Any, tuple[int]]:
        _HELD[id(self.array)] = self.array
        return _held_array, (id(self.array),)


@dataclass(frozen=True)
class LazySlice:
    """Rows of a Dask array, which are there when a task reads them.

    Attributes
    ----------
    values : dask.array.Array
        On the worker: its values.
    shape : tuple of int
    dtype : dtype
        What the array declares, and some arrays do not keep.
    """

    values: Any
    shape: tuple[int, int]
    dtype: np.dtype[Any]

    def read(self) -> NDArray[np.number]:
        """Check the rows.

        Raises
        ------
        InvalidInputError
            If the array yields other rows than it declares.
        """
        if self.values.shape != self.shape:
            raise InvalidInputError(
                f"the Dask array yields a block of shape {self.values.shape} where it declares "
                f"{self.shape}: correct its chunks or its meta"
            )
        return np.ascontiguousarray(self.values, dtype=self.dtype)


def _held_array(number: int) -> HeldArray:
    return HeldArray(_HELD[number])


@dataclass(frozen=True)
class StoredRows:
    """Rows of a Zarr or held array, read where they are needed, or of a numpy array, sent along.

    Parameters
    ----------
    array : zarr.Array, VisibleArray, HeldArray or ndarray of shape (n_rows, n_features)
    checksums : tuple of int
        Of all tiles, as they must be whenever they are read; none to believe what is there.
    """

    array: Any
    checksums: tuple[int, ...] = ()

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and features."""
        return (int(self.array.shape[0]), int(self.array.shape[1]))

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        kind: np.dtype[Any] = np.dtype(self.array.dtype)
        return kind

    @property
    def chunks(self) -> Chunks | None:
        """Chunks of a Zarr array."""
        cut = getattr(self.array, "chunks", None)
        return None if cut is None else _chunks(self, int(cut[0]), int(cut[1]))

    def rows(self, start: int, stop: int) -> Rows:
        """Return a recipe that sends no row of a Zarr array, and only these of a numpy array."""
        if isinstance(self.array, np.ndarray):
            return Rows(self.array[start:stop], 0, stop - start)
        tiles = slice(start // TILE_ROWS, -(-stop // TILE_ROWS))
        return Rows(self.array, start, stop, self.checksums[tiles])

    def examined(self, checksums: tuple[int, ...]) -> "StoredRows":
        """Return the same rows, which from now on must be as they were when all were read.

        Raises
        ------
        InvalidInputError
            If a chunk has gone, which would have been read as fill values.
        """
        if isinstance(self.array, np.ndarray | HeldArray):
            return self
        require_rows = getattr(self.array, "require_rows", None)
        if require_rows is not None:
            require_rows()
        return replace(self, checksums=checksums)

    def picked(self, rows: NDArray[np.int64]) -> "RowSource":
        """Return some rows: of an array in memory a copy, of a Zarr array as they are read."""
        if isinstance(self.array, np.ndarray):
            return StoredRows(self.array[rows])
        if isinstance(self.array, HeldArray):
            return StoredRows(HeldArray(self.array.array[rows]))
        return PickedRows(self, rows)


@dataclass(frozen=True)
class PickedRows:
    """Some rows of a Zarr array, wherever they are.

    Attributes
    ----------
    source : StoredRows
    numbers : ndarray of shape (n_picked,), int64
        Increasing.
    """

    source: StoredRows
    numbers: NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and features."""
        return len(self.numbers), self.source.shape[1]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return self.source.dtype

    @property
    def chunks(self) -> Chunks | None:
        """Chunks of the array."""
        return self.source.chunks

    def rows(self, start: int, stop: int) -> "PickedSlice":
        """Return a recipe that reads run by run, and keeps what is picked."""
        numbers, chunks = self.numbers[start:stop], self.chunks
        chunk_tiles = (chunks.n_rows if chunks else 0) // TILE_ROWS
        at_most = RUN_BYTES // (TILE_ROWS * self.shape[1] * self.dtype.itemsize)
        n_rows = TILE_ROWS * max(1, min(chunk_tiles, at_most))
        slabs = numbers // n_rows
        parts = []
        for slab in np.unique(slabs).tolist():
            first, last = slab * n_rows, min((slab + 1) * n_rows, self.source.shape[0])
            parts.append((self.source.rows(first, last), numbers[slabs == slab] - first))
        return PickedSlice(parts)

    def examined(self, checksums: tuple[int, ...]) -> "PickedRows":
        """Return the same rows: where they come from is held to what was examined."""
        return self

    def picked(self, rows: NDArray[np.int64]) -> "PickedRows":
        """Return some of them."""
        return replace(self, numbers=self.numbers[rows])


@dataclass(frozen=True)
class PickedSlice:
    """A recipe for reading some rows of runs of consecutive ones.

    Attributes
    ----------
    parts : list of tuple of Rows and ndarray of int64
        Runs, and which of their rows are wanted.
    """

    parts: list[tuple[Rows, NDArray[np.int64]]]

    def read(self) -> NDArray[np.number]:
        """Read the rows.

        Raises
        ------
        InvalidInputError
            If the runs are not as they were.
        """
        return np.concatenate([run.read()[wanted] for run, wanted in self.parts])


@dataclass(frozen=True)
class LazyRows:
    """Rows of a Dask array, computed on the workers each time they are needed.

    Parameters
    ----------
    array : dask.array.Array of shape (n_rows, n_features)
        Of known chunk sizes.
    """

    array: "da.Array"

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and features."""
        return (int(self.array.shape[0]), int(self.array.shape[1]))

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        kind: np.dtype[Any] = np.dtype(self.array.dtype)
        return kind

    @property
    def chunks(self) -> Chunks:
        """Largest chunks; all that a slice touches are in memory together."""
        n_rows, n_columns = (max(lengths) for lengths in self.array.chunks)
        return _chunks(self, n_rows, n_columns, at_once=self.array.npartitions)

    def rows(self, start: int, stop: int) -> LazySlice:
        """Return the slice, still lazy."""
        return LazySlice(self.array[start:stop], (stop - start, self.shape[1]), self.dtype)

    def examined(self, checksums: tuple[int, ...]) -> "LazyRows":
        """Return the same rows: what a graph computes is its owner's."""
        return self

    def picked(self, rows: NDArray[np.int64]) -> "LazyRows":
        """Return some rows, still lazy."""
        return LazyRows(self.array[rows])


def _chunks(source: RowSource, n_rows: int, n_columns: int, **at_once: int) -> Chunks:
    n_across = -(-source.shape[1] // max(n_columns, 1))
    return Chunks(max(n_rows, 1), n_across, n_rows * n_columns * source.dtype.itemsize, **at_once)
