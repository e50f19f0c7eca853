r"""What a label is called: equal values have one spelling, and a joint name can be taken apart.

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
from datetime import timedelta
from decimal import Decimal
from typing import Any

import numpy as np

from balans_dask.errors import InvalidInputError

__all__ = ["EXACT", "SPELLING", "joined", "names_before", "spelled", "split"]

SPELLING = 2
"""Which rules a model's names of batches follow; 1, or none, are those of ``names_before``."""
SEPARATOR = " | "
EXACT = 2**53
"""From here on floats skip integers."""
_READ_AS_SEPARATOR = re.compile(r"(?:\A|(?<= ))(\\*\|)(?= |\Z)")
_ESCAPED = re.compile(r"(?:\A|(?<= ))\\(\\*\|)(?= |\Z)")


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
