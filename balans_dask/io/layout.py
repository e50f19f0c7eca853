"""AnnData on Zarr v3, as this package writes it: encodings, chunks, shards and codec.

Each of the dozens of small arrays of a table would ask one after another what is there, in a bucket
by ten requests. They are made in memory, and their files are written at once.

Edited as JSON, so that whatever else another program has written there stays.
"""

import warnings
from collections import defaultdict
from collections.abc import Collection, Mapping
from copy import deepcopy
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec
from zarr.storage import MemoryStore

from balans_dask.io.atomic import read_json, write_json
from balans_dask.io.elements import COLUMNS, write_element
from balans_dask.io.files import is_file, put_files
from balans_dask.io.places import place_of, place_of_zarr, zarr_place
from balans_dask.tiling import TILE_ROWS, largest_power_of_two

__all__ = [
    "DOCUMENT",
    "SMALL_CODECS",
    "consolidate",
    "consolidated",
    "create_columns",
    "create_matrix",
    "create_root",
    "is_grouped",
    "list_members",
    "regrouped",
    "relisted",
    "row_layout",
    "within",
    "write_annotations",
]

DOCUMENT = "zarr.json"
"""File that begins a group."""
TABLE = "obs"
CHUNK_BYTES = 2 * 2**20
SHARD_BYTES = 8 * 2**20
SMALL_CODECS = (ZstdCodec(level=0), Crc32cCodec())
"""Of everything but large matrices: Zarr's own choice, and a checksum that shows a changed bit."""
SHARD_TILES = 4
"""A task writes whole shards, so shards of few columns must not grow beyond a partition."""


