"""The command line: the group of commands, and how every one of them ends.

A command imports what it does only when it does it, so help, completion and refused options do not
wait for Dask, Zarr and numba.
"""

import sys
import traceback
import warnings
from contextlib import suppress

import click

import balans_dask
from balans_dask.cli.correct import check, correct, transform
from balans_dask.cli.demo import demo
from balans_dask.cli.evaluate import evaluate, report, sweep
from balans_dask.cli.exit_codes import EXIT_INPUT, EXIT_OTHER, explained, say_warning
from balans_dask.cli.options import completion
from balans_dask.cli.stores import convert, export, inspect, preprocess
from balans_dask.errors import (
    InputWarning,
    Interrupted,
    printable,
    public,
    require_assertions,
    speaking_of_flags,
)

__all__ = ["cli", "ended", "run"]


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
    message, code = explained(error, given)
    if code == EXIT_OTHER and "--verbose" in given:
        with suppress(OSError):
            click.echo(public(traceback.format_exc()), err=True, nl=False)
    with suppress(OSError):  # there may be nobody to tell
        click.echo(f"balans: error: {printable(message)}", err=True)
    return code
