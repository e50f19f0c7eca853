"""The folder in which an output grows: ``OUT.zarr.partial``, beside its final place.

::

    OUT.zarr.partial/
        run.json         what the run is: data, parameters, code (a mark that the folder is ours)
        lock             held by the process that writes
        checkpoint.npz   the sampler after its last saved round
        units/           the manifest: one record for each finished run of rows
        store/           the output; renamed to OUT.zarr when it is complete
"""

import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from balans_dask.errors import InvalidInputError, StoreExistsError
from balans_dask.io.checkpoint import read_json, write_json
from balans_dask.io.paths import is_store

__all__ = ["RunFolder", "check_output"]

SUFFIX = ".partial"
MARK = "balans_dask"


def check_output(path: str, overwrite: bool, inputs: tuple[str, ...] = ()) -> None:
    """Refuse an output path before any work is done.

    Raises
    ------
    StoreExistsError
        If something is there and must not be, or may not be, replaced.
    InvalidInputError
        If the output is, holds or lies within an input, or its folder is missing.
    """
    target = Path(path).resolve()
    for name in inputs:
        source = Path(name).resolve()
        if target == source or target in source.parents or source in target.parents:
            raise InvalidInputError(
                f"output {path} and input {name} are the same place: choose another output"
            )
    if not target.parent.is_dir():
        raise InvalidInputError(f"the folder of {path} does not exist: create it first")
    if not target.exists():
        return
    if not overwrite:
        raise StoreExistsError(f"{path} exists: choose another output, or add --overwrite")
    if not is_store(path):
        raise StoreExistsError(
            f"{path} exists and is not a Zarr store, so it is not replaced: choose another output"
        )


class RunFolder:
    """A folder under construction.

    Parameters
    ----------
    target : str
        Path of the output.
    """

    def __init__(self, target: str) -> None:
        self.target = Path(target).resolve()
        self.path = self.target.with_name(self.target.name + SUFFIX)
        self.store = self.path / "store"
        self.units = self.path / "units"
        self.checkpoint = self.path / "checkpoint.npz"
        self._record = self.path / "run.json"

    @property
    def exists(self) -> bool:
        """Whether an unfinished output is there."""
        return self.path.exists()

    @property
    def begun(self) -> bool:
        """Whether there is anything to continue."""
        return self.checkpoint.exists() or self.units.exists()

    @property
    def replaces(self) -> bool:
        """Whether the unfinished run was asked to replace what is in its place."""
        return self.begun and bool((self.record() or {}).get("overwrite"))

    def record(self) -> dict[str, Any] | None:
        """Read what the run is; ``None`` if it never came so far."""
        record = read_json(self._record)
        return None if record is None else record.get("run")

    def write_record(self, run: Mapping[str, Any]) -> None:
        """Say what the run is."""
        write_json(self._record, {"written_by": MARK, "run": dict(run)})

    @contextmanager
    def held(self) -> Iterator[None]:
        """Create the folder if it is not there, and keep every other process out of it.

        Raises
        ------
        StoreExistsError
            If another process holds it, or it is not ours.
        """
        if self.exists and not self._is_ours():
            raise StoreExistsError(f"{self.path} is in the way and is not ours: move it")
        if not self.exists:
            self.path.mkdir()
            write_json(self._record, {"written_by": MARK})
        with (self.path / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise StoreExistsError(
                    f"another process is writing {self.target.name}: wait, or choose another output"
                ) from error
            yield

    def clear(self) -> None:
        """Forget what was done; the folder stays, and stays held."""
        self.clear_store()
        self.checkpoint.unlink(missing_ok=True)
        write_json(self._record, {"written_by": MARK})

    def clear_store(self) -> None:
        """Forget what was written; the checkpoint stays."""
        for path in (self.units, self.store):
            shutil.rmtree(path, ignore_errors=True)

    def discard(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.path, ignore_errors=True)

    def discard_remains(self) -> None:
        """Remove what a run killed just after it had published left behind."""
        if self.exists and self._is_ours() and not self.store.exists():
            self.discard()

    def publish(self) -> None:
        """Move the finished store to its place and remove the folder.

        A store that is replaced leaves its place first, for a moment in which neither is there; a
        run that is killed in it is finished by ``--resume``.
        """
        for torn in self.store.rglob("*.partial"):
            torn.unlink()
        replaced = self.path / "replaced"
        if self.target.exists():
            self.target.rename(replaced)
        self.store.rename(self.target)
        self.discard()

    def _is_ours(self) -> bool:
        record = read_json(self._record)
        if record is not None:
            return record.get("written_by") == MARK
        # Killed between the creation of the folder and of its record.
        return self.path.is_dir() and not any(
            name for name in os.listdir(self.path) if not name.endswith(".writing")
        )
