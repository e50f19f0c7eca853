"""The command line: parse, connect, one call each."""

import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import click
from rich.console import Console

import balans_dask
from balans_dask.anchors import GIVEN_ROWS
from balans_dask.cli_cluster import CLUSTER_OPTIONS, open_engine
from balans_dask.cli_completion import completion, folders
from balans_dask.cli_config import CONFIG_OPTION, PRINT_OPTIONS, ConfigurableCommand, resolved
from balans_dask.cli_exit import EXIT_INPUT, EXIT_OTHER, explained
from balans_dask.cli_export import export
from balans_dask.cli_grid import GRID_OPTIONS, SWEEP_OUTPUTS, grid_of, require_outputs
from balans_dask.cli_into import INTO_OPTIONS, added_to, output_of
from balans_dask.cli_options import (
    BATCH_OPTIONS,
    COLUMN_OPTIONS,
    EVALUATE_OPTIONS,
    FIT_OPTIONS,
    REPORT_OPTIONS,
    WORD_FOR_NONE,
    WRITE_OPTIONS,
    column_rule,
    not_nan,
)
from balans_dask.cli_preprocess import PREPROCESS_OPTIONS, run_preprocess, steps_of
from balans_dask.cli_storage import STORAGE_OPTIONS
from balans_dask.cluster.silence import silence_dask
from balans_dask.correct import correct_store, transform_store
from balans_dask.errors import InputWarning, Interrupted, first_names
from balans_dask.events import EventLog, Events
from balans_dask.examine import examine
from balans_dask.frozen import Model
from balans_dask.inputs import plan_run
from balans_dask.io.convert import convert_table
from balans_dask.io.model_store import is_model, stored_bytes
from balans_dask.io.store import open_store
from balans_dask.models import load_model
from balans_dask.parameters import Parameters
from balans_dask.passes.blas import single_threaded_blas
from balans_dask.passes.engine import Engine
from balans_dask.performance import reporting, require_report
from balans_dask.progress import Progress
from balans_dask.provenance import correction_record
from balans_dask.signals import stoppable
from balans_dask.stage import OnStage
from balans_dask.store_run import StoreRun, store_run
from balans_dask.terminal import (
    correction_facts,
    facts_table,
    input_facts,
    model_facts,
    plan_facts,
    printable,
    store_facts,
)
from balans_dask.writing import CHECKPOINT_SECONDS

__all__ = ["main", "run"]

_out = Console()
_err = Console(stderr=True, soft_wrap=True)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(balans_dask.__version__, prog_name="balans")
def cli() -> None:
    """Batch correction for Cell Painting profiles."""


cli.add_command(completion)


@cli.command()
@click.argument("source", shell_complete=folders)
@click.argument("target", shell_complete=folders)
@COLUMN_OPTIONS
@click.option("--overwrite", is_flag=True, help="Replace a store at TARGET.")
@STORAGE_OPTIONS
def convert(source: str, target: str, pattern: str | None, overwrite: bool, **options: Any) -> None:
    """Turn a table of profiles into a store.

    SOURCE is a .parquet, .csv, .csv.gz or .h5ad file or a folder of .parquet or .csv files, at any
    depth. Columns that begin with Metadata_ or are not numeric describe the rows; every other
    column is a feature.
    """
    rule = column_rule(options)
    with stoppable():
        found = convert_table(source, target, overwrite, rule, pattern)
    facts = {
        "rows": f"{found.n_rows:,}",
        "features": f"{found.n_features:,}",
        "columns of obs": first_names(found.annotations, 12),
    }
    if rule.features or rule.left_out:
        facts["feature rule"] = rule.explained()
    if found.left_out:
        facts["left out"] = f"{len(found.left_out):,} columns ({first_names(found.left_out)})"
    if found.n_bad_rows:
        facts["NaN or infinite"] = (
            f"in {found.n_bad_features} features and {found.n_bad_rows} rows: "
            "drop them with `balans preprocess --select missing`, or impute them"
        )
    _out.print(facts_table(target, facts))


