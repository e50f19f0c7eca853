"""Reading a matrix where the work is done, or saying why it cannot be read.

A file can name others to be read in its place (external links, external storage, virtual datasets)
and filters for which HDF5 loads a plugin; both are refused by what the file says of itself, before
a value is read. So are chunks that would inflate to more than they should hold (HDF5 doubles its
buffer until a stream ends), and references and sequences of any length but text.
Soft links stay within the file, and anndata 0.7 keeps categories by references in attributes, which
are not followed here.
"""

import platform
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
import zarr
from numpy.typing import NDArray

from balans_dask.errors import InvalidInputError, RunError, exhaustion, first_line
from balans_dask.io.chunks import folder_of, require_decodable, require_rows
from balans_dask.io.codecs import free_bytes, require_chunk, require_known
from balans_dask.io.encoded import DEFLATE_RATIO, HARMLESS_BYTES, inflated_bytes
from balans_dask.io.files import network_errors
from balans_dask.io.paths import is_store
from balans_dask.io.places import is_remote, place_of_zarr, resolved, zarr_place

__all__ = [
    "H5Matrix",
    "VisibleArray",
    "checked_array",
    "require_parts",
    "require_plain",
]

FILTERS = {
    h5py.h5z.FILTER_DEFLATE,
    h5py.h5z.FILTER_SHUFFLE,
    h5py.h5z.FILTER_FLETCHER32,
    h5py.h5z.FILTER_SCALEOFFSET,
    h5py.h5z.FILTER_LZF,
}
"""What is part of HDF5 and of h5py; szip and nbit are not in every build, or hardly tried."""
LARGEST_DEPTH = 32
READ = ("X", "obs", "var", "obsm", "uns")
MOST_OVERHEAD = 2**16
"""Of a chunk that a filter has made longer: checksums and headers."""
ANNOTATIONS = ("obs", "var")
UNREAD: tuple[type[Exception], ...] = (
    MemoryError,
    RuntimeError,
    ValueError,
    TypeError,
    KeyError,
)
"""What reading raises: a codec on bytes that are not its own has no common base."""


def require_parts(path: str, file: h5py.File) -> None:
    """Refuse a file of which some part is elsewhere, or not plain data.

    Parameters
    ----------
    path : str
        As the user gave it.

    Raises
    ------
    InvalidInputError
    """
    waiting: list[tuple[h5py.Group, str, int]] = [(file, "", 0)]
    seen, total = set(), 0
    while waiting:
        group, part, depth = waiting.pop()
        # Of two names that a group has, one may be read and the other not.
        known = h5py.h5o.get_info(group.id).addr, part in READ, part in ANNOTATIONS
        if known in seen:
            continue
        seen.add(known)
        if depth > LARGEST_DEPTH:
            raise InvalidInputError(
                f"{path} holds groups within groups, {depth} deep and more: save it again with no "
                f"more than {LARGEST_DEPTH}"
            )
        for name, member in _members(path, group):
            within = part or name
            if isinstance(member, h5py.Dataset):
                require_plain(path, member)
                total += member.size * member.dtype.itemsize * (within in ANNOTATIONS)
                if within in READ:
                    _require_inflated(path, member)
            elif isinstance(member, h5py.Group):
                waiting.append((member, within, depth + 1))
    if total > free_bytes():
        raise InvalidInputError(
            f"{path} has annotations of {total:,} bytes, more than the {free_bytes():,} of memory "
            "that there are: save fewer, or use a larger machine"
        )


def require_plain(path: str, dataset: h5py.Dataset) -> None:
    """Refuse a dataset that lies in other files, needs a plugin, or holds references.

    Parameters
    ----------
    path : str
        Of its file, as the user gave it.

    Raises
    ------
    InvalidInputError
    """
    what = f"{path} has {dataset.name}"
    made = dataset.id.get_create_plist()
    if dataset.is_virtual or made.get_external_count():
        raise InvalidInputError(f"{what} in another file: copy its values into this one")
    filters = [made.get_filter(i) for i in range(made.get_nfilters())]
    if [code for code, *_ in filters].count(h5py.h5z.FILTER_DEFLATE) > 1:
        raise InvalidInputError(f"{what} compressed twice: save it again with gzip or lzf")
    strange = [name.decode(errors="replace") or str(code) for code, _, _, name in filters
               if code not in FILTERS]  # fmt: skip
    if strange:
        raise InvalidInputError(
            f"{what} stored by the filter {', '.join(strange)}, which is not read: save it again "
            "with gzip or lzf"
        )
    kind = dataset.dtype
    size = prod(dataset.chunks or ()) * kind.itemsize
    if size > free_bytes():
        raise InvalidInputError(
            f"{what} in chunks of {size:,} bytes, more than the {free_bytes():,} of memory that "
            "there are: save it again in smaller ones"
        )
    kinds = [kind] if kind.fields is None else [kind[i] for i in range(len(kind))]
    if any(each.hasobject and h5py.check_string_dtype(each) is None for each in kinds):
        raise InvalidInputError(
            f"{what} of references or sequences: save it again as text or numbers"
        )


def _require_inflated(path: str, dataset: h5py.Dataset) -> None:
    if dataset.chunks is None or dataset.compression is None:
        return
    size = prod(dataset.chunks) * dataset.dtype.itemsize
    stored: list[tuple[Any, int]] = []
    dataset.id.chunk_iter(lambda chunk: stored.append((chunk.chunk_offset, chunk.size)))
    for place, n_stored in stored:
        n_bytes = n_stored if n_stored > size + MOST_OVERHEAD else 0
        if dataset.compression == "gzip" and n_stored * DEFLATE_RATIO > max(size, HARMLESS_BYTES):
            content = dataset.id.read_direct_chunk(place)[1]
            n_bytes = inflated_bytes(content, size + MOST_OVERHEAD)
        if n_bytes > size + MOST_OVERHEAD:
            raise InvalidInputError(
                f"{path} has {dataset.name} with a chunk that decodes to more than the {size:,} "
                "bytes it may have: restore it, or do not use the file"
            )


def _members(path: str, group: h5py.Group) -> Iterator[tuple[str, h5py.Dataset | h5py.Group]]:
    for name in group:
        if isinstance(group.get(name, getlink=True), h5py.ExternalLink):
            raise InvalidInputError(
                f"{path} has {group.name.rstrip('/')}/{name} in another file: copy it into this one"
            )
        # A soft link may lead nowhere, which matters to nobody who does not read it.
        if (member := group.get(name)) is not None:
            yield name, member


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
