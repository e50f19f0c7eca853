"""A frozen model on disk: a Zarr group of JSON attributes and arrays, and no code."""

import json
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from balans_dask.errors import InvalidInputError, exhaustion
from balans_dask.io.chunks import require_small
from balans_dask.io.codecs import known_arrays
from balans_dask.io.files import files_below
from balans_dask.io.layout import SMALL_CODECS
from balans_dask.io.output import OutputStore
from balans_dask.io.paths import is_store, require_exists
from balans_dask.io.places import place_of, reaching, zarr_place

__all__ = ["is_model", "model_fingerprint", "read_model", "stored_bytes", "write_model"]

KIND = "balans_model"
FORMAT_VERSION = 1
UNREADABLE = (OSError, ValueError, KeyError, TypeError, RuntimeError)


def write_model(
    path: str, attributes: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], overwrite: bool
) -> None:
    """Write a model; it appears complete, or not at all.

    Parameters
    ----------
    attributes : mapping
        What JSON can hold.
    overwrite : bool
        Replace a store that is there.
    """
    with OutputStore(path, overwrite, create=_create) as output:
        output.root.attrs["model"] = dict(attributes)
        output.root.attrs["checksum"] = _checksum(attributes, arrays)
        for name, array in arrays.items():
            # An all-zero chunk must be on disk too: only then is an absent file a lost one.
            output.root.create_array(
                name,
                data=np.ascontiguousarray(array),
                compressors=SMALL_CODECS,
                config={"write_empty_chunks": True},
            )


def is_model(path: str) -> bool:
    """Tell whether a model of any version is at a path."""
    with reaching(path):
        if not is_store(path):
            return False
    try:
        return bool(zarr.open_group(zarr_place(path), mode="r").attrs.get("kind") == KIND)
    except UNREADABLE:
        return False


def read_model(path: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read a model's attributes and arrays.

    Raises
    ------
    InvalidInputError
        If there is no model, or one of another version, or a torn one.
    """
    require_exists(path)
    if not is_model(path):
        raise InvalidInputError(f"{path} is not a model: make one with `balans correct --model`")
    root = zarr.open_group(zarr_place(path), mode="r")
    version = root.attrs.get("format_version")
    if version != FORMAT_VERSION:
        raise InvalidInputError(
            f"{path} is a model of format {version}, this version reads {FORMAT_VERSION}: fit it "
            "again, or install the version that wrote it"
        )
    try:
        stored = known_arrays(root, path)
        require_small(stored, path)
        arrays = {found.path: _whole(found) for found in stored}
        attributes: Any = root.attrs["model"]
        checksum = _checksum(attributes, arrays)
    except InvalidInputError:
        raise
    except UNREADABLE as error:
        raise exhaustion(error) or InvalidInputError(
            f"{path} cannot be read as a model ({error}): restore it"
        ) from error
    if root.attrs.get("checksum") != checksum:
        raise InvalidInputError(f"{path} has changed since it was written: restore it")
    return dict(attributes), arrays


def model_fingerprint(path: str) -> str | None:
    """Fingerprint of the run that fitted a model; ``None`` if no model is there."""
    if not is_model(path):
        return None
    found: Any = zarr.open_group(zarr_place(path), mode="r").attrs.get("model")
    for name in ("record", "fingerprint"):
        found = found.get(name) if isinstance(found, dict) else None
    return None if found is None else str(found)


def stored_bytes(path: str) -> int:
    """Size of a store on disk."""
    return sum(files_below(place_of(path)).values())


def _checksum(attributes: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> str:
    """Hash a model: kernels do not check its tables, and a changed one corrects wrongly."""
    digest = blake2b(json.dumps(attributes, sort_keys=True).encode(), digest_size=16)
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _whole(array: zarr.Array) -> NDArray[Any]:
    """Read an array of which no chunk is missing."""
    if array.nchunks_initialized != array.nchunks:
        n_missing = array.nchunks - array.nchunks_initialized
        raise ValueError(f"{n_missing} of {array.nchunks} chunks of {array.path} are missing")
    return np.asarray(array[...])


def _create(path: Path) -> zarr.Group:
    root = zarr.create_group(zarr_place(path), zarr_format=3)
    root.attrs.update({"kind": KIND, "format_version": FORMAT_VERSION})
    return root
