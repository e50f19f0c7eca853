"""A store becomes parquet tables with a manifest: all of it or nothing, and nothing is replaced."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from balans_dask.errors import InvalidInputError
from balans_dask.io.atomic import sync_folder, write_json
from balans_dask.io.paths import MANIFEST, path_from, require_apart, require_free_file
from balans_dask.io.places import is_url, place_of, resolved
from balans_dask.io.run_folder import RunFolder, check_output
from balans_dask.io.store import open_store
from balans_dask.io.tables.export import export_tables, file_of, manifest_of, tables_of
from balans_dask.workflows.records import correction_record, package_versions

__all__ = ["export_store"]


def export_store(
    path: str, target: str, matrix: str = "X", by: Sequence[str] = (), overwrite: bool = False
) -> dict[str, Any]:
    """Write a store as parquet in the column convention of JUMP.

    Annotations come first, all as ``Metadata_*``, with source, batch, plate, well and JCP2022 as
    text; then the features by their names, as float32, or float64 where the store is more exact.

    Parameters
    ----------
    path : str
        Of the store.
    target : str
        A file that ends in ``.parquet``, or a folder.
    matrix : str
        ``X``, or a matrix of ``obsm``, whose columns are called ``X_1``, ``X_2``, ...
    by : sequence of str
        Columns of ``obs``: a file for every combination of labels, in folders by all but the last.
    overwrite : bool
        Replace what an earlier export has written there.

    Returns
    -------
    manifest : dict
        Also written: as ``manifest.json`` in the folder, or beside the file under its name.

    Raises
    ------
    InvalidInputError
        If the store, the matrix or a column cannot be used.
    StoreExistsError
        If something is at the target that may not be replaced.

    Notes
    -----
    Cost: every chunk is read once if the rows of a file lie together in the store; memory as
    ``io.tables.export.export_tables`` says.
    """
    if is_url(target):
        raise InvalidInputError(
            f"{target} is a URL, and tables are written to this machine: name a path, and copy them"
        )
    one_file = target.lower().endswith(".parquet")
    if one_file and by:
        raise InvalidInputError(
            f"{target} is one file, and --by {by[0]} makes several: name a folder"
        )
    if one_file:
        require_apart(target, (path,))
        for place in (target, _manifest_beside(target)):
            require_free_file(place, overwrite)
    else:
        check_output(target, overwrite, (path,))
    store = open_store(path)
    own = Path(target).name if one_file else file_of(resolved(place_of(path)).stem)
    tables = tables_of(store, by, own)
    record = correction_record(store)
    folder = RunFolder(target)
    with folder.held_afresh(overwrite):
        try:
            files = export_tables(store, matrix, tables, folder.last.store)
            manifest = manifest_of(
                store,
                path_from(target, path),
                matrix,
                by,
                files,
                None if record is None else str(record["fingerprint"]),
                package_versions(),
            )
            write_json(folder.last.store / MANIFEST, manifest)
            if one_file:
                _publish_file(folder, overwrite)
            else:
                folder.publish(overwrite)
        finally:
            folder.discard()
    return manifest


def _manifest_beside(target: str) -> str:
    return f"{target}.{MANIFEST}"


def _publish_file(folder: RunFolder, overwrite: bool) -> None:
    """Move a table to its place, then its manifest: none ever stands beside another table."""
    target, beside = str(folder.target), _manifest_beside(str(folder.target))
    for place in (target, beside):
        require_free_file(place, overwrite)
    Path(beside).unlink(missing_ok=True)
    (folder.last.store / folder.target.name).replace(target)
    (folder.last.store / MANIFEST).replace(beside)
    sync_folder(folder.target.parent)
