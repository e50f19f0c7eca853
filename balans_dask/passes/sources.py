"""Where a task finds its rows: a slice of a Zarr, numpy or Dask array."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from balans_dask.errors import InvalidInputError
from balans_dask.task_memory import Chunks

if TYPE_CHECKING:
    import dask.array as da

__all__ = ["HeldArray", "LazyRows", "LazySlice", "RowSource", "Rows", "StoredRows"]

_HELD: WeakValueDictionary[int, NDArray[Any]] = WeakValueDictionary()


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


@dataclass(frozen=True)
class Rows:
    """A recipe for reading consecutive rows; cheap to send, except for a slice of numpy."""

    array: Any
    start: int
    stop: int

    def read(self) -> NDArray[np.number]:
        """Read the rows."""
        return np.ascontiguousarray(self.array[self.start : self.stop])


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
    """

    array: Any

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
        return Rows(self.array, start, stop)


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


def _chunks(source: RowSource, n_rows: int, n_columns: int, **at_once: int) -> Chunks:
    n_across = -(-source.shape[1] // max(n_columns, 1))
    return Chunks(max(n_rows, 1), n_across, n_rows * n_columns * source.dtype.itemsize, **at_once)
