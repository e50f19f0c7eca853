"""Which columns of a table are features, which describe the rows, and what these are called.

Folders tell columns too, as Hive, Spark and Dask name them: ``NAME=VALUE``.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from balans_dask.errors import InvalidInputError, first_names, warn_of_input

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "METADATA_PREFIX",
    "NO_VALUE",
    "ColumnRule",
    "Partitions",
    "alike",
    "describes_rows",
    "is_partition",
    "is_storable",
    "named",
    "require_features",
    "require_unique",
    "stored_index_name",
    "warn_of_unnamed",
    "with_stored_names",
]

METADATA_PREFIX = "Metadata_"
NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
ROW_WORDS = frozenset(
    {"plate", "well", "batch", "site", "source", "day", "week", "replicate"}
    | {"id", "cid", "row", "column"}
)
"""An integer of such a name says which row it is, not what was measured in it."""
_BETWEEN_WORDS = re.compile(r"[\W\d_]+|(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
INTEGERS = range(-(2**63), 2**63)
_UNNAMED = re.compile(r"Unnamed: \d+(\.\d+)*")
_INDEX_COLUMN = re.compile(rf"__index_level_\d+__|{_UNNAMED.pattern}|_index|")
_FORBIDDEN = {".", "..", "zarr.json"}
_LONGEST_NAME_BYTES = 255


def describes_rows(name: str) -> bool:
    """Tell whether a word of a name is one of ``ROW_WORDS``: ``PlateID``, ``site_3``, ``row1``."""
    return any(word.lower() in ROW_WORDS for word in _BETWEEN_WORDS.split(name))


@dataclass(frozen=True)
class ColumnRule:
    """What the columns of a table are, by the beginnings of their names.

    Without arguments the convention of pycytominer and JUMP: every numeric column is a feature,
    but for those named ``Metadata_*``, and for integers that are named after what tells rows apart.

    Attributes
    ----------
    features : tuple of str
        Beginnings of features, of which ``""`` is that of all; none for every numeric column that
        is nothing else.
    annotations : tuple of str
        Beginnings of columns that describe the rows, whatever they hold.
    left_out : tuple of str
        Beginnings of columns that are neither, unless they begin as features do.
    keys : tuple of str
        Columns that describe the rows because somebody asks for them so: their whole names.
    """

    features: tuple[str, ...] = ()
    annotations: tuple[str, ...] = (METADATA_PREFIX,)
    left_out: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()

    def knowing(self, keys: Iterable[str]) -> "ColumnRule":
        """Return the rule for a table of which somebody names columns that describe the rows."""
        return replace(
            self, keys=tuple(key for key in keys if not key.startswith(self.annotations))
        )

    def is_feature(self, name: str, numeric: bool, whole: bool) -> bool:
        """Tell whether a column is a feature; row numbers that pandas saved are none.

        Parameters
        ----------
        numeric, whole : bool
            It holds numbers, and these are integers.
        """
        if name in self.keys:
            return False
        if not numeric or name.startswith(self.annotations) or _INDEX_COLUMN.fullmatch(name):
            return False
        if self.features:
            return name.startswith(self.features)
        return not name.startswith(self.left_out) and not (whole and describes_rows(name))

    def others(self, names: Sequence[str], features: Sequence[str]) -> tuple[list[str], list[str]]:
        """Tell the columns besides the features that describe rows from those left out."""
        known = set(features)
        kept: list[str] = []
        out: list[str] = []
        for name in names:
            if name not in known:
                wanted = name in self.keys or name.startswith(self.annotations)
                unwanted = name.startswith(self.left_out) and not wanted
                (out if unwanted else kept).append(name)
        return kept, out

    def unnamed(self, numbers: Collection[str], kept: Sequence[str]) -> tuple[str, ...]:
        """Choose the numeric columns that describe rows without a prefix that says so."""
        return tuple(
            name for name in kept if name in numbers and not name.startswith(self.annotations)
        )

    def explained(self) -> str:
        """Say what makes a feature."""
        if any(self.features):
            return f"a numeric column is one if it begins with {' or '.join(self.features)}"
        prefixes = " or ".join((*self.annotations, *self.left_out))
        but = "" if self.features else ", but for integers named plate, well, id or the like"
        return f"every numeric column without the prefix {prefixes} is one{but}"


def named(names: list[str]) -> list[str]:
    """Give columns without a name the one that pandas gives them: ``Unnamed: 0`` at place 0."""
    taken = set(names)
    found = []
    for place, name in enumerate(names):
        if name == "":
            name = f"Unnamed: {place}"
            # A table that was saved twice holds the name already.
            while name in taken:
                name += ".1"
            taken.add(name)
        found.append(name)
    return found


def warn_of_unnamed(path: str, described: Iterable[str]) -> None:
    """Say that a column without a name was taken for the index of a DataFrame.

    Parameters
    ----------
    described : iterable of str
        Numeric columns that describe the rows.
    """
    unnamed = [name for name in described if _UNNAMED.fullmatch(name)]
    if unnamed:
        warn_of_input(
            f"{path} has a column of numbers without a name ({first_names(unnamed)}), taken for a "
            "saved index and not for a feature: name it if it is one, or write the table by "
            "to_csv(..., index=False)"
        )


def require_unique(path: str, columns: list[str]) -> None:
    """Refuse a table with columns of the same name.

    Raises
    ------
    InvalidInputError
    """
    repeated = sorted(name for name, n in Counter(columns).items() if n > 1)
    if repeated:
        raise InvalidInputError(
            f"{path} has {len(repeated)} column names more than once ({first_names(repeated)}): "
            "rename them"
        )


def require_features(
    path: str, features: list[str], columns: list[str], rule: ColumnRule | None = None
) -> None:
    """Refuse a table without features, or with columns of the same name.

    Raises
    ------
    InvalidInputError
    """
    require_unique(path, columns)
    if not features:
        raise InvalidInputError(
            f"{path} has no numeric feature among its {len(columns)} columns: "
            f"{(rule or ColumnRule()).explained()}, check the file"
        )


def with_stored_names(path: str, frame: "pd.DataFrame") -> "pd.DataFrame":
    """Rename the annotations whose names are none in a store.

    A slash becomes ``_``, AnnData's own ``_index`` becomes ``index``, and no name becomes
    ``Unnamed: 0`` at place 0.

    Raises
    ------
    InvalidInputError
        If two columns get one name, or a name cannot be that of a file.
    """
    names = [_stored_name(name) for name in named([str(name) for name in frame.columns])]
    bad = [name for name in names if not is_storable(name)]
    if bad:
        raise InvalidInputError(
            f"{path} has {len(bad)} annotations with names that a store cannot hold "
            f"({first_names([name[:40] for name in bad])}): rename them"
        )
    repeated = {name for name, n in Counter(names).items() if n > 1}
    clash = [old for old, new in zip(frame.columns, names, strict=True) if new in repeated]
    if clash:
        raise InvalidInputError(
            f"{path} has {len(clash)} annotations that get the same name in a store, where / "
            f"becomes _ ({first_names(clash)}): rename them"
        )
    return frame.set_axis(names, axis=1)


def stored_index_name(frame: "pd.DataFrame") -> str | None:
    """Return the name under which AnnData can store an index; ``None`` for its own one."""
    name = frame.index.name
    if not isinstance(name, str) or name in {"", *frame.columns} or "/" in name:
        return None
    return name if is_storable(name) else None


def _stored_name(name: str) -> str:
    return "index" if name == "_index" else name.replace("/", "_")


def is_storable(name: str) -> bool:
    """Tell whether a name can be that of a folder, and be written in JSON."""
    try:
        n_bytes = len(name.encode())
    except UnicodeEncodeError:
        return False
    return name not in _FORBIDDEN and "\0" not in name and n_bytes <= _LONGEST_NAME_BYTES


def alike(names: Iterable[str]) -> list[str]:
    """Names that differ from others in case, or in the form of their Unicode, only."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(unicodedata.normalize("NFKC", name).casefold(), []).append(name)
    return [name for group in groups.values() if len(group) > 1 for name in group]


