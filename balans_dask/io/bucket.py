"""What a bucket takes instead: leases for locks and copies for renames.

A bucket has no locks, but can create an object on the condition that it is not there. Leases are
numbered objects; whoever creates the next number holds the folder, so that of two who find a dead
lease only one succeeds. A lease is dead when its process is (where that can be seen from here), or
when nobody has renewed it for a minute.

Nor has it renames: the objects of a finished store are copied to its place, in parallel, and the
root ``zarr.json`` last: without it nothing opens. A store that is replaced loses its root first,
and for a moment neither is there. A mark in the run's folder says that what lies at the target is
such a half; a run killed in between is continued by doing all of it again.
"""

import errno
import json
import os
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil

from balans_dask.errors import RunError, StoreExistsError, warn_of_input
from balans_dask.io.atomic import write_json
from balans_dask.io.files import (
    files_below,
    files_in,
    is_file,
    network_errors,
    put,
    remove_file,
    remove_tree,
)
from balans_dask.io.paths import STORE_NAMES
from balans_dask.io.places import reaching

__all__ = [
    "Lease",
    "is_half_published",
    "leased",
    "publish_by_copy",
]

RENEWED_EVERY = 10.0
DEAD_AFTER = 60.0
"""Seconds; a driver whose machine sleeps for longer must not publish, and asks before it does."""
BUSY = (errno.EBUSY, errno.ETIMEDOUT)
"""What an overloaded bucket answers, which says nothing about conditions."""
MARK = "publishing"
ROOT = "zarr.json"


class Lease:
    """The right to write to a folder, as long as nobody has taken it over.

    Parameters
    ----------
    folder : Path
        Where leases are.
    """

    def __init__(self, folder: Path, number: int) -> None:
        self._folder = folder
        self._place = folder / f"{number:06d}"
        self._owner = _owner()
        self._renewals = 0
        self._over = threading.Event()
        self._renewer = threading.Thread(target=self._renew, name="balans-lease", daemon=True)

    def create(self) -> bool:
        """Take this number, unless someone has it already.

        Raises
        ------
        OSError
            If the folder cannot be written to, or does not know conditions.
        """
        where: Any = self._place
        try:
            where.fs.pipe_file(where.path, self._content(), mode="create")
        except OSError:
            found = _read(self._place)
            # A put whose answer was lost is sent again, and finds itself.
            if found is None:
                raise
            if found.get("owner") != self._owner:
                return False
        self._renewer.start()
        return True

    def require(self) -> None:
        """Refuse to go on if another process has taken over.

        Raises
        ------
        RunError
        """
        if not self._is_held():
            raise RunError(
                f"another process has taken over {self._folder.parent}, because this one could "
                "not renew its lease: let that one finish"
            )

    def release(self) -> None:
        """Let others write."""
        self._over.set()
        if self._renewer.is_alive():
            self._renewer.join()
        with suppress(*network_errors()):
            if self._is_held():
                remove_file(self._place)

    def _renew(self) -> None:
        while not self._over.wait(RENEWED_EVERY):
            with suppress(*network_errors()):
                if not self._is_held():
                    # Who has taken over may be done: put again, this lease would be the newest.
                    return
                self._renewals += 1
                put(self._place, self._content())

    def _is_held(self) -> bool:
        """Tell whether this is the newest lease; others begin at 1 again when there is none."""
        newest = max(_numbers(self._folder), default=None) == int(self._place.name)
        return newest and (_read(self._place) or {}).get("owner") == self._owner

    def _content(self) -> bytes:
        return json.dumps({"owner": self._owner, "renewals": self._renewals}).encode()


@contextmanager
def leased(folder: Path, name: str) -> Iterator[Lease | None]:
    """Hold a folder of a bucket; ``None`` where the bucket knows no conditions.

    Parameters
    ----------
    folder : Path
        Of leases, in the folder that is held.
    name : str
        What is written, for an error.

    Raises
    ------
    StoreExistsError
        If another process holds it.
    """
    with reaching(folder.parent):
        lease = _acquired(folder, name)
    try:
        yield lease
    finally:
        if lease is not None:
            lease.release()


def _acquired(folder: Path, name: str) -> Lease | None:
    held = StoreExistsError(f"another process is writing {name}: wait, or choose another output")
    numbers = _numbers(folder)
    if numbers and _is_alive(folder / f"{max(numbers):06d}"):
        raise held
    lease = Lease(folder, max(numbers, default=0) + 1)
    try:
        if not lease.create():
            raise held
    except (StoreExistsError, FileNotFoundError, PermissionError):
        raise
    except OSError as error:
        if isinstance(error, ConnectionError | TimeoutError) or error.errno in BUSY:
            raise
        warn_of_input(
            f"the bucket of {folder} has no conditional writes ({error}): make sure that no other "
            "run writes this output"
        )
        return None
    for number in numbers:
        remove_file(folder / f"{number:06d}")
    return lease


def _numbers(folder: Path) -> list[int]:
    return [int(name) for name in files_in(folder) if name.isdigit()]


def _is_alive(place: Path) -> bool:
    """Ask for the process if it is one of this machine, else see whether it renews its lease."""
    found = _read(place)
    if found is None:
        return False
    owner = found.get("owner", {})
    if owner.get("machine") == _machine():
        return _runs(owner.get("pid"), owner.get("began"))
    end = time.monotonic() + DEAD_AFTER
    while time.monotonic() < end:
        time.sleep(1.0)
        if _read(place) != found:
            return True
    return False


def _read(place: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(place.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _owner() -> dict[str, Any]:
    began = psutil.Process().create_time()
    return {"machine": _machine(), "pid": os.getpid(), "began": began, "token": uuid4().hex}


def _machine() -> str:
    """Name where process numbers mean the same; containers of one host have their own."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    return socket.gethostname()


def _runs(pid: Any, began: Any) -> bool:
    try:
        process = psutil.Process(pid)
        return bool(process.create_time() == began and process.status() != psutil.STATUS_ZOMBIE)
    except (psutil.Error, TypeError, ValueError):
        return False


def publish_by_copy(store: Path, target: Path) -> None:
    """Copy a finished store to its place; the store stays.

    Parameters
    ----------
    store : Path
        In the folder of its run.
    target : Path
        Where nothing is, or what may be replaced.
    """
    write_json(_mark(store.parent), {"target": target.name})
    for name in STORE_NAMES:
        remove_file(target / name)
    remove_tree(target)
    inner = [name for name in files_below(store) if name != ROOT]
    _copy(store, target, inner)
    _copy(store, target, [ROOT])


def is_half_published(folder: Path) -> bool:
    """Tell whether a run was killed while its store appeared.

    Parameters
    ----------
    folder : Path
        Of the run.
    """
    return is_file(_mark(folder))


def _mark(folder: Path) -> Path:
    return folder / MARK


def _copy(store: Path, target: Path, names: Sequence[str]) -> None:
    source: Any = store
    source.fs.copy(
        [f"{source.path}/{name}" for name in names],
        [(target / name).path for name in names],  # type: ignore[attr-defined]
    )
