"""The command line: what can be asked; a command imports what it does only when it does it.

So help, completion and refused options do not wait for Dask, zarr and numba.
"""

import sys
import traceback
import warnings
from contextlib import suppress
from typing import Any

import click
from rich.console import Console

import balans_dask
from balans_dask.cli.config import CONFIG_OPTION, PRINT_OPTIONS, ConfigurableCommand
from balans_dask.cli.exit_codes import EXIT_INPUT, EXIT_OTHER, explained, say_warning
from balans_dask.cli.options import (
    BATCH_OPTIONS,
    COLUMN_OPTIONS,
    EVALUATE_OPTIONS,
    FIT_OPTIONS,
    REPORT_OPTIONS,
    WRITE_OPTIONS,
    not_nan,
)
from balans_dask.cli.stores import PREPROCESS_OPTIONS
from balans_dask.cli.workers import CLUSTER_OPTIONS
from balans_dask.cli_completion import completion, folders
from balans_dask.cli_export import export
from balans_dask.cli_grid import GRID_OPTIONS, SWEEP_OUTPUTS
from balans_dask.cli_into import INTO_OPTIONS
from balans_dask.cli_storage import STORAGE_OPTIONS
from balans_dask.errors import InputWarning, Interrupted, printable, public, require_assertions
from balans_dask.parameters import CHECKPOINT_SECONDS

__all__ = ["ended", "run"]

_out = Console()


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(balans_dask.__version__, prog_name="balans")
def cli() -> None:
    """Batch correction for Cell Painting profiles."""
    require_assertions()


cli.add_command(completion)


@cli.command()
@click.argument("source", shell_complete=folders)
@click.argument("target", shell_complete=folders)
@COLUMN_OPTIONS
@click.option("--overwrite", is_flag=True, help="Replace a store at TARGET.")
@STORAGE_OPTIONS
def convert(**options: Any) -> None:
    """Turn a table of profiles into a store.

    SOURCE is a .parquet, .csv, .csv.gz or .h5ad file or a folder of .parquet or .csv files, at any
    depth. Columns that begin with Metadata_ or are not numeric describe the rows; every other
    column is a feature.
    """
    from balans_dask.cli_convert import run_convert

    run_convert(_out, **options)


@cli.command(cls=ConfigurableCommand)
@click.argument("source", shell_complete=folders)
@BATCH_OPTIONS
@FIT_OPTIONS
@CONFIG_OPTION
@CLUSTER_OPTIONS
@STORAGE_OPTIONS
def check(**options: Any) -> None:
    """Validate a store and print the plan of a run; corrects nothing."""
    from balans_dask.cli.correct import run_check

    run_check(_out, **options)


@cli.command(cls=ConfigurableCommand)
@click.argument("source", shell_complete=folders)
@click.argument("target", required=False, shell_complete=folders)
@BATCH_OPTIONS
@FIT_OPTIONS
@INTO_OPTIONS
@PRINT_OPTIONS
@click.option("--model", help="Save the frozen model here too, for plates to come.")
@CLUSTER_OPTIONS
@STORAGE_OPTIONS
@WRITE_OPTIONS
@click.option(
    "--checkpoint-seconds",
    type=click.FloatRange(0),
    callback=not_nan,
    default=CHECKPOINT_SECONDS,
    show_default=True,
    help="Least time between two checkpoints.",
)
def correct(**options: Any) -> None:
    """Correct a store into a new one, or add the results to it."""
    from balans_dask.cli.correct import run_correct

    run_correct(**options)


@cli.command(cls=ConfigurableCommand)
@click.argument("model", shell_complete=folders)
@click.argument("source", shell_complete=folders)
@click.argument("target", shell_complete=folders)
@BATCH_OPTIONS
@PRINT_OPTIONS
@click.option("--anchor", help="Query for the anchors of new batches; default: that of the fit.")
@CLUSTER_OPTIONS
@STORAGE_OPTIONS
@WRITE_OPTIONS
def transform(**options: Any) -> None:
    """Correct a store by a frozen model: plates that were not there when it was fitted."""
    from balans_dask.cli.correct import run_transform

    run_transform(**options)


@cli.command()
@click.argument("source", shell_complete=folders)
@STORAGE_OPTIONS
def inspect(source: str) -> None:
    """Say what a store or a model holds, and how it was made."""
    from balans_dask.cli_inspect import run_inspect

    run_inspect(_out, source)


@cli.command(cls=ConfigurableCommand)
@click.argument("stores", nargs=-1, required=True, shell_complete=folders)
@BATCH_OPTIONS
@CONFIG_OPTION
@EVALUATE_OPTIONS
@STORAGE_OPTIONS
def evaluate(stores: tuple[str, ...], json: str | None, csv: str | None, **options: Any) -> None:
    """Score corrections of the same rows, beside their input and null models.

    STORES were written by correct or transform; the first may be the input of the others.
    """
    from balans_dask.cli.evaluate import run_evaluate

    run_evaluate(_out, stores, json, csv, **options)


@cli.command()
@click.argument("store", shell_complete=folders)
@REPORT_OPTIONS
@STORAGE_OPTIONS
def report(store: str, html: str, **options: Any) -> None:
    """Show what a correction did: one HTML file with all figures, for any browser."""
    from balans_dask.cli_report import run_report

    for warning in run_report(store, html, **options):
        say_warning(warning)
    click.echo(f"{printable(html)}: report of {printable(store)}")


@cli.command(cls=ConfigurableCommand)
@click.argument("source", shell_complete=folders)
@BATCH_OPTIONS
@CONFIG_OPTION
@GRID_OPTIONS
@CLUSTER_OPTIONS
@STORAGE_OPTIONS
@SWEEP_OUTPUTS
def sweep(**options: Any) -> None:
    """Score a grid of settings and say which to take; corrects nothing.

    Options of the grid take one value or several, as in 3,5,10; all combinations are tried.
    """
    from balans_dask.cli_sweep import run_sweep_command

    run_sweep_command(_out, **options)


@cli.command()
@click.option("--folder", default="demo", show_default=True, help="Where to write.")
def demo(folder: str) -> None:
    """Generate a small screen, correct it, and show scores and a picture."""
    from balans_dask.cli_demo import run_demo_command

    run_demo_command(_out, folder)


cli.add_command(export)


@cli.command(cls=ConfigurableCommand)
@click.argument("source", shell_complete=folders)
@click.argument("target", shell_complete=folders)
@PREPROCESS_OPTIONS
@CLUSTER_OPTIONS
@PRINT_OPTIONS
@STORAGE_OPTIONS
def preprocess(**options: Any) -> None:
    """Normalise by plate, transform and select features, as people do before a correction."""
    from balans_dask.cli.stores import run_preprocess

    run_preprocess(**options)


def run(arguments: list[str] | None = None) -> int:
    """Run one command, turning every failure into one line and an exit code.

    Parameters
    ----------
    arguments : list of str or None
        ``None`` for those of the process.
    """
    given = sys.argv[1:] if arguments is None else arguments
    with warnings.catch_warnings():
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