class Partitions:
    """Columns of a folder of tables, the same in every row of a file.

    A column is one of integers if every value is the usual spelling of one, else of text: pandas
    reads 0012 as 12, here it stays as it is. Beside csv it is text, as all annotations there are.

    Parameters
    ----------
    folder : str
        What to call the folder in an error.
    names : sequence of str
        Files: paths within the folder, with / between their parts.
    rule : ColumnRule
        Says which columns are left out.
    untyped : bool
        All columns are text.

    Raises
    ------
    InvalidInputError
        If a folder cannot be read as a name and a value, or a file has two values of one name.
    """

    def __init__(
        self, folder: str, names: Sequence[str], rule: ColumnRule, untyped: bool = False
    ) -> None:
        texts = {name: _told(folder, name) for name in names}
        found = {column: None for told in texts.values() for column in told}
        self.columns, _ = rule.others(list(found), [])
        typed = [] if untyped else self.columns
        numbers = {column for column in typed if _are_integers(texts.values(), column)}
        self._values: dict[str, dict[str, Any]] = {
            name: {
                column: int(text) if column in numbers and text is not None else text
                for column, text in told.items()
                if column in self.columns
            }
            for name, told in texts.items()
        }

    def require_no_features(self, path: str, features: Sequence[str]) -> None:
        """Refuse a file in which a column of the folders is a feature.

        Raises
        ------
        InvalidInputError
        """
        both = [column for column in self.columns if column in set(features)]
        if both:
            raise InvalidInputError(
                f"{path} has {len(both)} columns of numbers that its folders tell as well "
                f"({first_names(both)}): say that they describe rows, by --metadata-prefix "
                f"{both[0]}"
            )

    def of(self, name: str) -> dict[str, Any]:
        """Return what the folders of a file tell: values by column."""
        return self._values[name]


def is_partition(folder: str) -> bool:
    """Tell whether the name of a folder is that of a column and a value."""
    return folder.find("=") > 0


def _told(folder: str, name: str) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for part in PurePosixPath(name).parts[:-1]:
        if not is_partition(part):
            continue
        try:
            column, value = (unquote(text, errors="strict") for text in part.split("=", 1))
        except UnicodeDecodeError as error:
            raise InvalidInputError(
                f"{folder} has a folder {part}, which is no text in UTF-8: rename it"
            ) from error
        known = None if value == NO_VALUE else value
        if found.setdefault(column, known) != known:
            raise InvalidInputError(
                f"{name} of {folder} lies in folders with two values of {column}: rename one"
            )
    return found


def _are_integers(texts: Collection[dict[str, str | None]], column: str) -> bool:
    values = [text for told in texts if (text := told.get(column)) is not None]
    return bool(values) and all(_is_integer(value) for value in values)


def _is_integer(text: str) -> bool:
    try:
        return str(int(text)) == text and int(text) in INTEGERS
    except ValueError:
        return False