@cli.command(cls=ConfigurableCommand)
@click.argument("source", shell_complete=folders)
@BATCH_OPTIONS
@FIT_OPTIONS
@CONFIG_OPTION
@CLUSTER_OPTIONS
@STORAGE_OPTIONS
def check(source: str, **options: Any) -> None:
    """Validate a store and print the plan of a run; corrects nothing."""
    asked = _run(source, options)
    with stoppable(), _engine(options) as (engine, limit_bytes), single_threaded_blas():
        plan = plan_run(asked.inputs, asked.parameters, engine.workers(limit_bytes))
        examined = examine(engine, asked.inputs, asked.parameters, plan.tiling)
    facts = _keys(asked) | input_facts(asked.inputs, asked.parameters, examined)
    _out.print(facts_table(source, facts))
    _out.print(facts_table("plan", plan_facts(plan)))


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
def correct(
    source: str,
    target: str | None,
    into: bool,
    layer: bool,
    model: str | None,
    overwrite: bool,
    resume: bool,
    checkpoint_seconds: float,
    performance_report: str | None,
    quiet: bool,
    verbose: bool,
    **options: Any,
) -> None:
    """Correct a store into a new one, or add the results to it."""
    require_report(performance_report, overwrite)
    target = output_of(source, target, into, layer)
    asked = _run(source, options, writes=not into)
    asked = added_to(asked, layer) if into else asked
    console = Console(stderr=True, quiet=quiet, soft_wrap=True)
    with stoppable(), _engine(options) as (engine, limit_bytes):
        workers = engine.workers(limit_bytes)
        freezes = model is not None
        plan = plan_run(asked.inputs, asked.parameters, workers, freezes=freezes)
        progress = Progress(console, verbose, facts_table("plan", _keys(asked) | plan_facts(plan)))
        watched = reporting(engine.client, performance_report)
        with watched, _events(target, progress) as on_stage:
            record = correct_store(
                engine, asked, plan, target, overwrite, resume, on_stage, checkpoint_seconds, model
            )
    if not quiet:
        click.echo(
            f"{printable(target)}: {asked.inputs.n_rows:,} rows corrected by "
            f"{int(record['n_sampled']):,} landmarks, {int(record['n_uncovered']):,} uncovered, "
            f"stopped by {record['stop_reason']}"
        )


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
def transform(
    model: str,
    source: str,
    target: str,
    overwrite: bool,
    resume: bool,
    performance_report: str | None,
    quiet: bool,
    verbose: bool,
    **options: Any,
) -> None:
    """Correct a store by a frozen model: plates that were not there when it was fitted."""
    require_report(performance_report, overwrite)
    frozen = load_model(model)
    basis = None if frozen.n_embedding is None else frozen.record["basis"]
    asked = store_run(
        open_store(source),
        options["batch_keys"],
        frozen.parameters,
        basis,
        _query_of(frozen) if options["anchor"] is None else options["anchor"],
        known=frozen.batches,
    )
    console = Console(stderr=True, quiet=quiet, soft_wrap=True)
    with stoppable(), _engine(options) as (engine, limit_bytes):
        workers = engine.workers(limit_bytes)
        plan = plan_run(asked.inputs, frozen.parameters, workers, frozen.sizes)
        progress = Progress(console, verbose, facts_table("plan", plan_facts(plan)))
        watched = reporting(engine.client, performance_report)
        with watched, _events(target, progress) as on_stage:
            record = transform_store(
                engine, asked, frozen, plan, target, overwrite, resume, on_stage, model
            )
    if not quiet:
        n_uncovered = int(record["n_uncovered"])
        n_new = len(set(asked.inputs.labels.names) - set(frozen.batches))
        click.echo(
            f"{printable(target)}: {asked.inputs.n_rows:,} rows corrected by "
            f"{printable(model)}, {n_new:,} of {asked.inputs.labels.n_batches:,} batches new, "
            f"{n_uncovered:,} rows uncovered ({n_uncovered / asked.inputs.n_rows:.2%}; "
            f"{frozen.risk:.2%} expected)"
        )


@cli.command()
@click.argument("source", shell_complete=folders)
@STORAGE_OPTIONS
def inspect(source: str) -> None:
    """Say what a store or a model holds, and how it was made."""
    if is_model(source):
        _out.print(facts_table(source, model_facts(load_model(source), stored_bytes(source))))
        return
    store = open_store(source)
    _out.print(facts_table(source, store_facts(store)))
    record = correction_record(store)
    if record:
        _out.print(facts_table("correction", correction_facts(record)))


@cli.command(cls=ConfigurableCommand)
@click.argument("stores", nargs=-1, required=True, shell_complete=folders)
@BATCH_OPTIONS
@CONFIG_OPTION
@EVALUATE_OPTIONS
@STORAGE_OPTIONS
def evaluate(
    stores: tuple[str, ...], json: str | None, csv: str | None, overwrite: bool, **options: Any
) -> None:
    """Score corrections of the same rows, beside their input and null models.

    STORES were written by correct or transform; the first may be the input of the others.
    """
    from balans_dask.cli_evaluate import run_evaluate  # noqa: PLC0415  (an optional extra)

    run_evaluate(_out, stores, json, csv, overwrite, **options)


@cli.command()
@click.argument("store", shell_complete=folders)
@REPORT_OPTIONS
@STORAGE_OPTIONS
def report(store: str, html: str, **options: Any) -> None:
    """Show what a correction did: one HTML file with all figures, for any browser."""
    from balans_dask.cli_report import run_report  # noqa: PLC0415  (an optional extra)

    for warning in run_report(store, html, **options):
        _say_warning(warning)
    click.echo(f"{printable(html)}: report of {printable(store)}")


