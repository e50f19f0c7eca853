"""Which reader opens a table of profiles, and how the tables of a folder become one."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from balans_dask.errors import InvalidInputError, first_names
from balans_dask.io.files import files_below
from balans_dask.io.paths import is_export, require_exists
from balans_dask.io.places import place_of, resolved
from balans_dask.io.plate_files import TABLE_SUFFIXES, PlateFile, chosen_files
from balans_dask.io.tables.columns import ColumnRule
from balans_dask.io.tables.csv_table import open_csv
from balans_dask.io.tables.h5ad_table import open_h5ad
from balans_dask.io.tables.parquet_table import open_parquet
from balans_dask.io.tables.partitions import Partitions
from balans_dask.io.tables.row_stream import RowStream, Slab

__all__ = ["open_table"]


def open_table(path: str, rule: ColumnRule | None = None, pattern: str | None = None) -> RowStream:
    """Open a parquet, csv, csv.gz or h5ad file, or a folder of parquet or csv files.

    Suffixes may be in upper case. In a folder, hidden files are left out.

    Parameters
    ----------
    path : str
    rule : ColumnRule or None
        Which columns are features; ``None`` for every number that is not ``Metadata_*``.
    pattern : str or None
        Glob for the files of a folder.

    Raises
    ------
    InvalidInputError
        If the format is none of these, or the table holds no features.
    """
    source = place_of(path)
    require_exists(path)
    if source.is_dir():
        exported = is_export(source)
        files = chosen_files(path, _tables_in(source, exported), pattern, exported)
        return _joined(path, files, rule or ColumnRule())
    if pattern is not None:
        raise InvalidInputError(f"{path} is one file, and --pattern chooses some of a folder")
    name = source.name.lower()
    if name.endswith(TABLE_SUFFIXES):
        return _open_file(path, rule or ColumnRule())
    if name.endswith(".h5ad"):
        if rule not in (None, ColumnRule()):
            raise InvalidInputError(
                f"{path} says itself what its features are: leave out the preset and prefixes"
            )
        return open_h5ad(path)
    raise InvalidInputError(
        f"{path} has no known format: give .parquet, .csv, .csv.gz, .h5ad or a folder of .parquet"
    )


def _open_file(path: str, rule: ColumnRule) -> RowStream:
    return open_parquet(path, rule) if path.lower().endswith(".parquet") else open_csv(path, rule)


def _tables_in(folder: Path, with_hidden: bool) -> list[PlateFile]:
    root = resolved(folder)
    return [
        PlateFile(str(root / name), name)
        for name in files_below(root)
        # Editors and file systems keep copies in hidden places, Hive and Spark what is no data in
        # those that begin with _; pandas reads neither.
        if name.lower().endswith(TABLE_SUFFIXES)
        and (with_hidden or not any(part.startswith((".", "_")) for part in name.split("/")))
    ]


def _joined(path: str, files: list[PlateFile], rule: ColumnRule) -> RowStream:
    """Join tables that follow each other; the first one says what the features are."""
    first = _open_file(files[0].path, rule)
    partitions = Partitions(path, [file.name for file in files], rule, first.untyped)
    features = first.var.index
    partitions.require_no_features(files[0].path, list(features))
    if not first.untyped:
        # Schemas are cheap: what the last plate lacks is said before the first one is written.
        for file in files[1:]:
            _places(file, _open_file(file.path, rule).var.index, features)

    def slabs() -> Iterator[Slab]:
        for file in files:
            stream = first if file is files[0] else _open_file(file.path, rule)
            places = _places(file, stream.var.index, features)
            for slab in stream.slabs:
                values = slab.features if places is None else slab.features[:, places]
                obs = partitions.added(file.path, file.name, slab.obs)
                yield Slab(_with_columns(obs, file.columns()), values)

    return RowStream(first.var, slabs(), untyped=first.untyped, left_out=first.left_out)


def _places(file: PlateFile, found: pd.Index, features: pd.Index) -> NDArray[np.intp] | None:
    """Find the features of the first file in another one; ``None`` if they are in order."""
    if found.equals(features):
        return None
    missing = features.difference(found, sort=False)
    extra = found.difference(features)
    if len(missing) or len(extra):
        raise InvalidInputError(
            f"{file.path} lacks {len(missing)} and adds {len(extra)} features against the first "
            f"file ({first_names([*missing, *extra])}): select the same features in all files"
        )
    return found.get_indexer(features)


def _with_columns(obs: pd.DataFrame, columns: dict[str, str]) -> pd.DataFrame:
    """Add the columns that a file lacks, as categories: its label once, not once a row."""
    for name, label in columns.items():
        if name not in obs.columns:
            obs = obs.assign(**{name: pd.Categorical([label] * len(obs))})
    return obs
