"""The folder in which an output grows: ``OUT.zarr.partial``, beside its final place.

::

    OUT.zarr.partial/
        run.json         what the run is: data, parameters, code (a mark that the folder is ours)
        lock             held by the process that writes
        checkpoint.npz   the sampler after its last saved round
        units/           the manifest: one record for each finished run of rows
        store/           the output; renamed to OUT.zarr when it is complete
        pass_0/ ...      checkpoint, units and store of the passes before the last one
        converted/       where the input is a table: the store that is corrected
        source.json      sizes and times of the table's files, by which it is known again
        table            where the output is a table: it, before it moves to its place
        events.jsonl     what the run did when; moves to OUT.zarr.events.jsonl with the output
        replaced/        for a moment, the store that was in its place

In a bucket, ``OUT.zarr.partial/`` is a prefix, ``lock`` holds leases, and the store is copied to
its place (``io.bucket``).
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

from balans_dask.errors import StoreExistsError, first_names
from balans_dask.io.atomic import WRITTEN_BY, locked, read_json, sync_folder, write_json
from balans_dask.io.bucket import MARK as PUBLISHING
from balans_dask.io.bucket import Lease, is_half_published, leased, publish_by_copy
from balans_dask.io.files import (
    files_in,
    make_folder,
    move_file,
    network_errors,
    remove_all_but,
    remove_file,
    remove_tree,
    strange_below,
)
from balans_dask.io.paths import is_export, is_store, require_apart
from balans_dask.io.places import is_remote, place_of, reaching, require_writable, resolved

__all__ = [
    "PassFolder",
    "RunFolder",
    "check_output",
    "taken_by",
]

SUFFIX = ".partial"
EARLIER = "pass_"
EVENTS = "events.jsonl"
LOCK = "lock"
CONVERTED, OF_SOURCE, TABLE = "converted", "source.json", "table"
OUR_NAMES = {
    *("run.json", LOCK, "checkpoint.npz", "units", "store", "replaced", EVENTS, PUBLISHING),
    *(CONVERTED, f"{CONVERTED}{SUFFIX}", OF_SOURCE, TABLE),
}


class PassFolder:
    """Checkpoint, manifest and store of one pass."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.store = path / "store"
        self.units = path / "units"
        self.checkpoint = path / "checkpoint.npz"

    @property
    def begun(self) -> bool:
        """Whether there is anything to continue."""
        return self.checkpoint.exists() or self.units.exists()

    def clear(self) -> None:
        """Forget what was done."""
        self.clear_store()
        remove_file(self.checkpoint)

    def clear_store(self) -> None:
        """Forget what was written; the checkpoint stays."""
        for path in (self.units, self.store):
            remove_tree(path)


def check_output(path: str | Path, overwrite: bool, inputs: tuple[str, ...] = ()) -> None:
    """Refuse an output path before any work is done.

    Raises
    ------
    StoreExistsError
        If something is there and must not be, or may not be, replaced.
    InvalidInputError
        If the output is, holds or lies within an input, is empty, or cannot be written there.
    """
    require_apart(path, inputs)
    with reaching(path):
        require_writable(resolved(place_of(path)))
        RunFolder(str(path)).require_ours()
    _require_free(path, overwrite)


def _require_free(path: str | Path, overwrite: bool) -> None:
    target = resolved(place_of(path))
    with reaching(path):
        if not target.exists() or _is_half(target):
            return
    if not overwrite:
        raise StoreExistsError(f"{path} exists: choose another output, or add --overwrite")
    if not (is_store(path) or is_export(path)):
        raise StoreExistsError(
            f"{path} exists and is not a Zarr store, so it is not replaced: choose another output"
        )


def taken_by(path: str) -> tuple[str, ...]:
    """Paths that are no other file's: of an output, of its run and of its events."""
    folder = RunFolder(path)
    return path, str(folder.path), str(folder.published_events)


