"""Who writes to a folder of a disk: the holder of a lock on a file in it.

The file goes with the folder, so whoever has waited for it may lock one that is no more.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from balans_dask.errors import StoreExistsError, warn_of_input

__all__ = ["locked"]


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
    """Open and lock the file at a path; ``None`` if it was removed meanwhile."""
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
