"""How a finished store appears in a bucket, which cannot rename a folder.

Its objects are copied within the bucket, in parallel, and the root ``zarr.json`` last: without it
nothing opens. A store that is replaced loses its root first, and for a moment neither is there. A
mark in the run's folder says that what lies at the target is such a half; a run killed in between
is continued by doing all of it again.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from balans_dask.io.atomic import write_json
from balans_dask.io.files import files_below, is_file, remove_file, remove_tree
from balans_dask.io.paths import STORE_NAMES

__all__ = ["is_half_published", "publish_by_copy"]

MARK = "publishing"
ROOT = "zarr.json"


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
