"""What is at a path or URL, what may be written there, and how one store names another."""

import os
import posixpath
from collections.abc import Iterable
from contextlib import suppress
from itertools import islice
from pathlib import Path, PurePath

from balans_dask.errors import InvalidInputError, StoreExistsError, did_you_mean
from balans_dask.io.atomic import WRITTEN_BY, read_json
from balans_dask.io.files import files_below, is_file
from balans_dask.io.places import (
    is_remote,
    is_url,
    place_of,
    reaching,
    require_writable,
    resolved,
)

__all__ = [
    "H5AD",
    "MANIFEST",
    "PARQUET",
    "STORE_NAMES",
    "is_export",
    "is_store",
    "leads_away",
    "path_beside",
    "path_from",
    "require_apart",
    "require_exists",
    "require_free_file",
    "require_free_files",
    "table_suffix",
]

MANIFEST = "manifest.json"
"""What is beside exported tables."""
PARQUET, CSV, H5AD = ".parquet", ".csv.gz", ".h5ad"
"""Ends of the names of tables that are written."""
OTHER_FILES = {
    *(".csv", ".tsv", ".txt", ".tab", ".gz", ".bz2", ".xz", ".zst", ".zip", ".xls", ".xlsx"),
    *(".ods", ".pq", ".parq", ".feather", ".arrow", ".ipc", ".json", ".npy", ".npz", ".h5"),
    *(".hdf", ".hdf5", ".loom", ".mtx", ".pkl", ".pickle", ".rds", ".sqlite"),
}
"""Ends of the names of files that people have tables in, and that no output is."""
MOST_COMPARED = 1000
"""Names of a folder among which that of a missing file is looked for."""
STORE_NAMES = ("zarr.json", ".zgroup", ".zarray")
"""Files with which a Zarr group or array begins."""


def is_store(path: str | Path) -> bool:
    """Tell whether a Zarr group or array begins at a path."""
    folder = place_of(path)
    return any(is_file(folder / name) for name in STORE_NAMES)


def is_export(path: str | Path) -> bool:
    """Tell whether a folder holds tables that this package has exported, and nothing else."""
    folder = place_of(path)
    record = read_json(folder / MANIFEST)
    if record is None or record.get("written_by") != WRITTEN_BY:
        return False
    return set(files_below(folder)) <= {MANIFEST, *(file["path"] for file in record["files"])}


def require_exists(path: str) -> None:
    """Refuse a path where nothing is, or that cannot be looked at.

    Raises
    ------
    InvalidInputError
    """
    place = place_of(path)
    try:
        if is_remote(place):
            _require_remote(path, place)
        else:
            place.stat()
    except InvalidInputError:
        raise
    except (OSError, ValueError) as error:
        near = "" if is_remote(place) else _nearest(place)
        raise InvalidInputError(
            f"{path} does not exist{near or ': check the path of the input'}"
        ) from error


def _nearest(place: Path) -> str:
    """Ask for the name that is like the first missing part of a path; nothing if none is."""
    with suppress(OSError, ValueError):
        while not place.parent.exists():
            place = place.parent
        there = (path.name for path in islice(place.parent.iterdir(), MOST_COMPARED))
        return did_you_mean(place.name, (name for name in there if not name.startswith(".")))
    return ""


def _require_remote(path: str, place: Path) -> None:
    with reaching(path):
        # A web server need not show the folder of a store.
        there = is_store(place) or place.exists()
    if not there:
        raise FileNotFoundError(path)


def require_apart(path: str | Path, inputs: Iterable[str]) -> None:
    """Refuse an output that is, holds or lies within an input, or has no name.

    Raises
    ------
    InvalidInputError
    """
    if not path:
        raise InvalidInputError("the path of the output is empty: name a file or folder to write")
    target = resolved(place_of(path))
    for name in inputs:
        source = resolved(place_of(name))
        if target == source or target in source.parents or source in target.parents:
            raise InvalidInputError(
                f"{path} and {name} are the same place, or one is in the other: choose another path"
            )


