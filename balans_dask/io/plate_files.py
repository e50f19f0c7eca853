"""Which files of a folder are the plates of a screen, and what their places say about them.

The layout of the Cell Painting Gallery is ``SOURCE/workspace/profiles/BATCH/PLATE/PLATE*.parquet``
(or .csv.gz), with one file of a plate for every step of its processing.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePath

from balans_dask.errors import InvalidInputError, first_names
from balans_dask.io.tables.partitions import is_partition

__all__ = ["TABLE_SUFFIXES", "PlateFile", "chosen_files"]

TABLE_SUFFIXES = (".parquet", ".csv.gz", ".csv")
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
    files : sequence of PlateFile
    pattern : str or None
        Glob for names of files, or for their paths within the folder if it holds a ``/``.
    exported : bool
        The files are the parts of one store, whatever they are called.

    Raises
    ------
    InvalidInputError
        If there is no file, or plates are there in several steps of processing or formats.
    """
    ordered = sorted(files, key=lambda file: _natural(file.name))
    if not ordered:
        raise InvalidInputError(
            f"{folder} is a folder without a .parquet file, .csv or .csv.gz: check the path"
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


def _natural(name: str) -> list[tuple[int, str]]:
    """Return text and numbers in turns."""
    parts = re.split(r"([0-9]+)", name)
    return [(int(part) if place % 2 else 0, part) for place, part in enumerate(parts)]
