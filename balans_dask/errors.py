"""What balans_dask raises and warns of, how it is put for people, and what stays secret in it."""

import difflib
import errno
import logging
import re
import shlex
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import metadata
from typing import Any

__all__ = [
    "HIDDEN",
    "BalansError",
    "InputWarning",
    "InsufficientMemoryError",
    "Interrupted",
    "InvalidInputError",
    "RunError",
    "StoreExistsError",
    "WrongTypeError",
    "adding",
    "did_you_mean",
    "exhaustion",
    "first_line",
    "first_names",
    "format_bytes",
    "keep_secret",
    "printable",
    "public",
    "public_arguments",
    "public_option",
    "public_script",
    "require_assertions",
    "setting",
    "speaking_of_flags",
    "warn_of_input",
]

HIDDEN = "..."
"""Stands where a secret was."""
STORAGE_OPTION = "--storage-option"
OPEN_OPTIONS = {
    "anon", "endpoint_url", "profile", "project", "region", "region_name", "requester_pays",
    "use_ssl",
}  # fmt: skip
"""Storage options of which the value may be told, but for the login of a URL."""
SHORTEST = 8
"""Characters; what is shorter is no key, and may be a word of any message."""
# One slash is left of two where a URL was taken for a path.
_LOGIN = re.compile(r"(\b[A-Za-z][\w+.-]+:/{1,2})[^/\s'\"]*@")
_QUERY = re.compile(r"(\bhttps?:/{1,2}[^\s?#'\"]*[?#])[^\s'\")\]]+")
_ASSIGNED = re.compile(
    r"(\b\w*(?:SECRET|TOKEN|PASSWORD|PASSWD|ACCESS_KEY|API_KEY)\w*=)"
    r"(?![\"']?\$)(\"[^\"\n]*\"|'[^'\n]*'|[^\s;&]+)",
    re.IGNORECASE,
)
_kept: set[str] = set()
FLAGS = {"batch": "batch-key", "batch_keys": "batch-key", "controls": "sphering"}
"""Options that have another name in Python."""
_READ_BY_SHELLS = set('"$`\\!')
_of_command: ContextVar[bool] = ContextVar("of_command", default=False)
DISTRIBUTION = "balans-dask"
HERE = __name__.partition(".")[0]
WRAPS = "sklearn"
"""Stands between a caller and our estimators."""
logger = logging.getLogger(__name__)


def keep_secret(options: Mapping[str, Any]) -> None:
    """Remember the values of storage options that no text may hold, as long as the process lives.

    Parameters
    ----------
    options : mapping
        Of fsspec's file systems; nested ones too.
    """
    for name, value in options.items():
        if isinstance(value, Mapping):
            keep_secret(value)
        elif isinstance(value, str) and name not in OPEN_OPTIONS and len(value) >= SHORTEST:
            _kept.add(value)


