"""What is written last is tried first, and what is finished is read once more.

Annotations are the last thing that a run writes, and names of theirs become names of folders. A few
rows of them are written in memory by the writer itself and read as any reader would, so that a run
that could not end does not begin.
"""

import json
import re
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import zarr
from zarr.storage import MemoryStore

from balans_dask.errors import InvalidInputError, RunError, exhaustion, first_line
from balans_dask.io.elements import COLUMNS, INDEX, read_element
from balans_dask.io.layout import (
    create_matrix,
    create_root,
    list_members,
    regrouped,
    write_annotations,
)
from balans_dask.io.places import FAILING, is_remote, tried_beside, zarr_place
from balans_dask.io.tables.columns import alike, is_storable

__all__ = ["FEW", "require_readable", "try_annotations"]

FEW = 3
"""Rows that are tried: what can be written does not depend on their number."""
TABLES = ("obs", "var")
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
"""Names of folders in any file system, unless another one differs in case only."""


def try_annotations(
    path: str,
    elements: Mapping[str, Any],
    matrices: Sequence[str] = (),
    place: Path | None = None,
) -> None:
    """Write the annotations of a few rows to nowhere, and read them back.

    Parameters
    ----------
    path : str
        What to call their source in an error.
    elements : mapping of str to object
        As ``write_annotations`` takes them, with few rows.
    matrices : sequence of str
        Keys of the matrices beside them, such as ``obsm/X_pca_balans``.
    place : Path or None
        Where the output is to be; ``None`` if that is not known yet.

    Raises
    ------
    InvalidInputError
        If they cannot be written, or not be read again, or a name cannot be that of a file there.

    Notes
    -----
    Cost: some 50 ms. Of columns with plain names one of each type is tried.
    """
    contents: dict[str, Any] = {}
    store = MemoryStore(contents)
    try:
        root = create_root(store)
        write_annotations(root, {key: _of_each_kind(part) for key, part in elements.items()})
        for key in matrices:
            if not is_storable(key.rpartition("/")[2]):
                raise ValueError(f"{key} cannot be the name of a file")
            create_matrix(root, key, (1, 1), np.dtype(np.float32), (1, 1))
        list_members(store)
        listed = contents["zarr.json"]
        document = regrouped(json.loads(listed.to_bytes()))
        contents["zarr.json"] = type(listed).from_bytes(json.dumps(document).encode())
        read = zarr.open_group(store, mode="r")
        _read(read)
        for key in (*elements, *matrices):
            read[key]
    except Exception as error:  # every library has errors of its own
        raise exhaustion(error) or InvalidInputError(
            f"{path} has annotations that a store cannot hold ({_named(error)}): rename or remove "
            "them"
        ) from error
    if place is None or not is_remote(place):
        _try_names(contents, place or Path(tempfile.gettempdir()) / "trial")


def _of_each_kind(element: Any) -> Any:
    """Return a table with a column of each type, and all whose names may be refused."""
    if not isinstance(element, pd.DataFrame):
        return element
    names = [str(name) for name in element.columns]
    twins, kinds, kept = set(alike(names)), set(), []
    for place, name in enumerate(names):
        column = element.iloc[:, place]
        values = getattr(column.dtype, "categories", column)
        kind = (type(column.dtype), str(values.dtype), pd.api.types.infer_dtype(values))
        if kind not in kinds or name in twins or not _PLAIN.fullmatch(name):
            kept.append(place)
        kinds.add(kind)
    return element.iloc[:, kept]


def require_readable(store: Path, remedy: str) -> None:
    """Read the annotations of a finished store, column by column, as any reader would.

    Parameters
    ----------
    remedy : str
        What to do if that fails.

    Raises
    ------
    RunError
    """
    try:
        _read(zarr.open_group(zarr_place(store), mode="r"))
    except Exception as error:  # every library has errors of its own
        raise exhaustion(error) or RunError(
            f"what was written cannot be read ({first_line(error)}), and is not put out: {remedy}"
        ) from error


def _read(root: zarr.Group) -> None:
    """Read all annotations, one column at a time; of matrices, what is said about them."""
    n_rows = root["X"].shape[0] if "X" in root else None
    for name, member in root.members():
        if name in TABLES:
            columns: Iterator[Any] = (read_element(member[column]) for column in _columns(member))
            lengths = {len(column) for column in columns}
            if len(lengths) > 1 or (name == "obs" and n_rows is not None and lengths != {n_rows}):
                raise ValueError(f"{name} has columns of {sorted(lengths)} rows")
        elif name == "uns":
            read_element(member)
        elif isinstance(member, zarr.Group):
            list(member.members(max_depth=None))


def _named(error: Exception) -> str:
    """Return what an error says, and of which key, which anndata adds as a note."""
    notes = "".join(getattr(error, "__notes__", []))
    found = re.search("key '(.*?)' of", notes)
    return first_line(error) if found is None else f"{found[1]}: {first_line(error)}"


def _columns(table: zarr.Group) -> list[str]:
    attributes: Mapping[str, Any] = table.attrs
    return [str(attributes[INDEX]), *attributes[COLUMNS]]


def _is_plain(name: str) -> bool:
    return name == INDEX or _PLAIN.fullmatch(name) is not None


def _try_names(keys: Iterable[str], place: Path) -> None:
    """Make a folder for every name that is not one in just any file system."""
    groups: dict[str, set[str]] = defaultdict(set)
    for key in keys:
        # What is deeper has names of ours.
        group, *names = key.split("/")
        if len(names) > 1:
            groups[group].add(names[0])
    odd = sorted(
        (group, name)
        for group, names in groups.items()
        for name in {*alike(names), *(name for name in names if not _is_plain(name))}
    )
    if not odd:
        return
    with tried_beside(place) as folder:
        for group, name in odd:
            (folder / group).mkdir(exist_ok=True)
            try:
                (folder / group / name).mkdir()
            except FileExistsError as error:
                raise InvalidInputError(
                    f"{group}/{name} and another name are one in the file system of "
                    f"{place.parent}, which does not tell them apart: rename one of them"
                ) from error
            except (OSError, ValueError) as error:
                if getattr(error, "errno", None) in FAILING:
                    raise
                reason = getattr(error, "strerror", None) or error
                raise InvalidInputError(
                    f"{group}/{name} cannot be the name of a file ({reason}): rename it"
                ) from error