class RunFolder:
    """A folder under construction.

    Parameters
    ----------
    target : str
        Path of the output.
    """

    def __init__(self, target: str) -> None:
        self.given = target
        self.target = resolved(place_of(target))
        self.path = _partial(self.target)
        self.last = PassFolder(self.path)
        self._record = self.path / "run.json"
        self.events = self.path / EVENTS
        self.converted = self.path / CONVERTED
        self.of_source = self.path / OF_SOURCE
        self.table = self.path / TABLE
        self._lease: Lease | None = None
        self._is_gone = False
        self._is_held = False
        self.published_events = self.target.with_name(f"{self.target.name}.{EVENTS}")

    def passes(self, n_passes: int) -> list[PassFolder]:
        """Folders of all passes, in order; the last pass makes the output itself."""
        earlier = [PassFolder(self.path / f"{EARLIER}{i}") for i in range(n_passes - 1)]
        return [*earlier, self.last]

    @property
    def exists(self) -> bool:
        """Whether an unfinished output is there."""
        return self.path.exists()

    @property
    def begun(self) -> bool:
        """Whether there is anything to continue."""
        return self.last.begun or any(PassFolder(path).begun for path in self._earlier())

    @property
    def replaces(self) -> bool:
        """Whether the unfinished run was asked to replace what is in its place."""
        return bool((self.record() or {}).get("overwrite"))

    def check(self, replace: bool, inputs: tuple[str, ...] = ()) -> None:
        """Refuse the place of the output, as ``check_output`` does.

        Parameters
        ----------
        replace : bool
            Replace a store that is in the place.
        inputs : tuple of str
            Paths that must not be touched.
        """
        check_output(self.given, replace, inputs)

    def record(self) -> dict[str, Any] | None:
        """Read what the run is; ``None`` if it never came so far, or the record is damaged."""
        record = read_json(self._record) or {}
        run = record.get("run")
        if not (isinstance(run, dict) and isinstance(run.get("identity"), dict)):
            return None
        checksum = _checksum(run)
        return run if record.get("checksum", checksum) == checksum else None

    def write_record(self, run: Mapping[str, Any]) -> None:
        """Say what the run is."""
        checksum = _checksum(run)
        write_json(self._record, {"written_by": WRITTEN_BY, "run": dict(run), "checksum": checksum})

    def require_ours(self) -> None:
        """Refuse a folder that something else has made, before anything in it is opened.

        A link would be written through, into another store perhaps, and a pipe waits for ever.

        Raises
        ------
        StoreExistsError
        """
        strange = strange_below(self.path)
        if strange:
            raise StoreExistsError(
                f"{self.path} holds {len(strange)} links, pipes or the like that no run makes "
                f"({first_names(strange)}): remove them, or the whole folder to begin afresh"
            )
        if self.exists and not self._is_ours():
            raise StoreExistsError(f"{self.path} is in the way and is not ours: move it")

    @contextmanager
    def held(self) -> Iterator[None]:
        """Create the folder if it is not there, and keep every other process out of it.

        A store that a killed run had just moved out of its place is put back first, or removed if
        the run had put its own there. A folder in which nothing was begun is removed at the end. It
        may be held again by who holds it.

        Raises
        ------
        StoreExistsError
            If another process holds it, or it is not ours.
        """
        if self._is_held:
            yield
            return
        self._is_gone = False
        with self._locked():
            self._settle_replaced()
            self._is_held = True
            try:
                if read_json(self._record) is None:
                    write_json(self._record, {"written_by": WRITTEN_BY})
                yield
            finally:
                self._is_held = False
                # Where this run has removed the folder, another one may have made it anew.
                if not self._is_gone and not self._is_worth_keeping:
                    self.discard()

    @property
    def _is_worth_keeping(self) -> bool:
        return self.begun or self.last.store.exists() or self.converted.exists()

    def _settle_replaced(self) -> None:
        """Finish or undo the replacing of a store that a kill has interrupted."""
        self._put_back()
        if not self._replaced.exists():
            return
        if not self.last.store.exists():
            remove_tree(self._replaced)
        else:
            raise StoreExistsError(
                f"{self._replaced} is the store that a killed run was replacing, and {self.target} "
                "has come since: move one of them"
            )

    @contextmanager
    def _locked(self) -> Iterator[None]:
        lock = self.path / LOCK
        if is_remote(lock):
            self._make()
            with leased(lock, self.target.name) as self._lease:
                yield
            return
        with locked(lock, self._make, self.target.name):
            yield

    def _make(self) -> None:
        self.require_ours()
        make_folder(self.path)

    @contextmanager
    def held_afresh(self, drop: bool) -> Iterator[None]:
        """Hold the folder for an output that is made in one go, and forget what was begun in it.

        Parameters
        ----------
        drop : bool
            Forget an unfinished correction, too.

        Raises
        ------
        StoreExistsError
            As ``held`` does, and if there is one that may not be dropped.
        """
        with self.held():
            self.require_droppable(drop)
            self.clear()
            yield

    def require_droppable(self, drop: bool) -> None:
        """Refuse the place of an unfinished correction, unless that may be forgotten.

        Raises
        ------
        StoreExistsError
        """
        self.require_ours()
        if self.record() is not None and not drop:
            raise StoreExistsError(
                f"{self.path} holds an unfinished correction: finish it with "
                "`balans correct --resume`, or add --overwrite to drop it"
            )

    def clear(self) -> None:
        """Forget what was done; the folder stays, and stays held."""
        self.last.clear()
        remove_file(self.events)
        for path in self._earlier():
            remove_tree(path)
        write_json(self._record, {"written_by": WRITTEN_BY})

    def discard(self) -> None:
        """Remove the folder, first what marks it as begun, and last what keeps others out."""
        self._put_back()
        for path in (*self._earlier(), self.last.units, self.last.store, self._replaced):
            remove_tree(path)
        remove_file(self.last.checkpoint)
        self._is_gone = True
        remove_all_but(self.path, [LOCK])
        if is_remote(self.path):
            return  # a lease is released by its holder
        remove_file(self.path / LOCK)
        with suppress(OSError):  # not empty: another run has begun
            self.path.rmdir()

    def discard_remains(self) -> None:
        """Remove what a run killed just after it had published left behind."""
        if self.exists and (is_half_published(self.path) or not self.last.store.exists()):
            if self.events.exists():
                self._publish_events()
            self.discard()

    def publish(self, replace: bool) -> None:
        """Move the finished store to its place and remove the folder.

        A store that is replaced leaves its place first, for a moment in which neither is there; if
        the run is killed in it, the next one puts it back.

        Parameters
        ----------
        replace : bool
            Replace a store that is in the place.

        Raises
        ------
        StoreExistsError
            If something has appeared in the place that may not be replaced; nothing is lost.
        """
        _require_free(self.target, replace)
        if is_remote(self.target):
            if self._lease is not None:
                self._lease.require()
            publish_by_copy(self.last.store, self.target)
        else:
            self._publish_by_rename()
        self._publish_events()
        sync_folder(self.target.parent)
        self.discard()

    def _publish_by_rename(self) -> None:
        for torn in self.last.store.rglob("*.partial"):
            torn.unlink()
        if self.target.exists():
            self.target.rename(self._replaced)
        try:
            self.last.store.rename(self.target)
        except BaseException:
            self._put_back()
            raise

    def _put_back(self) -> None:
        """Return a store that had left its place to one that never came."""
        if self._replaced.exists() and not self.target.exists():
            self._replaced.rename(self.target)

    def _publish_events(self) -> None:
        """Put the events beside the output; those of a store that it replaces go."""
        # The output is there already, and does not fail because its times cannot be noted.
        with suppress(*network_errors()):
            if self.events.exists():
                move_file(self.events, self.published_events)
            else:
                remove_file(self.published_events)

    def _earlier(self) -> list[Path]:
        return [self.path / name for name in files_in(self.path) if name.startswith(EARLIER)]

    @property
    def _replaced(self) -> Path:
        return self.path / "replaced"

    def _is_ours(self) -> bool:
        """Tell by the record, or by the names, where the record was lost or not yet written."""
        record = read_json(self._record)
        if record is not None:
            return record.get("written_by") == WRITTEN_BY
        return (is_remote(self.path) or self.path.is_dir()) and all(
            name in OUR_NAMES or name.startswith(EARLIER) or name.endswith(".writing")
            for name in files_in(self.path)
        )


def _checksum(run: Mapping[str, Any]) -> str:
    """Hash what a run is: a changed letter would make it another one."""
    return blake2b(json.dumps(run, sort_keys=True).encode(), digest_size=16).hexdigest()


def _is_half(target: Path) -> bool:
    """Tell whether only a run of ours that was killed while it published has been at a target."""
    return is_remote(target) and not is_store(target) and is_half_published(_partial(target))


def _partial(target: Path) -> Path:
    return target.with_name(target.name + SUFFIX)
