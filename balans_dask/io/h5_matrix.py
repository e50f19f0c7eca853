"""A matrix of an HDF5 file, read where the work is done."""

import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from balans_dask.errors import InvalidInputError, first_line
from balans_dask.io.h5_parts import require_plain

__all__ = ["H5Matrix"]


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
