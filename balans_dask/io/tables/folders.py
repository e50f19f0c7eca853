"""Which reader opens a table of profiles, and how the tables of a folder become one.

The layout of the Cell Painting Gallery is ``SOURCE/workspace/profiles/BATCH/PLATE/PLATE*.parquet``
(or .csv.gz), with one file of a plate for every step of its processing.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from balans_dask.errors import InvalidInputError, first_names
from balans_dask.io.files import files_below
from balans_dask.io.paths import is_export, require_exists
from balans_dask.io.places import place_of, resolved
from balans_dask.io.tables.columns import NO_VALUE, ColumnRule, Partitions, is_partition
from balans_dask.io.tables.csv_table import open_csv
from balans_dask.io.tables.h5ad_table import open_h5ad
from balans_dask.io.tables.parquet_table import open_parquet
from balans_dask.io.tables.row_stream import RowStream, Slab
from balans_dask.labels import natural, spelled

__all__ = [
    "TABLE_SUFFIXES",
    "PlateFile",
    "chosen_files",
    "is_table_file",
    "open_table",
]

TABLE_SUFFIXES = (".parquet", ".csv.gz", ".csv", ".tsv.gz", ".tsv")
_STEP = re.compile(
    r"_(augmented|aggregated|annotated|normali[sz]ed|feature_?select|featselect|variable_selected"
    r"|spheri[sz]ed|sphering|harmony|corrected|consensus)"
)
"""What the profiling recipes append to the name of a plate."""
PROFILES = "profiles"
WORKSPACES = ("workspace", "workspace_dl")


@dataclass(frozen=True)
class PlateFile:
    """A table of a folder.

    Attributes
    ----------
    path : str
        Absolute.
    name : str
        Path within the folder, with / between its parts.
    """

    path: str
    name: str

    @property
    def suffix(self) -> str:
        """Format, in lower case."""
        return next(end for end in TABLE_SUFFIXES if self.name.lower().endswith(end))

    @property
    def stem(self) -> str:
        """Name of the file without its format."""
        return PurePath(self.name).name[: -len(self.suffix)]

    @property
    def folder(self) -> str:
        """Name of the folder that holds the file."""
        return PurePath(self.path).parts[-2]

    @property
    def plate(self) -> str:
        """The plate: what the name of the file says before the first step of processing."""
        return _STEP.split(self.stem, maxsplit=1)[0]

    def columns(self) -> dict[str, str]:
        """Name the annotations that the gallery's layout tells: plate, batch and source.

        The batch only where the folder above the plate lies within the given folder, or within
        ``profiles``; the source only above ``workspace/profiles``.
        """
        *above, plate = PurePath(self.path).parts[:-1]
        if self.plate != plate:
            return {}
        found = {"Metadata_Plate": plate}
        in_profiles = above[-2:-1] == [PROFILES]
        if in_profiles or self.name.count("/") > 1:
            found["Metadata_Batch"] = above[-1]
        if in_profiles and len(above) > 4 and above[-3] in WORKSPACES:
            found["Metadata_Source"] = above[-4]
        return {name: label for name, label in found.items() if not is_partition(label)}


def chosen_files(
    folder: str, files: Sequence[PlateFile], pattern: str | None, exported: bool = False
) -> list[PlateFile]:
    """Choose the tables of a folder, in natural order: plate 2 before plate 10.

    Parameters
    ----------
    folder : str
        What to call it in an error.
    pattern : str or None
        Glob for names of files, or for their paths within the folder if it holds a ``/``.
    exported : bool
        The files are the parts of one store, whatever they are called.

    Raises
    ------
    InvalidInputError
        If there is no file, or plates are there in several steps of processing or formats.
    """
    ordered = sorted(files, key=lambda file: natural(file.name))
    if not ordered:
        raise InvalidInputError(
            f"{folder} is a folder without a .parquet file, .csv or .tsv (or .gz of these): check "
            "the path"
        )
    chosen = [file for file in ordered if pattern is None or _matches(file.name, pattern)]
    if not chosen:
        raise InvalidInputError(
            f"none of the {len(files)} tables of {folder} matches --pattern {pattern!r}: "
            f"their names are like {ordered[0].name}"
        )
    if not exported:
        _require_one_variant(folder, chosen)
    return chosen


def _require_one_variant(folder: str, files: Sequence[PlateFile]) -> None:
    """Refuse plates in several steps of processing or formats: their rows would be there twice."""
    whole = {PurePath(file.name).parent for file in files if file.stem == file.folder}
    first: dict[str, str] = {}
    for file in files:
        plate = file.plate
        rest = file.stem.removeprefix(f"{file.folder}_")
        if PurePath(file.name).parent in whole and rest != file.stem and not rest.isdigit():
            # Beside PLATE/PLATE.parquet, PLATE/PLATE_anything.parquet is the same plate.
            plate = file.folder
        first.setdefault(file.stem[len(plate) :] + file.suffix, file.name)
    if len(first) > 1:
        raise InvalidInputError(
            f"{folder} holds its {len(files)} tables in {len(first)} variants "
            f"({first_names(list(first.values()))}): choose one with --pattern, "
            f"such as '*{max(first, key=len)}'"
        )


def _matches(name: str, pattern: str) -> bool:
    return fnmatchcase(name if "/" in pattern else PurePath(name).name, pattern)


def open_table(path: str, rule: ColumnRule | None = None, pattern: str | None = None) -> RowStream:
    """Open a parquet, csv, tsv or h5ad file, or a folder of parquet, csv or tsv files.

    Suffixes may be in upper case. In a folder, hidden files are left out.

    Parameters
    ----------
    rule : ColumnRule or None
        Which columns are features; ``None`` for ``ColumnRule()``.
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
        f"{path} has no known format: give .parquet, .csv, .csv.gz, .tsv, .tsv.gz, .h5ad or a "
        "folder of .parquet"
    )


