"""What is done with files where a bucket is another kind of thing than a file system."""

import os
import shutil
import stat
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from balans_dask.io.places import is_remote, place_of

__all__ = [
    "file_size",
    "file_sizes",
    "files_below",
    "files_in",
    "is_file",
    "make_folder",
    "many",
    "move_file",
    "network_errors",
    "open_file",
    "put",
    "put_files",
    "relative_name",
    "remove_all_but",
    "remove_file",
    "remove_tree",
    "strange_below",
    "table_source",
]

REQUESTS = 32
"""Requests under way at a time; each of them mostly waits for the network."""
UNKNOWN_SIZE = sys.maxsize
BLOCK_BYTES = 4 * 2**20
"""What is read ahead in an object, so that no large one is held whole."""

T = TypeVar("T")
R = TypeVar("R")


def network_errors() -> tuple[type[Exception], ...]:
    """Return what reading and writing raise when a disk or a network fails."""
    kinds = (("botocore.exceptions", "BotoCoreError"), ("aiohttp", "ClientError"))
    return OSError, *(getattr(sys.modules[m], name) for m, name in kinds if m in sys.modules)


def many(function: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Call a function that waits for a disk or a network on many items."""
    with ThreadPoolExecutor(REQUESTS) as pool:
        return list(pool.map(function, items))


def file_size(place: Path) -> int | None:
    """Bytes of a file; ``None`` if there is none."""
    if not is_remote(place):
        return place.stat().st_size if place.is_file() else None
    where: Any = place
    try:
        found = where.fs.info(where.path)
    except FileNotFoundError:
        return None
    # A web server need not know how long its answer will be.
    return None if found["type"] == "directory" else int(found["size"] or 0)


def is_file(place: Path) -> bool:
    """Tell whether a file is there."""
    # fsspec's own answer is no where the network fails.
    return file_size(place) is not None if is_remote(place) else place.is_file()


def file_sizes(folder: Path, names: Sequence[str]) -> list[int | None]:
    """Bytes of some files of a folder, ``None`` where there is none; of a bucket, by one listing.

    What a web server does not say the size of counts as ``UNKNOWN_SIZE``.
    """
    where: Any = folder
    if not is_remote(folder):
        return [file_size(folder / name) for name in names]
    if where.protocol.startswith("http"):
        # Web servers need not list.
        sizes = many(lambda name: file_size(folder / name), names)
        return [UNKNOWN_SIZE if size == 0 else size for size in sizes]
    found = files_below(folder)
    return [found.get(name) for name in names]


def files_below(folder: Path) -> dict[str, int]:
    """Names of all files below a folder, and their sizes; none if there is no folder."""
    if not is_remote(folder):
        files = [file for file in folder.rglob("*") if file.is_file()]
        return {relative_name(file, folder): file.stat().st_size for file in files}
    place: Any = folder
    inside = f"{place.path}/"
    found = {
        name.removeprefix(inside): fact["size"]
        for name, fact in place.fs.find(place.path, detail=True).items()
        # Some programs make an object of a folder's name.
        if name.startswith(inside) and not name.endswith("/")
    }
    unknown = [name for name, size in found.items() if size is None]
    sizes = many(lambda name: file_size(folder / name), unknown)
    return found | {name: size or 0 for name, size in zip(unknown, sizes, strict=True)}


def strange_below(folder: Path) -> list[str]:
    """Names of what is neither a file nor a folder, at or below a path; follows no link."""
    if is_remote(folder):
        return []
    if folder.is_symlink():
        return [folder.name]
    found = []
    for path, folders, files in os.walk(folder):
        for name in (*folders, *files):
            place = Path(path, name)
            with suppress(FileNotFoundError):  # its holder may just remove it
                kind = place.lstat().st_mode
                if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
                    found.append(relative_name(place, folder))
    return sorted(found)


def files_in(folder: Path) -> list[str]:
    """Names of what is directly in a folder; none if there is no folder."""
    try:
        if not is_remote(folder):
            return os.listdir(folder)
        place: Any = folder
        found = place.fs.ls(place.path, detail=False)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [name.rstrip("/").rpartition("/")[2] for name in found]


def relative_name(file: Path, folder: Path) -> str:
    """Name of a file as seen from a folder that holds it."""
    if not is_remote(file):
        return str(file.relative_to(folder))
    places: Any = (file, folder)
    return str(places[0].path).removeprefix(f"{places[1].path}/")


def open_file(place: Path) -> Any:
    """Open a file to read it from its beginning."""
    if not is_remote(place):
        return place.open("rb")
    where: Any = place
    return where.open("rb", block_size=BLOCK_BYTES, cache_type="readahead")


def table_source(path: str | Path) -> Any:
    """Return what a reader of tables takes: a path, or an open object that is read in pieces."""
    place: Any = place_of(path)
    if not is_remote(place):
        # A relative path could be taken for a URL, such as s3:plate.parquet.
        return os.path.abspath(place)
    return place.open("rb", block_size=BLOCK_BYTES, cache_type="blockcache")


def make_folder(place: Path) -> None:
    """Make a folder unless it is there; in a bucket, folders come with what is in them."""
    if not is_remote(place):
        place.mkdir(exist_ok=True)


def remove_tree(folder: Path) -> None:
    """Remove a folder and all that is in it, if it is there."""
    if not is_remote(folder):
        shutil.rmtree(folder, ignore_errors=True)
        return
    place: Any = folder
    with suppress(FileNotFoundError):
        place.fs.rm(place.path, recursive=True)


def remove_all_but(folder: Path, kept: Collection[str]) -> None:
    """Remove all that is in a folder but some of it.

    Parameters
    ----------
    kept : collection of str
        Paths within the folder.
    """
    for name in files_in(folder):
        place = folder / name
        within = {path.removeprefix(f"{name}/") for path in kept if path.startswith(f"{name}/")}
        if name in kept:
            continue
        if not is_remote(place) and not place.is_dir():
            remove_file(place)
        elif within:
            remove_all_but(place, within)
        else:
            remove_tree(place)


def put(place: Path, content: bytes) -> None:
    """Write an object; whoever reads it finds the old one or the new one."""
    where: Any = place
    where.fs.pipe_file(where.path, content)


def put_files(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write files by their names below a folder; in a bucket, all at once."""
    if is_remote(folder):
        where: Any = folder
        where.fs.pipe({f"{where.path}/{name}": content for name, content in contents.items()})
        return
    # From above, so that none has to wait for another one.
    for parent in sorted({(folder / name).parent for name in contents}):
        parent.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)


def remove_file(place: Path) -> None:
    """Remove a file, if it is there."""
    if not is_remote(place):
        place.unlink(missing_ok=True)
        return
    where: Any = place
    with suppress(FileNotFoundError):
        where.fs.rm_file(where.path)


def move_file(place: Path, target: Path) -> None:
    """Move a file, replacing what is in its new place."""
    if not is_remote(place):
        place.replace(target)
        return
    where: Any = (place, target)
    where[0].fs.cp_file(where[0].path, where[1].path)
    remove_file(place)
