"""Opening a store of profiles, read-only."""

import shlex
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import zarr

from balans_dask.errors import (
    BalansError,
    InvalidInputError,
    did_you_mean,
    exhaustion,
    first_line,
    first_names,
    warn_of_input,
)
from balans_dask.io.atomic import read_json
from balans_dask.io.chunks import folder_of, has_every_chunk, require_every_chunk, require_small
from balans_dask.io.codecs import known_arrays
from balans_dask.io.elements import COLUMNS, read_element
from balans_dask.io.files import is_file
from balans_dask.io.layout import DOCUMENT, is_grouped
from balans_dask.io.paths import is_store, require_exists
from balans_dask.io.places import is_remote, place_of, resolved, zarr_place
from balans_dask.io.tables.annotations import require_no_nul
from balans_dask.io.tables.columns import METADATA_PREFIX, stored_index_name, with_stored_names

__all__ = ["ProfileStore", "open_store"]

OLD_LIST = ".zmetadata"
"""Zarr v2's list of all members of a store."""


@dataclass(frozen=True)
class ProfileStore:
    """An AnnData store on Zarr v2 or v3, whatever its chunks.

    Attributes
    ----------
    path : str
        As the user gave it; of a table that became a store for one run, that of the table.
    root : zarr.Group
        Opened read-only.
    features : zarr.Array of shape (n_rows, n_features)
        The store's ``X``.
    obs, var : DataFrame
        Annotations of rows and of features; a slash in a name has become ``_``.
    limit_bytes : int or None
        Memory that may be used.
    at : str or None
        Where the store lies, if that is not its path.
    """

    path: str
    root: zarr.Group
    features: zarr.Array
    obs: pd.DataFrame
    var: pd.DataFrame
    limit_bytes: int | None = None
    at: str | None = None

    @property
    def _place(self) -> str:
        return self.at or self.path

    @property
    def n_rows(self) -> int:
        """Number of profiles."""
        return int(self.features.shape[0])

    @property
    def embeddings(self) -> list[str]:
        """Names of the matrices in ``obsm``."""
        return sorted(self.root["obsm"].keys()) if "obsm" in self.root else []

    @property
    def elements(self) -> list[str]:
        """Names of what the store holds besides X, obs and var, such as ``obsm/X_umap``."""
        try:
            return [
                f"{group}/{name}"
                for group in ("layers", "obsm", "obsp", "uns", "varm", "varp")
                if group in self.root
                for name in sorted(self.root[group].keys())
            ] + (["raw"] if isinstance(self.root.get("raw"), zarr.Group) else [])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise _unreadable(self.path, error) from error

    def column(self, name: str) -> Any:
        """Return a column of ``obs``.

        Raises
        ------
        InvalidInputError
            If there is none of that name.
        """
        if name not in self.obs.columns:
            raise self._no_column(name)
        # The name in the store may hold a slash, and then names a group in a group.
        table = self.root["obs"]
        stored = dict(zip(self.obs.columns, table.attrs[COLUMNS], strict=True))
        for text, missing in _texts(table, stored[name]):
            require_every_chunk(text, self._place, missing)
        return self.obs[name]

    def _no_column(self, name: str) -> InvalidInputError:
        """Name what was meant: a feature, or the nearest column."""
        if name in self.var.index:
            return InvalidInputError(
                f"{name!r} is a feature of {self.path}, and no column of obs: convert the table "
                f"again with --metadata-prefix {METADATA_PREFIX} --metadata-prefix "
                f"{shlex.quote(name)}, or call it {METADATA_PREFIX}{name} there"
            )
        columns = [str(column) for column in self.obs.columns]
        near = did_you_mean(name, columns, METADATA_PREFIX)
        return InvalidInputError(
            f"{self.path} has no column {name!r} in obs"
            + (near or f": choose one of its {len(columns)} columns, {first_names(columns)}")
        )

    def element(self, name: str) -> Any:
        """Read an element that is small, such as ``uns/balans``.

        Raises
        ------
        InvalidInputError
            If it cannot be read.
        """
        try:
            require_small(_arrays(self.root[name]), self._place, self.limit_bytes)
            return read_element(self.root[name])
        except InvalidInputError:
            raise
        except Exception as error:  # anndata wraps whatever a torn element raises
            raise _unreadable(self.path, error) from error

    def embedding(self, basis: str) -> zarr.Array:
        """Return a matrix of ``obsm``.

        Raises
        ------
        InvalidInputError
            If it is missing, not dense or has other rows.
        """
        names = self.embeddings
        if basis not in names:
            raise InvalidInputError(
                f"{self.path} has no {basis!r} in obsm: choose one of its {len(names)} "
                f"matrices{', ' + first_names(names) if names else ''}, or leave out --basis"
            )
        return _dense(self.root["obsm"][basis], f"{self.path}: obsm/{basis}", self.n_rows)


