"""What is at a path, and how one store names another."""

import os
from pathlib import Path

from balans_dask.errors import InvalidInputError, StoreExistsError
from balans_dask.io.checkpoint import WRITTEN_BY, read_json

__all__ = [
    "MANIFEST",
    "is_export",
    "is_store",
    "path_beside",
    "path_from",
    "require_exists",
    "require_free_file",
]

MANIFEST = "manifest.json"
"""What is beside exported tables."""


def is_store(path: str) -> bool:
    """Tell whether a Zarr group or array begins at a path."""
    folder = Path(path)
    return any((folder / name).is_file() for name in ("zarr.json", ".zgroup", ".zarray"))


def is_export(path: str) -> bool:
    """Tell whether a folder holds tables that this package has exported, and nothing else."""
    folder = Path(path)
    record = read_json(folder / MANIFEST)
    if record is None or record.get("written_by") != WRITTEN_BY:
        return False
    ours = {MANIFEST, *(file["path"] for file in record["files"])}
    found = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    return found <= ours


def require_exists(path: str) -> None:
    """Refuse a path where nothing is, or that cannot be looked at.

    Raises
    ------
    InvalidInputError
    """
    try:
        Path(path).stat()
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"{path} does not exist: check the path of the input") from error


def require_free_file(path: str, overwrite: bool) -> None:
    """Refuse a path at which no file may be written.

    Raises
    ------
    StoreExistsError
        If a folder is there, or a file that may not be replaced.
    InvalidInputError
        If its folder is missing.
    """
    place = Path(path)
    if not place.parent.is_dir():
        raise InvalidInputError(f"the folder of {path} does not exist: create it first")
    if place.is_dir():
        raise StoreExistsError(f"{path} is a folder: choose another file")
    if place.exists() and not overwrite:
        raise StoreExistsError(f"{path} exists: choose another file, or add --overwrite")


def path_from(store: str, other: str) -> str:
    """Return the path of another store as seen from the folder that holds a store.

    Both may then move together, or be seen by another machine, and still find each other.
    """
    return os.path.relpath(Path(other).resolve(), Path(store).resolve().parent)


def path_beside(store: str, relative: str) -> str:
    """Return the path that ``path_from`` made relative."""
    return os.path.normpath(Path(store).resolve().parent / relative)