def public(text: str) -> str:
    """Hide the values of storage options, and the login and the query of every URL."""
    for secret in sorted(_kept, key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", HIDDEN, text)
    return _QUERY.sub(rf"\1{HIDDEN}", _LOGIN.sub(rf"\1{HIDDEN}@", text))


def public_option(given: str) -> str:
    """Hide the value of ``KEY=VALUE``, unless it says only where a bucket is."""
    name, _, value = given.partition("=")
    return f"{name}={public(value) if name in OPEN_OPTIONS else HIDDEN}"


def public_arguments(arguments: Sequence[str]) -> list[str]:
    """Hide secrets in the arguments of a command, which stays one that can be completed."""
    found: list[str] = []
    for argument in arguments:
        flag, equals, value = argument.partition("=")
        if found and found[-1] == STORAGE_OPTION:
            found.append(public_option(argument))
        elif flag == STORAGE_OPTION and equals:
            found.append(f"{flag}={public_option(value)}")
        else:
            found.append(public(argument))
    return found


def public_script(script: str) -> str:
    """Hide what a shell script assigns to names of secrets, but for other variables."""
    return _ASSIGNED.sub(rf"\1{HIDDEN}", public(script))


class BalansError(Exception):
    """Base of every error that balans_dask raises on purpose; one line, which holds no secret."""

    def __init__(self, *args: object) -> None:
        super().__init__(*(public(arg) if isinstance(arg, str) else arg for arg in args))


class InvalidInputError(BalansError, ValueError):
    """The user's data, labels, paths or parameters cannot be used as they are."""


class WrongTypeError(InvalidInputError, TypeError):
    """The user's array holds what is no number, or holds it in a form that is not taken."""


class StoreExistsError(BalansError, FileExistsError):
    """The output is already there, and overwriting was not asked for."""


class InsufficientMemoryError(BalansError, MemoryError):
    """The plan of the run does not fit the memory it may use."""


class RunError(BalansError, RuntimeError):
    """The run cannot go on, for a reason outside the input; what was done is kept."""


class Interrupted(BaseException):
    """A signal asked the run to stop; not an error, so that no handler of errors takes it."""


class InputWarning(UserWarning):
    """The input can be corrected, but holds something that its owner should know about."""


def warn_of_input(message: str) -> None:
    """Log a line about the input, and warn in the line of the caller of the package."""
    message = public(message)
    logger.info(message)
    warnings.warn(message, InputWarning, stacklevel=_level_of_caller())


def _level_of_caller() -> int:
    """Count the frames from that of our caller to the one that called the package.

    Inside the package others may stand between, such as the with statement of a generator.
    """
    frame, level, found = sys._getframe(1), 1, 1
    inside = True
    while frame.f_back is not None:
        frame, level = frame.f_back, level + 1
        room = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if room == HERE:
            inside = True
        elif inside and room != WRAPS:
            found, inside = level, False
    return found


@contextmanager
def speaking_of_flags() -> Iterator[None]:
    """Call parameters by the options of the command, and not by the arguments of Python."""
    token = _of_command.set(True)
    try:
        yield
    finally:
        _of_command.reset(token)


def setting(name: str, *value: Any) -> str:
    """Spell a parameter, or a value of it, as this user gives it.

    Parameters
    ----------
    name : str
        An argument of Python.
    *value : object
        At most one.
    """
    if not _of_command.get():
        return "=".join([name, *map(repr, value)])
    words = ["none" if each is None else "yes" if each is True else str(each) for each in value]
    return " ".join([f"--{FLAGS.get(name, name).replace('_', '-')}", *map(_in_shell, words)])


def _in_shell(word: str) -> str:
    """Quote a word of a command as people do."""
    plain = not _READ_BY_SHELLS.intersection(word)
    return f'"{word}"' if plain and "'" in word else shlex.quote(word)


def exhaustion(error: BaseException) -> RunError | None:
    """Say that the machine has no memory or threads left, which says nothing about the data.

    Returns
    -------
    error : RunError or None
        ``None`` if the error is another one.
    """
    # Python has no class of its own for a thread that cannot start.
    starved = isinstance(error, RuntimeError) and "can't start new thread" in str(error)
    full = isinstance(error, OSError) and error.errno == errno.ENOMEM
    if not (starved or full or isinstance(error, MemoryError)):
        return None
    return RunError(
        f"out of memory or threads ({error or type(error).__name__}): use fewer workers, or allow "
        "this user or job more memory and threads, and run it again"
    )


def require_assertions() -> None:
    """Refuse a Python that was told to drop assertions.

    Raises
    ------
    RunError
    """
    if not __debug__:
        raise RunError(
            "this Python drops assertions, without which zarr cannot read what it writes (its "
            "issue 4362): start it without -O, and unset PYTHONOPTIMIZE"
        )


def adding(extra: str) -> str:
    """Spell the command that adds an extra, whether this is a clone or came from elsewhere.

    pip takes the extras of what is installed from there, and asks no index for it.
    """
    try:
        metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return f'pip install ".[{extra}]" in the clone'
    return f'pip install "{DISTRIBUTION}[{extra}]"'


def first_line(error: BaseException) -> str:
    """Return what an error of a library says in its first line, or else its kind."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def first_names(names: Sequence[object], at_most: int = 5) -> str:
    """Join the first names of a list, saying that there are more."""
    more = ", ..." if len(names) > at_most else ""
    return ", ".join(str(name) for name in names[:at_most]) + more


def did_you_mean(name: str, names: Iterable[str], prefix: str = "") -> str:
    """Ask for the nearest of some names; nothing if none is near.

    Parameters
    ----------
    prefix : str
        What many names begin with, and people leave out. Case does not count either.
    """
    plain = {each.casefold().removeprefix(prefix.casefold()): each for each in names}
    near = difflib.get_close_matches(name.casefold().removeprefix(prefix.casefold()), plain, n=1)
    return f": did you mean {plain[near[0]]}?" if near else ""


def printable(text: object) -> str:
    """Return text on one line, with control characters spelled out and secrets left out."""
    one_line = " ".join(public(str(text)).split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in one_line)


def format_bytes(n_bytes: int) -> str:
    """Return a size for people: three figures and a binary unit."""
    size, unit = float(n_bytes), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1000:
            break
        size, unit = size / 1024, larger
    return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.3g} {unit}"