def is_table_file(path: str) -> bool:
    """Tell by its name whether a file is a table that can be opened."""
    return path.lower().endswith((*TABLE_SUFFIXES, ".h5ad"))


def _open_file(path: str, rule: ColumnRule, first: RowStream | None = None) -> RowStream:
    """Open a table; integers that describe rows are those of the first one of its folder."""
    settled: dict[str, bool] = {}
    if first is not None:
        settled = dict.fromkeys(first.var.index, False) | dict.fromkeys(first.described, True)
    reader = open_parquet if path.lower().endswith(".parquet") else open_csv
    return reader(path, rule, settled)


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
            _places(file, _open_file(file.path, rule, first).var.index, features)

    def slabs() -> Iterator[Slab]:
        for file in files:
            stream = first if file is files[0] else _open_file(file.path, rule, first)
            places = _places(file, stream.var.index, features)
            for slab in stream.slabs:
                values = slab.features if places is None else slab.features[:, places]
                obs = _with_partitions(file.path, partitions.of(file.name), slab.obs)
                yield Slab(_with_columns(obs, file.columns()), values)

    return replace(first, slabs=slabs())


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


def _with_partitions(path: str, told: dict[str, Any], obs: pd.DataFrame) -> pd.DataFrame:
    """Add what the folders of a file tell to some of its rows; refuse another value of a column."""
    for column, value in told.items():
        if column not in obs.columns:
            continue
        labels = obs[column].dropna().unique()
        spelling = None if value is None else spelled(value)
        others = [label for label in map(spelled, labels) if label != spelling]
        n_missing = int(obs[column].isna().sum()) if value is not None else 0
        if others or n_missing:
            raise InvalidInputError(
                f"{path} lies in a folder {column}={NO_VALUE if value is None else value}, "
                f"and has {first_names(others) or 'nothing'} in column {column}: rename the "
                "column or the folder"
            )
    return _with_columns(obs, told)


def _with_columns(obs: pd.DataFrame, columns: dict[str, Any]) -> pd.DataFrame:
    """Add the columns that a file lacks, as categories: its label once, not once a row."""
    for name, label in columns.items():
        if name not in obs.columns:
            obs = obs.assign(**{name: pd.Categorical([label] * len(obs))})
    return obs
