"""Small parts of a store in a bucket: made in memory, and put all at once.

Each of the dozens of small arrays of a table would take ten requests one after another, most of
them to ask what is there.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import zarr
from zarr.storage import MemoryStore

from balans_dask.io.files import remove_tree

__all__ = ["put_group"]


def put_group(store: Path, fill: Callable[[zarr.Group], Any], key: str = "") -> None:
    """Make a part of a store, replacing what is in its place.

    Parameters
    ----------
    store : Path
        In a bucket.
    fill : callable
        Fills an empty root.
    key : str
        The part, such as ``uns/balans``; else the whole root.
    """
    contents: dict[str, Any] = {}
    fill(zarr.create_group(MemoryStore(contents), zarr_format=3))
    part: Any = store / key if key else store
    remove_tree(part)
    inside = f"{key}/" if key else ""
    part.fs.pipe(
        {
            f"{part.path}/{name.removeprefix(inside)}": content.to_bytes()
            for name, content in contents.items()
            if name.startswith(inside)
        }
    )