def require_free_file(path: str, overwrite: bool, apart: Iterable[str] = ()) -> None:
    """Refuse a path at which no file may be written.

    Parameters
    ----------
    overwrite : bool
        Replace a file that is there.
    apart : iterable of str
        Inputs and other outputs.

    Raises
    ------
    StoreExistsError
        If a folder is there, or a file that may not be replaced.
    InvalidInputError
        If its folder is missing or cannot be written to, or it lies in one of the others.
    """
    require_apart(path, apart)
    place = Path(path)
    require_writable(place)
    if place.is_dir():
        raise StoreExistsError(f"{path} is a folder: choose another file")
    if place.exists() and not overwrite:
        raise StoreExistsError(f"{path} exists: choose another file, or add --overwrite")


def table_suffix(target: str) -> str | None:
    """Return the format of an output that is a table; ``None`` for a store.

    Raises
    ------
    InvalidInputError
        If the name ends as that of a file which is neither, or a table is to be at a URL.
    """
    name = target.lower()
    found = next((suffix for suffix in (PARQUET, CSV, H5AD) if name.endswith(suffix)), None)
    if found is None and PurePath(name).suffix in OTHER_FILES:
        raise InvalidInputError(
            f"{target} ends as no output does: a table ends in {PARQUET}, {CSV} or {H5AD}, and a "
            "store in .zarr"
        )
    if found is not None and is_url(target):
        raise InvalidInputError(
            f"{target} is a URL, and tables are written to this machine: name a path, and copy them"
        )
    return found


def require_free_files(
    paths: Iterable[str | None], overwrite: bool, apart: Iterable[str] = ()
) -> None:
    """Refuse files of which one cannot be written, or two are one; ``None`` is not asked for."""
    others = list(apart)
    for path in paths:
        if path is not None:
            require_free_file(path, overwrite, others)
            others.append(path)


def path_from(store: str, other: str) -> str:
    """Return the path of another store as seen from the folder that holds a store.

    Both may then move together, or be seen by another machine, and still find each other. What is
    in another bucket, or not in the same kind of place, keeps its whole name, but for the login
    and the query of a URL, which may be secrets.
    """
    if not is_url(store) and not is_url(other):
        return _utf8(os.path.relpath(Path(other).resolve(), Path(store).resolve().parent))
    if is_url(store) and is_url(other):
        here, there = _parted(store), _parted(other)
        if here[:2] == there[:2]:
            return posixpath.relpath(f"/{there[2]}", posixpath.dirname(f"/{here[2]}"))
    return _public(other) if is_url(other) else _utf8(str(Path(other).resolve()))


def path_beside(store: str, relative: str) -> str:
    """Return the path that ``path_from`` made relative."""
    if is_url(relative) or (is_url(store) and os.path.isabs(relative)):
        return relative
    if is_url(store):
        protocol, bucket, key = _parted(store)
        found = posixpath.normpath(posixpath.join(posixpath.dirname(f"/{key}"), relative))
        return f"{protocol}://{bucket}{found}"
    return os.path.normpath(Path(store).resolve().parent / relative)


def leads_away(store: str, recorded: str) -> bool:
    """Tell whether what a store records is a URL of another server or bucket than its own.

    Whoever made the store has chosen it, and it would be asked with the keys of whoever reads.
    """
    if not is_url(recorded):
        return False
    protocol, place, _ = _parted(store)
    # Compared whole: https://evil?@host is not at host. A record of ours has no login.
    return not is_url(store) or _parted(recorded)[:2] != (protocol, place.rpartition("@")[2])


def _utf8(path: str) -> str:
    """Spell out bytes that are no text, which a store cannot hold."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _public(url: str) -> str:
    protocol, place, key = _parted(url.partition("?")[0])
    return f"{protocol}://{place.rpartition('@')[2]}/{key}"


def _parted(url: str) -> tuple[str, str, str]:
    """Protocol, bucket or host, and the rest of a URL."""
    protocol, _, rest = url.rstrip("/").partition("://")
    bucket, _, key = rest.partition("/")
    return protocol, bucket, key