def open_store(path: str, limit_bytes: int | None = None) -> ProfileStore:
    """Open a store and check that it holds profiles.

    Parameters
    ----------
    limit_bytes : int or None
        Memory that may be used, if less than there is.

    Raises
    ------
    InvalidInputError
        If there is no AnnData store at the path, its parts do not fit each other, or one of its
        arrays is stored by a codec that is not read.
    """
    require_exists(path)
    if not is_store(path):
        raise InvalidInputError(f"{path} is not a Zarr store: make one with `balans convert`")
    # Absolute, because workers may have another working directory.
    place = resolved(place_of(path))
    try:
        return _opened(path, place, limit_bytes)
    except InvalidInputError:
        # The list of Zarr v2 does not show whether it lacks some.
        has_old_list = is_file(place / OLD_LIST)
        if not has_old_list and is_grouped(read_json(place / DOCUMENT) or {}):
            raise
        # A list that Zarr has made lacks members of groups whose names differ in case only.
        with suppress(InvalidInputError):
            return _opened(path, place, limit_bytes, listed=False)
        raise


def _opened(path: str, place: Path, limit_bytes: int | None, listed: bool = True) -> ProfileStore:
    """Open what is at a place, by the list of its members or without it."""
    try:
        consolidated = None if listed else False
        root = zarr.open_group(zarr_place(place), mode="r", use_consolidated=consolidated)
        known_arrays(root, path)
        missing = [name for name in ("X", "obs", "var") if name not in root]
    except InvalidInputError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _unreadable(path, error) from error
    if missing:
        raise InvalidInputError(
            f"{path} is a Zarr store without {', '.join(missing)}, not AnnData: "
            "make one with `balans convert`"
        )
    try:
        obs, var = (_frame(path, root, name, limit_bytes) for name in ("obs", "var"))
    except InvalidInputError:
        raise
    except Exception as error:  # anndata wraps whatever a torn element raises
        raise _unreadable(path, error) from error
    features = _dense(root["X"], f"{path}: X", None)
    if features.shape != (len(obs), len(var)):
        raise InvalidInputError(
            f"{path} has X of shape {features.shape} with {len(obs)} rows in obs and {len(var)} "
            "in var: write the store again"
        )
    return ProfileStore(path, root, features, obs, var, limit_bytes)


def _frame(path: str, root: zarr.Group, name: str, limit_bytes: int | None) -> pd.DataFrame:
    element = root[name]
    require_small(_arrays(element), path, limit_bytes)
    frame = read_element(element)
    if not isinstance(frame, pd.DataFrame):
        raise InvalidInputError(f"{path} has no table in {name}: write it as a data frame")
    index = str(element.attrs["_index"])
    for text, mask in _texts(element, index):
        # Zarr v3 makes the folder of chunks with the first of them: without it all names are empty.
        first = folder_of(text, path) / text.metadata.encode_chunk_key((0,) * text.ndim)
        if is_remote(first) or first.parent.exists():
            require_every_chunk(text, path, mask)
    lost = sorted(
        {
            text.path
            for column in element
            for text, mask in _texts(element, column)
            if not has_every_chunk(text, path, mask)
        }
    )
    if lost:
        warn_of_input(
            f"{path} holds no text in {len(lost)} arrays ({first_names(lost)}): restore them if "
            "it is lost"
        )
    if name == "obs":
        require_no_nul(path, frame)
    # AnnData of 0.11 and before wrote names with a slash, which it does not take any more.
    frame = with_stored_names(f"{path}: {name}", frame)
    frame.index.name = stored_index_name(frame)
    return frame


def _arrays(element: zarr.Array | zarr.Group) -> list[zarr.Array]:
    if isinstance(element, zarr.Array):
        return [element]
    members = [member for _, member in element.members(max_depth=None)]
    return [member for member in members if isinstance(member, zarr.Array)]


def _texts(table: zarr.Group, column: str) -> list[tuple[zarr.Array, zarr.Array | None]]:
    """Find the arrays of text of a column, each with the mask of what is missing, if it has one.

    A column of text is an array, categories, or values beside a mask; anndata 0.7 keeps the
    categories of all columns apart.
    """
    element = table[column]
    arrays = [array for array in _arrays(element) if array.dtype.kind in "OTU"]
    mask = element.get("mask") if isinstance(element, zarr.Group) else None
    found = [(array, mask if isinstance(mask, zarr.Array) else None) for array in arrays]
    apart = element.attrs.get("categories")
    return found + (_texts(table, str(apart)) if apart is not None else [])


def _dense(element: Any, what: str, n_rows: int | None) -> zarr.Array:
    if not isinstance(element, zarr.Array):
        raise InvalidInputError(f"{what} is sparse or not a matrix: store it as a dense array")
    if element.ndim != 2 or element.dtype.kind not in "iuf":
        raise InvalidInputError(
            f"{what} has shape {element.shape} and type {element.dtype}: "
            "store a numeric matrix of profiles by features"
        )
    if n_rows is not None and element.shape[0] != n_rows:
        raise InvalidInputError(f"{what} has {element.shape[0]} rows, X has {n_rows}")
    return element


def _unreadable(path: str, error: Exception) -> BalansError:
    if out := exhaustion(error):
        return out
    reason = first_line(error)
    if isinstance(error, RecursionError):
        reason = "its metadata are nested too deep"
    return InvalidInputError(f"{path} cannot be read as AnnData on Zarr ({reason}): write it again")
