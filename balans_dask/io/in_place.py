"""Elements that grow beside a store and are moved into it, which else stays as it is.

Everything is on disk before the first rename, and a journal says what is to be moved: a run that is
killed meanwhile is finished by the next one. A reader sees a sound store at any moment. Where the
metadata of the store are consolidated, which anndata does, they list all new elements from one
rename on. Elsewhere every element appears by its own, the record of the correction last.
"""

import os
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import zarr

from balans_dask.errors import InvalidInputError, StoreExistsError, first_names
from balans_dask.io.atomic import read_json, sync_folder, write_json
from balans_dask.io.chunks import require_small
from balans_dask.io.codecs import known_arrays
from balans_dask.io.elements import COLUMNS, read_element
from balans_dask.io.layout import DOCUMENT, consolidated, relisted, within
from balans_dask.io.paths import is_store
from balans_dask.io.places import is_remote, require_writable
from balans_dask.io.run_folder import RunFolder

__all__ = ["ELEMENTS", "InPlaceFolder"]

ELEMENTS = "elements"
"""Entry of a record that names what a correction has added to a store."""
RECORD = "uns/balans"
GROUPS = ("obs", "obsm", "layers", "uns")


class InPlaceFolder(RunFolder):
    """The folder in which elements grow that a store is to gain.

    Parameters
    ----------
    target : str
        Path of the store.
    elements : sequence of str
        What it gains, such as ``obsm/X_pca_balans``; members of a group stand together, and the
        record is the last.
    read : collection of str
        What the correction reads, and may not replace.

    Raises
    ------
    InvalidInputError
        If the store is in a bucket.
    """

    def __init__(self, target: str, elements: Sequence[str], read: Collection[str] = ()) -> None:
        super().__init__(target)
        if is_remote(self.target):
            raise InvalidInputError(
                f"{target} is in a bucket, which cannot rename: correct into a new store, without "
                "--into"
            )
        self._elements = tuple(elements)
        self._read = frozenset(read)
        # It goes when the store under construction does.
        self._journal = self.last.store / "journal.json"

    def check(self, replace: bool, inputs: tuple[str, ...] = ()) -> None:
        """Refuse a store that cannot gain the elements.

        Raises
        ------
        InvalidInputError
            If it is not Zarr v3, or what is read would be replaced.
        StoreExistsError
            If it holds elements of these names that are not ours, or may not be replaced.
        """
        self._require_writable()
        if self._journal.exists():
            # Elements that a killed run has moved in part: whoever holds the folder finishes that.
            return
        root = read_json(self.target / DOCUMENT)
        if root is None:
            raise InvalidInputError(
                f"{self.given} is not Zarr v3, to which results could be added: correct it into a "
                "new store, or write it again with anndata.settings.zarr_write_format = 3"
            )
        owned = self._owned()
        strange = [name for name in self._elements if name not in owned and self._is_there(name)]
        if strange:
            raise StoreExistsError(
                f"{self.given} holds {len(strange)} elements that --into would write and has not "
                f"written ({first_names(strange)}): rename or remove them"
            )
        read = [name for name in owned if name in self._read]
        if read:
            raise InvalidInputError(
                f"{self.given} holds {len(read)} elements of an earlier correction that this one "
                f"reads and would replace ({first_names(read)}): correct into a new store"
            )
        if owned and not replace:
            raise StoreExistsError(
                f"{self.given} holds {len(owned)} elements of an earlier correction "
                f"({first_names(owned)}): add --overwrite to replace them"
            )

    def _require_writable(self) -> None:
        """Refuse a store that can only be read, or beside which nothing can be written.

        Raises
        ------
        InvalidInputError
        """
        require_writable(self.target)
        linked = [name for name in GROUPS if (self.target / name).is_symlink()]
        if linked:
            raise InvalidInputError(
                f"{self.given} has {len(linked)} links in place of folders ({first_names(linked)}),"
                " behind which another store may be: correct it into a new store, without --into"
            )
        folders = [self.target / group for group in ("", *GROUPS)]
        closed = [place for place in folders if place.exists() and not os.access(place, os.W_OK)]
        if closed:
            raise InvalidInputError(
                f"{self.given} can only be read ({closed[0]}): correct it into a new store, "
                "without --into"
            )

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the folder as ever, and finish what a killed run had begun to move."""
        with super().held():
            if self._journal.exists():
                self._require_writable()
                self._move_in()
                self.clear()
            yield

    def publish(self, replace: bool) -> None:
        """Move the finished elements into the store and remove the folder.

        Elements of an earlier correction leave the listings before they leave their place, for a
        moment in which the store is as it was before any correction.

        Raises
        ------
        StoreExistsError
            If something has appeared in their place that may not be replaced; nothing is lost.
        """
        for torn in self.last.store.rglob("*.partial"):
            torn.unlink()
        self.check(replace)
        write_json(self._journal, {"gone": list(self._owned()), "came": list(self._elements)})
        self._move_in()
        self.discard()

    def discard_remains(self) -> None:
        """Remove what a run killed just after it had published left behind."""
        shutil.rmtree(self.last.store, ignore_errors=True)
        super().discard_remains()

    def _move_in(self) -> None:
        """Do what the journal says and is not done yet."""
        journal = read_json(self._journal) or {}
        gone, came = journal.get("gone"), journal.get("came")
        if not (_are_elements(gone) and _are_elements(came) and came):
            raise InvalidInputError(
                f"{self._journal} is damaged, so nobody knows which elements of {self.given} were "
                f"being replaced: restore it, or remove {self.path} and what --into had added"
            )
        if gone:
            for group in ("", *GROUPS):
                self._list(group, gone, [])
            for name in gone:
                if name not in came or (self.last.store / name).exists():
                    self._take_out(name)
        for group, names in groupby(came, lambda name: str(PurePosixPath(name).parent)):
            moved = list(names)
            self._take_in(group, moved)
            self._list(group, [], moved)
        self._list("", [], came)
        if self.events.exists():
            self._publish_events()
        sync_folder(self.target.parent)
        self._journal.unlink()

    def _take_out(self, name: str) -> None:
        if (self.target / name).exists():
            aside = self.last.store / "replaced" / name
            aside.parent.mkdir(parents=True, exist_ok=True)
            (self.target / name).rename(aside)

    def _take_in(self, group: str, names: Sequence[str]) -> None:
        grown = self.last.store
        folder = self.target / group
        if not (folder / DOCUMENT).exists():
            folder.mkdir(exist_ok=True)
            self._replace(folder / DOCUMENT, read_json(grown / group / DOCUMENT) or {})
        for name in names:
            if (grown / name).exists():
                (grown / name).rename(self.target / name)
        sync_folder(folder)

    def _list(self, group: str, gone: Collection[str], came: Collection[str]) -> None:
        """Say in a group's metadata what it holds now, by one rename."""
        path = self.target / group / DOCUMENT
        before = read_json(path)
        if before is None:
            return
        grown = consolidated(read_json(self.last.store / DOCUMENT) or {})
        groups = {str(PurePosixPath(name).parent) for name in came}
        members = {p: grown[p] for p in grown if p in groups or within(p, came)}
        after = relisted(before, group, gone, came, members)
        if after != before:
            self._replace(path, after)

    def _replace(self, path: Path, document: dict[str, Any]) -> None:
        """Write beside the store first: programs that list it would wonder about a stray file."""
        grown = self.last.store / "listing.json"
        write_json(grown, document)
        grown.replace(path)
        sync_folder(path.parent)

    def _is_there(self, name: str) -> bool:
        if (self.target / name).exists():
            return True
        root = read_json(self.target / DOCUMENT) or {}
        table = read_json(self.target / "obs" / DOCUMENT) or {}
        columns = [f"obs/{column}" for column in table.get("attributes", {}).get(COLUMNS, [])]
        return name in columns or name in consolidated(root)

    def _owned(self) -> tuple[str, ...]:
        """Elements that an earlier correction says it has added."""
        record = self.target / RECORD
        if not is_store(str(record)):
            return ()
        try:
            group = zarr.open_group(record, mode="r")
            require_small(known_arrays(group, record), record)
            found: Any = read_element(group)
            listed = np.atleast_1d(found[ELEMENTS])
        except Exception:  # noqa: BLE001  (anndata wraps whatever a torn element raises)
            return ()
        named = [str(name) for name in listed]
        return tuple(name for name in named if _is_element(name) and (self.target / name).exists())


def _are_elements(names: Any) -> bool:
    """Tell whether a journal lists what may be moved."""
    return isinstance(names, list) and all(isinstance(n, str) and _is_element(n) for n in names)


def _is_element(name: str) -> bool:
    """Tell whether a name is that of a member of a group that a correction writes to."""
    group, _, member = name.partition("/")
    return group in GROUPS and member not in {"", ".", "..", DOCUMENT} and "/" not in member
