"""The command line: the group of commands, how every one of them ends, and with which exit code.

A command imports what it does only when it does it, so help, completion and refused options do not
wait for Dask, Zarr and numba.
"""

import errno
import os
import shlex
import sys
import traceback
import warnings
from collections.abc import Sequence
from contextlib import suppress

import click

import balans_dask
from balans_dask.cli import say_warning
from balans_dask.cli.correct import check, correct, transform
from balans_dask.cli.demo import demo
from balans_dask.cli.evaluate import evaluate, report, sweep
from balans_dask.cli.options import completion
from balans_dask.cli.stores import convert, export, inspect, preprocess
from balans_dask.errors import (
    BalansError,
    InputWarning,
    Interrupted,
    RunError,
    did_you_mean,
    exhaustion,
    printable,
    public,
    public_arguments,
    require_assertions,
    speaking_of_flags,
)

__all__ = ["cli", "ended", "run"]

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
OF_KERNEL = "JPY_PARENT_PID"
"""Variable of what a Jupyter kernel starts."""
REFUSED_PATHS = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENAMETOOLONG}
"""What a file system says of a path that the user may not use."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(balans_dask.__version__, prog_name="balans")
def cli() -> None:
    """Batch correction for Cell Painting profiles."""
    require_assertions()


for command in (
    *(check, completion, convert, correct, demo, evaluate),
    *(export, inspect, preprocess, report, sweep, transform),
):
    cli.add_command(command)


def run(arguments: list[str] | None = None) -> int:
    """Run one command, turning every failure into one line and an exit code.

    Parameters
    ----------
    arguments : list of str or None
        ``None`` for those of the process.
    """
    given = sys.argv[1:] if arguments is None else arguments
    if OF_KERNEL in os.environ:
        # It asks the commands of a cell for colours, which a page then shows as codes.
        os.environ.pop("FORCE_COLOR", None)
    with warnings.catch_warnings(), speaking_of_flags():
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", InputWarning)
        warnings.showwarning = say_warning
        try:
            # click returns the code of --help and --version, and None after a command.
            return int(cli.main(given, prog_name="balans", standalone_mode=False) or 0)
        except click.exceptions.NoArgsIsHelpError as help_text:
            click.echo(help_text.format_message())
            return EXIT_INPUT
        except (Exception, Interrupted, KeyboardInterrupt) as error:  # noqa: BLE001
            # The last resort: whatever happened, a user gets one line.
            return ended(error, given)


def ended(error: BaseException, given: list[str]) -> int:
    """Say in one line what ended a command, and return its exit code.

    Parameters
    ----------
    error : BaseException
        The one being handled.
    given : list of str
        Arguments of the command.
    """
    message, code = _explained(error, given)
    if code == EXIT_OTHER and "--verbose" in given:
        with suppress(OSError):
            click.echo(public(traceback.format_exc()), err=True, nl=False)
    with suppress(OSError):  # there may be nobody to tell
        click.echo(f"balans: error: {printable(message)}", err=True)
    return code


def _explained(error: BaseException, arguments: Sequence[str]) -> tuple[str, int]:
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
        case click.NoSuchOption(option_name=name, possibilities=near):
            advice = did_you_mean(name, near or ()) or f": see balans {arguments[0]} --help"
            return f"no option is called {name}{advice}", EXIT_INPUT
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
