"""How a command says what is wrong: warnings, the failure that ends it, and the exit code."""

import errno
import shlex
import traceback
from collections.abc import Sequence
from typing import Any

import click

from balans_dask.errors import (
    BalansError,
    Interrupted,
    RunError,
    exhaustion,
    printable,
    public_arguments,
)

__all__ = ["EXIT_INPUT", "EXIT_OTHER", "EXIT_RESUMABLE", "explained", "say_warning"]

EXIT_INPUT = 2
EXIT_OTHER = 1
EXIT_RESUMABLE = 75
RESUMABLE = {"correct", "transform"}
"""Commands that go on where they were; others put nothing out until they are complete."""
CONTINUE, AGAIN = "continue with --resume", "run it again"
FULL = {
    errno.ENOSPC: "free some",
    errno.EDQUOT: "free some",
    errno.EFBIG: "raise the limit of file sizes (ulimit -f)",
}
SPEAKING = {"click.utils", "rich.console"}
"""What writes to the terminal; every command does so when all else is done."""
REFUSED_PATHS = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENAMETOOLONG}
"""What a file system says of a path that the user may not use."""


def say_warning(message: Any, *args: Any, **kwargs: Any) -> None:
    """Say a warning, in the place of Python's own way to show one."""
    click.echo(f"balans: warning: {printable(message)}", err=True)


def explained(error: BaseException, arguments: Sequence[str]) -> tuple[str, int]:
    """Return what to say about the end of a command, and its exit code."""
    match error:
        case RunError():
            return str(error).replace(CONTINUE, _remedy(arguments)), EXIT_OTHER
        case BalansError():
            return str(error), EXIT_INPUT
        case Interrupted() if arguments[0] in RESUMABLE:
            return f"stopped by {error}; continue with: {_resuming(arguments)}", EXIT_RESUMABLE
        case Interrupted():
            return f"stopped by {error}; nothing was put out: run it again", EXIT_OTHER
        case _ if out := exhaustion(error):
            return str(out), EXIT_OTHER
        case click.UsageError() if "extra argument" in error.message and _of_buckets(arguments):
            return "an argument too many, perhaps of --storage-option KEY=VALUE", EXIT_INPUT
        case click.ClickException():
            return error.format_message(), EXIT_INPUT
        case click.Abort() | KeyboardInterrupt():
            return "interrupted", EXIT_OTHER
        case OSError() if _is_of_terminal(error):
            return f"standard output: {error.strerror}: the work is done, but not said", EXIT_OTHER
        case OSError() if error.errno in REFUSED_PATHS:
            # Arrow names the file in its own words.
            place = "" if error.filename is None else f"{error.filename}: "
            return f"{place}{error.strerror}: choose another path", EXIT_INPUT
        case OSError() if error.errno in FULL:
            return f"{error.strerror}: {FULL[error.errno]}, and {_remedy(arguments)}", EXIT_OTHER
    return f"{type(error).__name__}: {error}", EXIT_OTHER


def _of_buckets(arguments: Sequence[str]) -> bool:
    """Whether what is left over may be a secret."""
    return any(argument.startswith("--storage-option") for argument in arguments)


def _remedy(arguments: Sequence[str]) -> str:
    return CONTINUE if arguments[0] in RESUMABLE else AGAIN


def _is_of_terminal(error: OSError) -> bool:
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(frames) and frames[-1].f_globals.get("__name__") in SPEAKING


def _resuming(arguments: Sequence[str]) -> str:
    """Return the command that continues a run."""
    given = [argument for argument in arguments if argument != "--resume"]
    return shlex.join(["balans", *public_arguments(given), "--resume"])
