"""What a Zarr v3 group says of its members: consolidated metadata, and the columns of a table.

Edited as JSON, so that whatever else another program has written there stays.
"""

from collections.abc import Collection, Mapping
from copy import deepcopy
from itertools import groupby
from typing import Any

__all__ = [
    "COLUMNS",
    "DOCUMENT",
    "consolidated",
    "is_grouped",
    "regrouped",
    "relisted",
    "within",
]

DOCUMENT = "zarr.json"
"""File that begins a group."""
COLUMNS = "column-order"
"""Attribute of a table that lists its columns."""
TABLE = "obs"


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