def consolidated(document: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata of all members by path from the group; empty if the group lists none."""
    listed = document.get("consolidated_metadata")
    found = listed.get("metadata") if isinstance(listed, dict) else None
    return found if isinstance(found, dict) else {}


def is_grouped(document: Mapping[str, Any]) -> bool:
    """Tell whether the members of every group stand together, as Zarr wants to read them.

    Zarr lists them in an order in which the members of groups stand mixed that differ in case only,
    or in the form of their Unicode, and then loses some.
    """
    levels = sorted(consolidated(document), key=lambda name: name.count("/"))
    groups = [group for group, _ in groupby(levels, lambda name: name.rpartition("/")[0])]
    return len(groups) == len(set(groups))


def regrouped(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata of a group that lists the members of every group together.

    Parameters
    ----------
    document : mapping
        Its ``zarr.json``.
    """
    changed = dict(document)
    if isinstance(changed.get("consolidated_metadata"), dict):
        members = dict(sorted(consolidated(document).items()))
        changed["consolidated_metadata"] = {
            **changed["consolidated_metadata"],
            "metadata": members,
        }
    return changed


def within(path: str, elements: Collection[str]) -> bool:
    """Tell whether a path is one of some elements, or lies in one."""
    return any(path == element or path.startswith(f"{element}/") for element in elements)


def relisted(
    document: Mapping[str, Any],
    group: str,
    gone: Collection[str],
    came: Collection[str],
    members: Mapping[str, Any],
) -> dict[str, Any]:
    """Return what a group says of itself once elements have gone and others have come.

    Parameters
    ----------
    document : mapping
        Its ``zarr.json``.
    group : str
        Path of the group; empty for the root.
    gone, came : collection of str
        Elements, such as ``obsm/X_pca_balans`` or ``obs/balans_covered``.
    members : mapping of str to JSON
        Metadata of what has come, of all below it, and of groups that may be new.
    """
    changed = deepcopy(dict(document))
    prefix = f"{group}/" if group else ""
    if isinstance(changed.get("consolidated_metadata"), dict):
        old = consolidated(changed)
        listed = {name: old[name] for name in old if not within(prefix + name, gone)}
        for path, metadata in members.items():
            if path.startswith(prefix):
                listed.setdefault(path.removeprefix(prefix), metadata)
        if not group and TABLE in listed:
            listed[TABLE] = _with_columns(listed[TABLE], gone, came)
        # Zarr wants the members of a group to stand together.
        changed["consolidated_metadata"]["metadata"] = dict(sorted(listed.items()))
    return _with_columns(changed, gone, came) if group == TABLE else changed


def _with_columns(
    table: Mapping[str, Any], gone: Collection[str], came: Collection[str]
) -> dict[str, Any]:
    attributes = dict(table.get("attributes", {}))
    old = [name for name in attributes.get(COLUMNS, []) if f"{TABLE}/{name}" not in gone]
    new = [path.removeprefix(f"{TABLE}/") for path in came if path.startswith(f"{TABLE}/")]
    attributes[COLUMNS] = [*old, *(name for name in new if name not in old)]
    return {**table, "attributes": attributes}


def row_layout(n_rows: int | None, row_bytes: int) -> tuple[int, int]:
    """Choose the rows of a chunk and of a shard, from sizes alone.

    The layout never depends on workers or memory, so equal results make equal files.

    Parameters
    ----------
    n_rows : int or None
        ``None`` if not known yet but more than one shard.

    Returns
    -------
    chunk_rows, shard_rows : int
        A shard is a power of two of tiles (or all rows, if they are fewer), and whole chunks.
    """
    chunk_rows = min(TILE_ROWS, largest_power_of_two(max(1, CHUNK_BYTES // row_bytes)))
    tiles = min(SHARD_TILES, SHARD_BYTES // (row_bytes * TILE_ROWS))
    shard_rows = largest_power_of_two(max(1, tiles)) * TILE_ROWS
    if n_rows is not None and n_rows < shard_rows:
        chunk_rows = min(chunk_rows, n_rows)
        shard_rows = -(-n_rows // chunk_rows) * chunk_rows
    return chunk_rows, shard_rows


def create_root(path: str | Path | MemoryStore) -> zarr.Group:
    """Create an empty AnnData store at a path where nothing is, or in memory."""
    if isinstance(path, MemoryStore):
        root = zarr.create_group(path, zarr_format=3)
        _fill_root(root)
        return root
    place = place_of(path)
    put_files(place, _empty_root())
    return zarr.open_group(zarr_place(place), mode="r+", use_consolidated=False)


@cache
def _empty_root() -> dict[str, bytes]:
    """Files of an empty store: every pass begins with them."""
    root, contents = _memory_root()
    _fill_root(root)
    return _files_of(contents)


def _fill_root(root: zarr.Group) -> None:
    root.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
    for name in ("layers", "obsm", "obsp", "uns", "varm", "varp"):
        write_element(root, name, {}, SMALL_CODECS)


def create_matrix(
    root: zarr.Group,
    name: str,
    shape: tuple[int, int],
    dtype: np.dtype[Any],
    layout: tuple[int, int],
) -> zarr.Array:
    """Create a dense matrix, in which rows not written yet read as NaN.

    Parameters
    ----------
    name : str
        Such as ``X`` or ``obsm/X_pca_balans``.
    dtype : dtype
        Floating.
    layout : tuple of int
        Rows of a chunk and of a shard.
    """
    chunk_rows, shard_rows = layout
    array = root.create_array(
        name,
        shape=shape,
        chunks=(chunk_rows, shape[1]),
        shards=(shard_rows, shape[1]),
        dtype=dtype,
        fill_value=np.nan,
        compressors=[
            BloscCodec(cname="lz4", clevel=5, shuffle="shuffle", typesize=dtype.itemsize),
            # Blosc decodes a changed bit to other numbers without a word.
            Crc32cCodec(),
        ],
        # An all-zero chunk must be on disk too: only then is an absent file a lost one.
        config={"write_empty_chunks": True},
    )
    array.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    return array


def create_columns(
    root: zarr.Group,
    name: str,
    shape: tuple[int, int],
    dtype: np.dtype[Any],
    chunks: tuple[int, int],
) -> zarr.Array:
    """Create a matrix for a moment, in chunks of a few columns.

    Parameters
    ----------
    dtype : dtype
        Floating.
    chunks : tuple of int
        Rows and columns that one task writes.
    """
    codec = BloscCodec(cname="lz4", clevel=1, shuffle="shuffle", typesize=dtype.itemsize)
    return root.create_array(name, shape=shape, chunks=chunks, dtype=dtype, compressors=codec)


def write_annotations(root: zarr.Group, elements: Mapping[str, Any]) -> None:
    """Write obs, var and the like, which are not there yet: anything but a large matrix.

    The versions of anndata and pandas do not change the layout: text is stored plainly but where
    its type has room for missing values, and nothing in shards.

    Parameters
    ----------
    elements : mapping of str to object
        By key, such as ``obs`` or ``uns/balans``.
    """
    place = place_of_zarr(root.store)
    for key, element in elements.items():
        plain = _with_plain_text(element) if isinstance(element, pd.DataFrame) else element
        if place is None:
            _write(root, key, plain)
            continue
        made = _element_files(key, plain)
        inside = f"{key}/"
        # Groups around it say more about themselves where they are.
        around = [name for name in made if not name.startswith(inside)]
        there = {name for name in around if is_file(place / name)}
        put_files(place, {name: made[name] for name in made if name not in there})


def _memory_root() -> tuple[zarr.Group, dict[str, Any]]:
    """Make a root in memory, whose files appear in a dictionary."""
    contents: dict[str, Any] = {}
    return zarr.create_group(MemoryStore(contents), zarr_format=3), contents


def _files_of(contents: Mapping[str, Any]) -> dict[str, bytes]:
    return {name: content.to_bytes() for name, content in contents.items()}


def _element_files(key: str, element: Any) -> dict[str, bytes]:
    """Write an element in memory, and return its files by their names.

    A record holds dozens of scalars, for each of which anndata makes an array. Those of one type
    differ in what is in their chunk alone.
    """
    root, contents = _memory_root()
    scalars: dict[Any, dict[str, Any]] = defaultdict(dict)
    _write(root, key, _apart(element, key, scalars))
    for values in scalars.values():
        first, *others = values
        _write(root, first, values[first])
        array = root[first]
        for path in (*others, first):
            array[()] = values[path]
            for file in (DOCUMENT, "c"):
                # There is no chunk of nothing but fill values.
                if f"{first}/{file}" in contents:
                    contents[f"{path}/{file}"] = contents[f"{first}/{file}"]
    return _files_of(contents)


def _apart(element: Any, key: str, scalars: dict[Any, dict[str, Any]]) -> Any:
    """Return dictionaries without their scalars, which are put among those of their type."""
    if not isinstance(element, Mapping):
        return element
    kept = {}
    for name, value in element.items():
        kind = _kind(value)
        if kind is None or "/" in name:
            kept[name] = _apart(value, f"{key}/{name}", scalars)
        else:
            scalars[kind][f"{key}/{name}"] = value
    return kept


def _kind(value: Any) -> Any:
    """Return what scalars share whose arrays differ in a chunk alone; ``None`` of what is none."""
    if type(value) is str:
        return str
    kind = np.asarray(value).dtype if type(value) in (int, float, bool) else np.dtype(object)
    return None if kind.hasobject else kind


def _write(root: zarr.Group, key: str, element: Any) -> None:
    group, _, name = key.rpartition("/")
    parent = root.require_group(group) if group else root
    write_element(parent, name, element, SMALL_CODECS)


def _with_plain_text(frame: pd.DataFrame) -> pd.DataFrame:
    """Return text that pandas 3 made of plain text as objects, unless some is missing."""
    plain = [name for name in frame.columns if _is_plain_text(frame[name])]
    frame = frame.astype(dict.fromkeys(plain, object))
    return frame.set_axis(frame.index.astype(object)) if _is_plain_text(frame.index) else frame


def _is_plain_text(values: Any) -> bool:
    kind = values.dtype
    if not isinstance(kind, pd.StringDtype) or kind.na_value is pd.NA:
        return False
    return not values.isna().any()


def consolidate(store: Path) -> None:
    """List all members of a store in one place, so that opening it reads one file."""
    list_members(zarr_place(store))
    document = read_json(store / DOCUMENT) or {}
    if not is_grouped(document):
        write_json(store / DOCUMENT, regrouped(document))


def list_members(store: Any) -> None:
    """Let Zarr list all members of a store in its root, in an order that may not be read again."""
    with warnings.catch_warnings():
        # That other programs may not read the list is no concern of who saves a model.
        warnings.filterwarnings("ignore", "Consolidated metadata is currently not part")
        zarr.consolidate_metadata(store)
