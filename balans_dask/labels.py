r"""Labels and batches: equal values have one spelling, and a joint name can be taken apart.

A label is a value of a table: text, a number, a boolean, a date, a time, a duration or bytes. It is
known by its spelling, which is the same in Python and in a store that ``convert`` has made of the
same table:

- Text is spelled as it is, and bytes as the text they encode; a byte that is none is ``\xff``.
- Whole numbers are spelled exactly, however large; 1, 1.0 and "1" are one label, as csv has no
  types. A float of 2**53 or more is no whole number that anybody wrote.
- Other floats have the fewest digits that tell them from all others of their own precision, so 0.1
  is ``0.1`` as float32 and as float64, and in the csv file that either makes.
- Decimals have the digits that they need, and no exponent: 1.50 is ``1.5``, and 1E+2 is ``100``.
- Booleans are ``True`` and ``False``.
- Dates and times are in ISO 8601: ``2026-01-31``, ``2026-01-31T00:00:00``. They have as many
  digits as they need, down to nanoseconds, and the offset of their time zone if they have one. A
  date is another label than its midnight, and a time another one than the same instant elsewhere.
- Durations are spelled as by pandas: ``1 days 06:00:00``.
- Other values (periods, intervals) have the spelling that Python gives them; tables and
  lists are no labels.

The name of a joint label is its parts with ``" | "`` between them. In a part, a bar that could be
taken for that gets a backslash, before the backslashes that it has already: ``("a | b", "c")`` is
``a \| b | c``, while ``a|b`` and ``a\b`` stay. Names without such a bar are those of all earlier
versions.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from balans_dask.errors import InvalidInputError

__all__ = [
    "EXACT",
    "SPELLING",
    "BatchLabels",
    "batch_labels",
    "joined",
    "labels_in_order",
    "labels_of_column",
    "names_before",
    "natural",
    "spelled",
    "split",
]

SPELLING = 2
"""Which rules a model's names of batches follow; 1, or none, are those of ``names_before``."""
SEPARATOR = " | "
EXACT = 2**53
"""From here on floats skip integers."""
_READ_AS_SEPARATOR = re.compile(r"(?:\A|(?<= ))(\\*\|)(?= |\Z)")
_ESCAPED = re.compile(r"(?:\A|(?<= ))\\(\\*\|)(?= |\Z)")
REPLICATES = 5
"""Rows of a well, over all plates, that a batch has more than."""
OF_ONE_TYPE = {"boolean", "bytes", "date", "empty", "floating", "integer", "string"}
"""Objects of which equal ones have one spelling."""


def spelled(value: Any) -> str:
    """Spell a label.

    Parameters
    ----------
    value : scalar
        Not missing. Of a column of pandas or numpy, not the ``item()`` of a float32.

    Raises
    ------
    InvalidInputError
        If it is no value but holds some.
    """
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    # numpy counts its durations as integers.
    if isinstance(value, timedelta | np.timedelta64):
        return _duration(value)
    if isinstance(value, int | np.integer):
        return str(int(value))
    if isinstance(value, float | np.floating):
        number = float(value)
        return str(int(number)) if number.is_integer() and abs(number) < EXACT else str(value)
    if isinstance(value, np.datetime64):
        text = str(np.datetime_as_string(value, unit="ns"))
        return text.removesuffix("000").removesuffix(".000000")
    if isinstance(value, Decimal) and value.is_finite():
        return _plain(f"{value:f}")
    if isinstance(value, list | tuple | dict | set | frozenset | np.ndarray):
        raise InvalidInputError(f"a {type(value).__name__} is no label: give text or a number")
    return str(value.isoformat() if hasattr(value, "isoformat") else value)


def joined(parts: Sequence[str]) -> str:
    """Name the joint label of several columns; of a single one, its spelling.

    Parameters
    ----------
    parts : sequence of str
        By ``spelled``.
    """
    if len(parts) == 1:
        return parts[0]
    return SEPARATOR.join(_READ_AS_SEPARATOR.sub(r"\\\1", part) for part in parts)


def split(name: str, n_parts: int) -> tuple[str, ...]:
    """Take the name of a label of ``n_parts`` columns apart."""
    if n_parts == 1:
        return (name,)
    return tuple(_ESCAPED.sub(r"\1", part) for part in name.split(SEPARATOR))


def natural(name: str) -> list[tuple[int, str]]:
    """Key of the natural order of names, text and numbers in turns: Week2 before Week10."""
    parts = re.split(r"([0-9]+)", name)
    return [(int(part) if place % 2 else 0, part) for place, part in enumerate(parts)]