@cli.command(cls=ConfigurableCommand)
@click.argument("source", shell_complete=folders)
@BATCH_OPTIONS
@CONFIG_OPTION
@GRID_OPTIONS
@CLUSTER_OPTIONS
@STORAGE_OPTIONS
@SWEEP_OUTPUTS
def sweep(
    source: str,
    label_key: str,
    eval_rows: int,
    scores: str,
    scratch: str | None,
    json: str | None,
    plot: str | None,
    overwrite: bool,
    quiet: bool,
    verbose: bool,
    **options: Any,
) -> None:
    """Score a grid of settings and say which to take; corrects nothing.

    Options of the grid take one value or several, as in 3,5,10; all combinations are tried.
    """
    from balans_dask.sweep.store import run_sweep, sweep_run  # noqa: PLC0415  (scikit-learn)
    from balans_dask.sweep.table import save_sweep, sweep_lines  # noqa: PLC0415

    require_outputs(json, plot, scratch, overwrite)
    grid, base = grid_of(options)
    keys, basis, anchor = options["batch_keys"], options["basis"], options["anchor"]
    asked = sweep_run(source, keys, label_key, grid, base, basis, anchor, eval_rows, scores)
    console = Console(stderr=True, quiet=quiet, soft_wrap=True)
    watched = Progress(console, verbose)
    with stoppable(), _engine(options) as (engine, limit_bytes), watched as progress:
        result = run_sweep(engine, asked, limit_bytes, scratch, Events(progress))
    for line in sweep_lines(result):
        _out.print(line, soft_wrap=isinstance(line, str), markup=False, highlight=False)
    save_sweep(result, json, plot)


@cli.command()
@click.option("--folder", default="demo", show_default=True, help="Where to write.")
def demo(folder: str) -> None:
    """Generate a small screen, correct it, and show scores and a picture."""
    from balans_dask.demo import run_demo  # noqa: PLC0415  (only the demo needs scikit-learn)

    with Progress(_err) as progress:
        lines = list(run_demo(folder, Events(progress)))
    for line in lines:
        _out.print(line)


cli.add_command(export)


@cli.command(cls=ConfigurableCommand)
@click.argument("source", shell_complete=folders)
@click.argument("target", shell_complete=folders)
@PREPROCESS_OPTIONS
@CLUSTER_OPTIONS
@PRINT_OPTIONS
@STORAGE_OPTIONS
def preprocess(source: str, target: str, **options: Any) -> None:
    """Normalise by plate, transform and select features, as people do before a correction."""
    steps = steps_of(options)
    with stoppable(), _engine(options) as (engine, limit_bytes):
        run_preprocess(engine, source, target, steps, limit_bytes, options)


@contextmanager
def _events(target: str, progress: Progress) -> Iterator[OnStage]:
    """Show progress and note it beside the output."""
    with progress:
        events = Events(EventLog(target, resolved(click.get_current_context())), progress)
        yield events
        events.finish()


def _run(source: str, options: dict[str, Any], writes: bool = True) -> StoreRun:
    """Check everything that can be checked before there is a cluster."""
    given = {name: options[name] for name in Parameters.__dataclass_fields__ if name in options}
    given["n_components"] = given["n_components"] or None
    if given["max_scale_ratio"] == WORD_FOR_NONE:
        given["max_scale_ratio"] = None
    parameters = Parameters(**given)
    return store_run(
        open_store(source),
        options["batch_keys"],
        parameters,
        options["basis"],
        options["anchor"],
        batch_order=options["batch_order"],
        writes=writes,
    )


def _keys(asked: StoreRun) -> dict[str, str]:
    """Say what makes the batches, as options and a preset have it."""
    if not asked.order:
        return {"batch key": "+".join(asked.batch_keys)}
    turns = zip(asked.batch_keys, asked.order, strict=True)
    each = ", then ".join(f"{key} ({labels.n_batches:,} batches)" for key, labels in turns)
    return {"batch keys": f"{each}: {asked.parameters.n_passes} passes"}


def _query_of(model: Model) -> str | None:
    """Query of a model for its anchors; a mask that a caller gave has none."""
    anchor = model.record.get("anchor")
    return None if anchor == GIVEN_ROWS else anchor


def _engine(options: dict[str, Any]) -> AbstractContextManager[tuple[Engine, int | None]]:
    return open_engine(options["cluster"], _say_warning)


def _say_warning(message: Any, *args: Any, **kwargs: Any) -> None:
    click.echo(f"balans: warning: {printable(message)}", err=True)


def run(arguments: list[str] | None = None) -> int:
    """Run one command, turning every failure into one line and an exit code.

    Parameters
    ----------
    arguments : list of str or None
        ``None`` for those of the process.
    """
    given = sys.argv[1:] if arguments is None else arguments
    if "--verbose" not in given:
        silence_dask()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", InputWarning)
        warnings.showwarning = _say_warning
        try:
            # click returns the code of --help and --version, and None after a command.
            return int(cli.main(given, prog_name="balans", standalone_mode=False) or 0)
        except click.exceptions.NoArgsIsHelpError as help_text:
            click.echo(help_text.format_message())
            return EXIT_INPUT
        except (Exception, Interrupted, KeyboardInterrupt) as error:  # noqa: BLE001
            # The last resort: whatever happened, a user gets one line.
            message, code = explained(error, given)
            if code == EXIT_OTHER and "--verbose" in given:
                traceback.print_exc()
            click.echo(f"balans: error: {printable(message)}", err=True)
            return code


def main() -> None:
    """Run the command line."""
    sys.exit(run())
