"""Where a task finds its rows: a slice of a Zarr or numpy array, or a future of a Dask array."""

from dataclasses import dataclass
from typing import Any, Protocol

import dask.array as da
import numpy as np
from distributed import Client
from numpy.typing import NDArray

__all__ = ["LazyRows", "RowSource", "Rows", "StoredRows", "read_rows"]


class RowSource(Protocol):
    """A matrix of profiles, whose rows tasks can read."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and features."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""

    def rows(self, start: int, stop: int) -> Any:
        """Return what a task needs to read some rows: ``Rows``, or a future of an ndarray."""


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
class StoredRows:
    """Rows of a Zarr array, read where they are needed, or of a numpy array, sent along.

    Parameters
    ----------
    array : zarr.Array or ndarray of shape (n_rows, n_features)
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
    client : distributed.Client
    """

    array: da.Array
    client: Client

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and features."""
        return (int(self.array.shape[0]), int(self.array.shape[1]))

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        kind: np.dtype[Any] = np.dtype(self.array.dtype)
        return kind

    def rows(self, start: int, stop: int) -> Any:
        """Return a future of the rows."""
        return self.client.compute(self.array[start:stop])


def read_rows(rows: Any) -> NDArray[np.number]:
    """Read rows inside a task, where a future has become the array itself."""
    if isinstance(rows, Rows):
        return rows.read()
    return np.ascontiguousarray(rows)
