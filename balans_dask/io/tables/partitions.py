"""Columns that the folders of a table tell, as Hive, Spark and Dask name them: ``NAME=VALUE``."""

from collections.abc import Collection, Sequence
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote

import pandas as pd

from balans_dask.errors import InvalidInputError, first_names
from balans_dask.io.tables.columns import ColumnRule
from balans_dask.labels import spelled

__all__ = ["Partitions", "is_partition"]

NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
INTEGERS = range(-(2**63), 2**63)


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

    def added(self, path: str, name: str, obs: pd.DataFrame) -> pd.DataFrame:
        """Add the columns of a file to some of its rows.

        Raises
        ------
        InvalidInputError
            If the file has such a column, with another value.
        """
        for column, value in self._values[name].items():
            if column not in obs.columns:
                # As categories: the label is held once, not once a row.
                obs = obs.assign(**{column: pd.Categorical([value] * len(obs))})
                continue
            labels = obs[column].dropna().unique()
            others = [label for label in map(spelled, labels) if label != _spelling(value)]
            n_missing = int(obs[column].isna().sum()) if value is not None else 0
            if others or n_missing:
                raise InvalidInputError(
                    f"{path} lies in a folder {column}={NO_VALUE if value is None else value}, "
                    f"and has {first_names(others) or 'nothing'} in column {column}: rename the "
                    "column or the folder"
                )
        return obs


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


def _spelling(value: Any) -> str | None:
    return None if value is None else spelled(value)
