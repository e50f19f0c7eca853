"""Stores that somebody has prepared: one array of them is rewritten, by hand."""

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

Document = dict[str, Any]


class Opens:
    """What makes a folder when it is unpickled: code that a store would run."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def copied(source: Path | str, target: Path) -> Path:
    """A copy of a store, to be spoiled."""
    shutil.copytree(source, target)
    return target


def rewrite(store: Path, array: str, change: Callable[[Document], object], where: str = "") -> None:
    """Change the metadata of an array of either format: its own, the consolidated, or both."""
    own = store / array / ".zarray"
    if own.exists():
        listing, path = store / ".zmetadata", ("metadata", f"{array}/.zarray")
    else:
        own = store / array / "zarr.json"
        listing, path = store / "zarr.json", ("consolidated_metadata", "metadata", array)
    if where != "consolidated":
        _rewrite(own, (), change)
    if where != "own":
        _rewrite(listing, path, change)


def fill(store: Path, array: str, content: bytes) -> None:
    """Replace every stored chunk of an array."""
    for file in (store / array).rglob("*"):
        if file.is_file() and not file.name.startswith(".z") and file.name != "zarr.json":
            file.write_bytes(content)


def pickled(store: Path, array: str, opens: Path, where: str = "") -> None:
    """Store an array of a Zarr v2 store by pickle: whoever decodes it makes the folder."""

    def change(document: Document) -> None:
        document["filters"] = [*(document["filters"] or []), {"id": "pickle", "protocol": 4}]
        document["compressor"] = None

    rewrite(store, array, change, where)
    fill(store, array, pickle.dumps(Opens(opens)))


def _rewrite(file: Path, path: tuple[str, ...], change: Callable[[Document], object]) -> None:
    document = json.loads(file.read_text())
    part = document
    for name in path:
        part = part[name]
    change(part)
    file.write_text(json.dumps(document))