def names_before(values: Sequence[Any]) -> set[str]:
    """Name a joint label as models of spelling 1 may, in which several labels can have one name.

    Parameters
    ----------
    values : sequence of scalar
        Of each column.
    """
    plain = SEPARATOR.join(spelled(value) for value in values)
    return {plain, SEPARATOR.join(_spelled_before(value) for value in values)}


def _spelled_before(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return spelled(float(value)) if isinstance(value, np.floating) else str(value)


def _plain(digits: str) -> str:
    """Leave out zeros that end a fraction, and the sign of zero."""
    text = digits.rstrip("0").rstrip(".") if "." in digits else digits
    return "0" if text == "-0" else text


def _duration(value: timedelta | np.timedelta64) -> str:
    nanoseconds = getattr(value, "nanoseconds", 0)
    if isinstance(value, np.timedelta64):
        total = int(value.astype("timedelta64[ns]").astype(np.int64))
        value, nanoseconds = timedelta(microseconds=total // 1000), total % 1000
    minutes, seconds = divmod(value.seconds, 60)
    clock = f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02}"
    fraction = f"{value.microseconds:06}" if value.microseconds or nanoseconds else ""
    fraction += f"{nanoseconds:03}" if nanoseconds else ""
    sign = "+" if value.days < 0 else ""
    return f"{value.days} days {sign}{clock}" + (f".{fraction}" if fraction else "")


@dataclass(frozen=True)
class BatchLabels:
    """The batch of every row.

    Attributes
    ----------
    codes : ndarray of shape (n_rows,), unsigned integer
        Place in ``names``; the smallest type that holds them.
    names : tuple of str
        Batches in sorted order, so that codes do not depend on the order of rows.
    sizes : ndarray of shape (n_batches,), int64
    before : tuple of set of str
        What models of earlier versions may call each batch.
    """

    codes: NDArray[np.integer]
    names: tuple[str, ...]
    sizes: NDArray[np.int64]
    before: tuple[set[str], ...] = ()

    @property
    def n_batches(self) -> int:
        """Number of batches."""
        return len(self.names)

    @property
    def nearly_unique(self) -> bool:
        """Whether a batch has no more rows than a well has replicates, in the mean."""
        return len(self.codes) <= REPLICATES * self.n_batches and self.n_batches > 1

    def clamped(self, n_neighbors: int) -> list[str]:
        """Name the batches with too few rows for a k-th neighbour of their own."""
        return [
            name for name, size in zip(self.names, self.sizes, strict=True) if size <= n_neighbors
        ]


def batch_labels(columns: Sequence[Any], names: Sequence[str], n_rows: int) -> BatchLabels:
    """Make one batch of every combination of labels that occurs.

    Parameters
    ----------
    columns : sequence of array-like of shape (n_rows,)
        Text, numbers, booleans, dates, times, durations or categories of these. A number is a label
        here, not a quantity: 1, 1.0 and "1" are the same label, by ``labels.spelled``.
    names : sequence of str
        What to call the columns in an error.
    n_rows : int
        Rows of the profiles.

    Raises
    ------
    InvalidInputError
        If a column has another length, or a label is missing, no value or not to be stored.
    """
    factors = [_factor(column, name, n_rows) for column, name in zip(columns, names, strict=True)]
    joint = pd.MultiIndex.from_arrays([codes for codes, _ in factors])
    places, combinations = pd.factorize(joint)
    labels = [
        tuple(values[code] for code, (_, values) in zip(codes, factors, strict=True))
        for codes in combinations
    ]
    parts = [tuple(spelled(value) for value in label) for label in labels]
    order = sorted(range(len(labels)), key=parts.__getitem__)
    rank = np.empty(len(labels), dtype=np.min_scalar_type(max(len(labels) - 1, 0)))
    rank[order] = np.arange(len(labels))
    codes = rank[places]
    return BatchLabels(
        codes=codes,
        names=tuple(joined(parts[place]) for place in order),
        sizes=np.bincount(codes, minlength=len(labels)),
        before=tuple(names_before(labels[place]) for place in order),
    )


def _factor(column: Any, name: str, n_rows: int) -> tuple[NDArray[np.intp], list[Any]]:
    codes, values = labels_of_column(column, name)
    if len(codes) != n_rows:
        raise InvalidInputError(
            f"{name} has {len(codes)} labels for {n_rows} rows: give one label a row"
        )
    n_missing = int((codes < 0).sum())
    if n_missing:
        raise InvalidInputError(
            f"{name} is missing in {n_missing} of {n_rows} rows: "
            "give every row a batch label, or drop these rows"
        )
    bad = [text for text in map(spelled, values) if not _is_storable(text)]
    if bad:
        raise InvalidInputError(
            f"{name} has {len(bad)} labels with a NUL or half a character, such as {bad[0]!r}: "
            "replace these"
        )
    return codes, values


def labels_of_column(column: Any, name: str = "the column") -> tuple[NDArray[np.intp], list[Any]]:
    """Tell the labels of a column apart.

    Parameters
    ----------
    column : array-like of shape (n_rows,)
    name : str
        What to call it in an error.

    Returns
    -------
    codes : ndarray of shape (n_rows,), intp
        Place among the labels; -1 where there is none. Equal spellings have one code.
    values : list of scalar
        A value of every label, as ``spelled`` takes it, in the order in which they come.

    Raises
    ------
    InvalidInputError
        If something in it is no label.
    """
    try:
        codes, values = _factorized(_series_of(column))
        texts = [spelled(value) for value in values]
    except InvalidInputError as error:
        raise InvalidInputError(f"{name} holds what is no label: {error}") from error
    first: dict[str, Any] = {}
    for text, value in zip(texts, values, strict=True):
        first.setdefault(text, value)
    place = {text: code for code, text in enumerate(first)}
    recoded = np.array([*(place[text] for text in texts), -1], dtype=np.intp)
    return recoded[codes], list(first.values())


def _series_of(column: Any) -> pd.Series:
    """Take a column in such a way that no number becomes another one."""
    if isinstance(column, pd.Series | pd.Index | pd.api.extensions.ExtensionArray):
        return pd.Series(column)
    if hasattr(column, "dtype") or hasattr(column, "__array__"):
        return pd.Series(np.asarray(column).ravel())
    # Of a list numpy would make floats of integers beyond 64 bits, and text of what is missing.
    return pd.Series(np.asarray(column, dtype=object).ravel(), dtype=object)


def _factorized(column: pd.Series) -> tuple[NDArray[np.intp], list[Any]]:
    """Tell values apart; those of one spelling may have several codes."""
    kind: Any = column.dtype
    if isinstance(kind, pd.CategoricalDtype):
        numbers = column.cat.codes
        codes, used = pd.factorize(numbers.astype("Int64").where(numbers >= 0))
        categories = _scalars(kind.categories.to_series())
        return codes, [categories[number] for number in used]
    values = _scalars(column)
    if values.dtype != object or pd.api.types.infer_dtype(values) in OF_ONE_TYPE:
        codes, found = pd.factorize(values)
        return codes, list(found)
    # To Python True is 1, and noon in London is 13:00 in Berlin.
    place: dict[str, int] = {}
    first = []
    codes = np.full(len(values), -1, dtype=np.intp)
    for row in np.flatnonzero(~pd.isna(values)).tolist():
        text = spelled(values[row])
        if text not in place:
            place[text] = len(place)
            first.append(values[row])
        codes[row] = place[text]
    return codes, first


def _scalars(column: pd.Series) -> Any:
    """Return an array that yields its floats in their own precision."""
    kind: Any = column.dtype
    if pd.api.types.is_float_dtype(kind):
        plain = getattr(kind, "numpy_dtype", getattr(kind, "subtype", kind))
        return column.to_numpy(dtype=plain, na_value=np.nan)
    is_plain = isinstance(kind, np.dtype) and kind.kind not in "mM"
    return column.to_numpy() if is_plain else column.array


def _is_storable(text: str) -> bool:
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False


def labels_in_order(
    columns: Sequence[Any], names: Sequence[str], n_rows: int
) -> tuple[BatchLabels, ...]:
    """Make the batches of every key: joint ones with the keys before it, so they only get finer.

    Plates of the same name in two sources are two batches.

    Parameters
    ----------
    columns : sequence of array-like of shape (n_rows,)
    names : sequence of str
        What to call the columns in an error.

    Returns
    -------
    labels : tuple of BatchLabels
        One for each key; the last one tells all combinations apart.

    Raises
    ------
    InvalidInputError
        If there are fewer than two keys, or one tells no more apart than those before it.
    """
    if len(columns) < 2:
        raise InvalidInputError(
            f"--batch-order asks for several keys, and {len(columns)} is given: add --batch-key, "
            "coarsest first"
        )
    found: list[BatchLabels] = []
    n_before = 1
    for place, name in enumerate(names, start=1):
        labels = batch_labels(columns[:place], names[:place], n_rows)
        if labels.n_batches == n_before:
            before = (
                "all rows"
                if place == 1
                else f"all rows of every {' and '.join(names[: place - 1])}"
            )
            raise InvalidInputError(
                f"{name} is the same in {before}, so its turn of --batch-order would do nothing: "
                "leave it out, or name coarser keys first"
            )
        found.append(labels)
        n_before = labels.n_batches
    return tuple(found)
