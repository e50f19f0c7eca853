"""Files that survive a kill: replaced as a whole, added to by lines, synced to disk, and locks.

In a bucket every put replaces an object as a whole.
"""

import fcntl
import io
import json
import os
import time
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import IO, Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from balans_dask.errors import StoreExistsError, exhaustion, warn_of_input
from balans_dask.io.files import many, open_file, put
from balans_dask.io.places import is_remote

__all__ = [
    "WRITTEN_BY",
    "LineLog",
    "locked",
    "read_json",
    "read_state",
    "replace_file",
    "sync_file",
    "sync_files",
    "sync_folder",
    "write_json",
    "write_state",
]

WRITTEN_BY = "balans_dask"
"""Mark of files and folders that are ours to replace."""

_PARSING = Lock()
"""numpy reads headers with `ast`, which fails now and then in two threads at once (Python 3.11)."""
PUT_EVERY = 30.0
"""Seconds; an object cannot be added to, so the lines wait and all are put anew."""


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Replace a JSON file in one step."""
    content = json.dumps(record, indent=1, sort_keys=True).encode()
    if is_remote(path):
        put(path, content)
    else:
        replace_file(path, content)


def read_json(path: Path) -> dict[str, Any] | None:
    """Read a JSON file; ``None`` if it is missing or torn."""
    try:
        record = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError, RecursionError):
        return None
    except OSError:
        if is_remote(path):  # a network that fails says nothing about the file
            raise
        return None
    return record if isinstance(record, dict) else None


def replace_file(path: Path, content: bytes) -> None:
    """Replace a file of this machine in one step; one that fails leaves nothing behind."""
    temporary = _beside(path)
    try:
        with temporary.open("wb") as file:
            file.write(content)
            _to_disk(file)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_state(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Replace a file of named arrays in one step.

    The format is numpy's ``.npz``: a zip with a checksum for every array, and no pickle.
    """
    if is_remote(path):
        content = io.BytesIO()
        np.savez(content, allow_pickle=False, **arrays)
        put(path, content.getvalue())
        return
    temporary = _beside(path)
    with temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
        _to_disk(file)
    temporary.replace(path)


def read_state(path: Path) -> dict[str, NDArray[Any]] | None:
    """Read named arrays; ``None`` if the file is missing or torn."""
    try:
        with open_file(path) as file:
            content = io.BytesIO(file.read())
        with _PARSING, np.load(content, allow_pickle=False) as state:
            return {name: state[name] for name in state.files}
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, RuntimeError, zlib.error) as error:
        if out := exhaustion(error):
            raise out from error
        # Damage can make a zip look encrypted or compressed by another method.
        return None


def sync_file(path: Path) -> None:
    """Wait until a file is on disk; a put has waited for its object."""
    if is_remote(path):
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_files(folder: Path, synced: Collection[Path] = ()) -> None:
    """Wait until all files in and below a folder are on disk.

    Parameters
    ----------
    synced : collection of Path
        Files that somebody has waited for already.
    """
    if is_remote(folder):
        return  # every put has waited
    # A disk that waits for one file waits for others meanwhile.
    many(sync_file, [path for path in folder.rglob("*") if path.is_file() and path not in synced])


def sync_folder(path: Path) -> None:
    """Wait until the names in a folder are on disk, where the file system can do that."""
    with suppress(OSError):
        sync_file(path)


def _beside(path: Path) -> Path:
    """Name a file that only this process writes."""
    return path.with_name(f"{path.name}.{os.getpid()}.writing")


def _to_disk(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())


class LineLog:
    """Lines of a file that may move meanwhile; those that are there already stay."""

    def __init__(self) -> None:
        self._text: str | None = None
        self._put_at = 0.0

    def add(self, place: Path, lines: Sequence[str], at_once: bool) -> None:
        """Add lines.

        Parameters
        ----------
        place : Path
            Where the file is now.
        at_once : bool
            Let nobody wait for them, even in a bucket.
        """
        if not is_remote(place):
            with place.open("a") as file:
                file.writelines(f"{line}\n" for line in lines)
            return
        if self._text is None:
            self._text = place.read_text() if place.exists() else ""
        self._text += "".join(f"{line}\n" for line in lines)
        if at_once or time.monotonic() - self._put_at > PUT_EVERY:
            put(place, self._text.encode())
            self._put_at = time.monotonic()


@contextmanager
def locked(path: Path, make: Callable[[], None], name: str) -> Iterator[None]:
    """Hold the lock of a folder.

    Parameters
    ----------
    path : Path
        Of the lock's file.
    make : callable
        Makes the folder unless it is there; called again when another process has removed it.
    name : str
        What is written, for an error.

    Raises
    ------
    StoreExistsError
        If another process holds it.
    """
    file = None
    while file is None:
        make()
        try:
            file = _locked_file(path, name)
        except OSError:
            with suppress(OSError):  # not empty, or gone
                path.parent.rmdir()
            raise
    with file:
        yield


def _locked_file(path: Path, name: str) -> IO[str] | None:
    """Open and lock the file at a path; ``None`` if it was removed meanwhile.

    The file goes with its folder, so whoever has waited for it may lock one that is no more.
    """
    with suppress(FileNotFoundError), ExitStack() as opened:
        file = opened.enter_context(path.open("w"))
        _lock(file, path, name)
        if os.path.samestat(os.fstat(file.fileno()), path.stat()):
            opened.pop_all()
            return file
    return None


def _lock(file: IO[str], path: Path, name: str) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise StoreExistsError(
            f"another process is writing {name}: wait, or choose another output"
        ) from error
    except OSError as error:
        warn_of_input(
            f"the file system of {path.parent} has no locks ({error.strerror}): make sure that no "
            "other run writes this output"
        )
