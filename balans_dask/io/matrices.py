"""Reading a matrix where the work is done, or saying why it cannot be read."""

import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
import zarr
from numpy.typing import NDArray

from balans_dask.errors import InvalidInputError, RunError, exhaustion, first_line
from balans_dask.io.chunks import folder_of, require_decodable, require_rows
from balans_dask.io.codecs import require_chunk, require_known
from balans_dask.io.files import network_errors
from balans_dask.io.h5_parts import require_plain
from balans_dask.io.paths import is_store
from balans_dask.io.places import is_remote, place_of_zarr, resolved, zarr_place

__all__ = [
    "H5Matrix",
    "VisibleArray",
    "checked_array",
]

UNREAD: tuple[type[Exception], ...] = (
    MemoryError,
    RuntimeError,
    ValueError,
    TypeError,
    KeyError,
)
"""What reading raises: a codec on bytes that are not its own has no common base."""


@dataclass(frozen=True)
class VisibleArray:
    """A matrix of a store that refuses to be read where the store is not, or is damaged.

    Zarr reads a missing file as a chunk of fill values, so a worker without the file system of the
    input would correct zeros.

    Attributes
    ----------
    array : zarr.Array
    path : str or Path
        Of the store, absolute; the place of a bucket takes along how it is reached.
    """

    array: zarr.Array
    path: str | Path

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

    @property
    def name(self) -> str:
        """What an error calls it."""
        return f"{self.array.path} of {self.path}"

    def require_rows(self) -> None:
        """Refuse a matrix of which chunks are missing by now.

        Raises
        ------
        InvalidInputError
        """
        require_rows(self.array, self.path)

    def __getitem__(self, rows: slice) -> Any:
        if not is_store(folder_of(self.array, self.path)):
            raise InvalidInputError(
                f"the worker on {platform.node()} does not see {self.path}: put the store "
                "where all workers see it"
            )
        place = f"{self.name} in rows {rows.start} to {rows.stop}"
        try:
            require_decodable(self.array, self.path, rows)
            return self.array[rows]
        except InvalidInputError:
            raise
        except UNREAD + network_errors() as error:
            raise exhaustion(error) or _unread(place, error) from error


def checked_array(array: zarr.Array) -> zarr.Array | VisibleArray:
    """Wrap an array for reading on workers, after looking for lost and torn chunks.

    An array that is in neither files nor a bucket is left as it is.

    Parameters
    ----------
    array : zarr.Array

    Raises
    ------
    InvalidInputError
        If it is stored by a codec that is not read, stored chunks are missing or cut off, or one
        does not fit in memory.
    """
    found = place_of_zarr(array.store)
    if found is None:
        require_known(array, str(array.store))
        return array
    place = resolved(found)
    path = place if is_remote(place) else str(place)
    if not is_remote(found) and not found.is_absolute():
        # Workers may have another working directory.
        array = zarr.open_array(zarr_place(path), path=array.path, mode="r")
    require_known(array, path)
    require_chunk(array, path)
    require_rows(array, path)
    return VisibleArray(array, path)


def _unread(place: str, error: Exception) -> RunError | InvalidInputError:
    if isinstance(error, network_errors()):
        return RunError(
            f"cannot read {place} ({error}): look at the file system or network, and continue "
            "with --resume"
        )
    return InvalidInputError(
        f"cannot decode {place} ({first_line(error)}): a chunk is damaged, restore it"
    )


@dataclass(frozen=True)
class H5Matrix:
    """A dense matrix whose file is opened for every read, so that it can be sent to workers.

    Attributes
    ----------
    path : str
        Absolute path of the file.
    name : str
        Of the matrix in the file.
    shape : tuple of int
    dtype : dtype
    chunks : tuple of int or None
        ``None`` if it is stored in one piece.
    """

    path: str
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunks: tuple[int, ...] | None

    @classmethod
    def of(cls, dataset: h5py.Dataset) -> Self:
        """Describe a matrix of an open file.

        Raises
        ------
        InvalidInputError
            If it lies in another file, or needs a plugin of HDF5.
        """
        require_plain(str(dataset.file.filename), dataset)
        path = str(Path(dataset.file.filename).resolve())
        return cls(path, dataset.name, dataset.shape, dataset.dtype, dataset.chunks)

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        try:
            with h5py.File(self.path, "r") as file:
                found: NDArray[Any] = file[self.name][rows]
        except OSError as error:
            reason = first_line(error)
            raise InvalidInputError(
                f"the worker on {platform.node()} cannot read {self.name} of {self.path} "
                f"({reason}): put the file where all workers see it, and open it by backed='r'"
            ) from error
        return found
