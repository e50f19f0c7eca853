"""``balans check``, ``correct`` and ``transform``: plan, connect, one call each."""

import shlex
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource
from rich.console import Console

from balans_dask.cli.config import CONFIG_OPTION, PRINT_OPTIONS, ConfigurableCommand, resolved
from balans_dask.cli.options import (
    BATCH_OPTIONS,
    PRESET,
    RECORDED_BATCH_OPTIONS,
    STORAGE_OPTIONS,
    WORD_FOR_NONE,
    column_rule,
    columns,
    folders,
    not_nan,
    option_group,
    ratio_of,
)
from balans_dask.cli.workers import CLUSTER_OPTIONS, open_engine, reporting, require_report
from balans_dask.errors import BalansError, printable, public
from balans_dask.parameters import (
    ALL,
    AUTO,
    CHECKPOINT_SECONDS,
    OPERATORS,
    PAPER,
    STOPPING,
    UNCOVERED,
    Parameters,
)

if TYPE_CHECKING:
    from rich.table import Table

    from balans_dask.evaluate.ending import Ending
    from balans_dask.io.store import ProfileStore
    from balans_dask.model.frozen import Model
    from balans_dask.passes.memory import MemoryPlan
    from balans_dask.passes.stage import OnStage
    from balans_dask.progress import Progress
    from balans_dask.workflows.correct import WriteOptions
    from balans_dask.workflows.request import CorrectionRequest
    from balans_dask.workflows.tables import Ends

__all__ = ["check", "correct", "transform"]

_DEFAULTS = Parameters()
YES = "yes"
LARGE_BYTES = 2**30
"""A plan above this is shown unasked."""


def _ratio(context: click.Context, option: click.Parameter, value: str) -> float | str:
    """Check a limit; none stays a word, as in a file of options."""
    try:
        ratio = ratio_of(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is neither a number nor auto nor none") from None
    return value if ratio is None else ratio


def _count_or_all(
    context: click.Context, option: click.Parameter, value: str | None
) -> int | str | None:
    if value is None or value == ALL:
        return value
    try:
        return int(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is neither a whole number nor all") from None


def _paper(context: click.Context, option: click.Parameter, value: bool) -> bool:
    """Make the published method the default of other options, which are read after this one."""
    if value:
        words = {
            name: WORD_FOR_NONE if fixed is None else fixed
            for name, fixed in PAPER.items()
            if name != "correct_single_batch"
        }
        known = context.default_map or {}
        if context.get_parameter_source("paper") is ParameterSource.DEFAULT_MAP:
            _refuse_beside_paper(
                name for name in words if known.get(name, words[name]) != words[name]
            )
        context.default_map = {**known, **words}
    return value


def _refuse_beside_paper(names: Iterable[str]) -> None:
    for name in names:
        raise click.UsageError(f"--paper fixes --{name.replace('_', '-')}: leave out one of them")


FIT_OPTIONS = option_group(
    # Before those that it fixes.
    click.option(
        "--paper",
        is_flag=True,
        callback=_paper,
        help="The published method: smooth, patience 50, one pass, no limit on scales.",
    ),
    click.option(
        "--operator",
        type=click.Choice(OPERATORS),
        default=_DEFAULTS.operator,
        show_default=True,
        help="align moves batches as far as rows confirm their matches; smooth: the paper.",
    ),
    click.option(
        "--shared-populations",
        type=click.Choice((AUTO, YES)),
        default=AUTO,
        show_default=True,
        help="yes: you know that every batch holds every treatment; auto: align asks the rows.",
    ),
    click.option(
        "--strength",
        type=float,
        default=_DEFAULTS.strength,
        show_default=True,
        help="Share of the correction in the output, from 0 to 1.",
    ),
    click.option(
        "--n-neighbors",
        type=int,
        default=_DEFAULTS.n_neighbors,
        show_default=True,
        help="k: the neighbour within a batch whose distance is the local scale.",
    ),
    click.option(
        "--patience",
        type=int,
        default=_DEFAULTS.patience,
        show_default=True,
        help="Stop after this many rows in turn that cover nothing new.",
    ),
    click.option(
        "--stopping",
        type=click.Choice(STOPPING),
        show_default="share with align, else patience",
        help="share: 99 % of rows covered; patience: the paper; auto: nothing likely missed.",
    ),
    click.option(
        "--block-rows",
        type=int,
        show_default="256 with align, else 64",
        help="Rows drawn at a time; 1: the paper's loop.",
    ),
    click.option(
        "--coverage-tol",
        type=float,
        default=_DEFAULTS.coverage_tol,
        show_default=True,
        help="A row is idle if it covers at most this share of all rows anew.",
    ),
    click.option(
        "--max-rows", type=int, show_default="no limit", help="Draw at most this many rows."
    ),
    click.option(
        "--n-components",
        type=click.IntRange(0),
        default=_DEFAULTS.n_components,
        show_default=True,
        help="Principal components for distances; 0: X is an embedding already.",
    ),
    click.option(
        "--n-passes",
        type=int,
        show_default="2 with align, else 1",
        help="Fit and correct this many times what is left; of align, its local steps.",
    ),
    click.option(
        "--fit-rows",
        metavar="N|all",
        callback=_count_or_all,
        show_default="100,000 with align, else all",
        help="Learn from N rows, as many of every batch (512 at least); all rows are corrected.",
    ),
    click.option(
        "--batch-order",
        is_flag=True,
        help="Each --batch-key has its own passes, the first one first, instead of joint batches.",
    ),
    click.option(
        "--label-key",
        shell_complete=columns,
        help="Column of obs with treatments: warn, before any work, if batches hide them.",
    ),
    click.option(
        "--basis",
        show_default="X",
        help="Take distances in this matrix of obsm, such as X_pca.",
    ),
    click.option(
        "--anchor",
        metavar="QUERY",
        show_default="all rows",
        help="Estimate on the rows of this query alone: \"Metadata_pert_type == 'negcon'\".",
    ),
    click.option(
        "--sphering",
        metavar="QUERY",
        help="Whiten all profiles at the end by the controls of this query.",
    ),
    click.option(
        "--seed", type=int, default=_DEFAULTS.seed, show_default=True, help="Seed of the draws."
    ),
    click.option(
        "--max-scale-ratio",
        metavar="C|auto|none",
        callback=_ratio,
        default=AUTO,
        show_default=True,
        help="Limit local scales to C times a row's smallest; none: the paper. Not for align.",
    ),
    click.option(
        "--max-neighbors",
        type=int,
        show_default="no limit",
        help="Cap the entries of a row of A.",
    ),
    click.option(
        "--uncovered",
        type=click.Choice(UNCOVERED),
        show_default="offset with align, else nearest",
        help="Rows that no landmark covers: move with their batch, with the nearest, or stay.",
    ),
    title="Method",
)
WRITE_OPTIONS = option_group(
    click.option(
        "--overwrite", is_flag=True, help="Replace a store at TARGET once this one is done."
    ),
    click.option("--resume", is_flag=True, help="Continue an unfinished run, if there is one."),
    click.option(
        "--performance-report",
        metavar="FILE",
        help="Write Dask's report of the run into this HTML file.",
    ),
    click.option("--quiet", is_flag=True, help="Say nothing but warnings and errors."),
    click.option("--verbose", is_flag=True, help="Print the plan and every round."),
    title="Output",
)


@click.command(cls=ConfigurableCommand)
@click.argument("source", shell_complete=folders)
@BATCH_OPTIONS
@FIT_OPTIONS
@CLUSTER_OPTIONS
@STORAGE_OPTIONS
@CONFIG_OPTION
def check(source: str, **options: Any) -> None:
    """Validate a store and print the plan of a run; corrects nothing."""
    from balans_dask.cli.terminal import facts_table, input_facts, label_facts, plan_facts
    from balans_dask.io.store import open_store
    from balans_dask.kernels._blas import single_threaded_blas
    from balans_dask.model.inputs import check_input
    from balans_dask.model.plan import plan_run

    asked = _asked(open_store(source, options["cluster"].limit_bytes), options)
    asked.try_writing()
    opened = open_engine(options["cluster"])
    with opened as (engine, limit_bytes), single_threaded_blas():
        plan = plan_run(asked.inputs, asked.parameters, engine.workers(limit_bytes))
        examined = check_input(engine, asked.inputs, asked.parameters, plan.tiling)
    facts = _keys(asked) | input_facts(asked.inputs, asked.parameters, examined)
    facts |= label_facts(asked)
    out = Console()
    out.print(facts_table(source, facts))
    out.print(facts_table("plan", plan_facts(plan)))


@click.command(cls=ConfigurableCommand)
@click.argument("source", shell_complete=folders)
@click.argument("target", required=False, shell_complete=folders)
@BATCH_OPTIONS
@FIT_OPTIONS
@option_group(
    click.option(
        "--into",
        is_flag=True,
        help="Add corrected scores to SOURCE itself, without a TARGET; nothing in it is rewritten.",
    ),
    click.option(
        "--layer", is_flag=True, help="With --into: add the corrected features, layers/balans, too."
    ),
    click.option(
        "--checkpoint-seconds",
        type=click.FloatRange(0),
        callback=not_nan,
        default=CHECKPOINT_SECONDS,
        show_default=True,
        help="Least time between two checkpoints.",
    ),
    title="Output",
)
@click.option("--model", metavar="PATH", help="Save the frozen model here too, for plates to come.")
@WRITE_OPTIONS
@CLUSTER_OPTIONS
@STORAGE_OPTIONS
@PRINT_OPTIONS
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
    """Correct a table or a store into a new one, or add the results to a store.

    SOURCE is a store, a .parquet, .csv, .csv.gz or .h5ad file or a folder of tables; TARGET is a
    store, or a table that ends in .parquet, .csv.gz or .h5ad. A table keeps its columns, in their
    order.

    Batches move towards each other as far as their rows confirm that they hold the same populations
    (align); --paper smooths, as published.
    """
    from balans_dask.cli.terminal import plan_facts
    from balans_dask.io.paths import table_suffix
    from balans_dask.io.run_folder import taken_by
    from balans_dask.model.plan import plan_run
    from balans_dask.progress import Progress
    from balans_dask.workflows.correct import WriteOptions, correct_store
    from balans_dask.workflows.tables import TableFolder

    target = _output_of(source, target, into, layer)
    if not into:
        table_suffix(target)  # refused before anything is looked at
    require_report(performance_report, overwrite, (source, *taken_by(target), model))
    console = Console(stderr=True, quiet=quiet, soft_wrap=True)
    is_reported = performance_report is not None
    how = WriteOptions(overwrite, resume, checkpoint_seconds, model)
    found: list[Ending] = []

    def look(after: str, record: dict[str, Any] | None = None) -> None:
        if not quiet:
            found.extend(_scored(asked, after, record))

    with _ends(source, target, options, how, console, look) as ends:
        asked = _asked(ends.opened(options["cluster"].limit_bytes), options, is_copied=not into)
        asked = _added_to(asked, layer) if into else asked
        with open_engine(options["cluster"], is_reported) as (engine, limit_bytes):
            workers = engine.workers(limit_bytes)
            freezes = model is not None
            plan = plan_run(asked.inputs, asked.parameters, workers, freezes=freezes)
            facts = _keys(asked) | plan_facts(plan)
            progress = Progress(console, verbose, _plan_shown(facts, plan, verbose))
            watched = reporting(engine, performance_report)
            with watched, _events(ends, progress) as tell, engine.telling(tell):
                record = correct_store(engine, asked, plan, ends.folder, how)
            if ends.store == source and not isinstance(ends.folder, TableFolder):
                # In place it says more than it is told here.
                look(target, None if into else record)
    if not quiet:
        _say_ending(target, asked, record, found, model)


@click.command(cls=ConfigurableCommand)
@click.argument("model", shell_complete=folders)
@click.argument("source", shell_complete=folders)
@click.argument("target", shell_complete=folders)
@RECORDED_BATCH_OPTIONS
@click.option(
    "--anchor",
    metavar="QUERY",
    show_default="those of the fit",
    help="Estimate on the rows of this query alone.",
)
@WRITE_OPTIONS
@CLUSTER_OPTIONS
@STORAGE_OPTIONS
@PRINT_OPTIONS
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
    """Correct a table or a store by a frozen model: plates that were not there when it was fitted.

    SOURCE and TARGET are what `balans correct` takes.
    """
    from balans_dask.cli.terminal import plan_facts
    from balans_dask.io.paths import table_suffix
    from balans_dask.io.run_folder import taken_by
    from balans_dask.model.plan import plan_run
    from balans_dask.model.saved import load_model
    from balans_dask.progress import Progress
    from balans_dask.workflows.correct import WriteOptions, transform_store
    from balans_dask.workflows.request import correction_request, warn_of_what_stays_behind

    table_suffix(target)  # refused before anything is looked at
    require_report(performance_report, overwrite, (source, *taken_by(target), model))
    frozen = load_model(model)
    if not options["batch_keys"]:
        options["batch_keys"] = _keys_of(model, frozen)
    frozen.require_keys(options["batch_keys"])
    basis = None if frozen.n_embedding is None else frozen.record["basis"]
    console = Console(stderr=True, quiet=quiet, soft_wrap=True)
    is_reported = performance_report is not None
    how = WriteOptions(overwrite, resume, model=model)
    with _ends(source, target, options, how, console) as ends:
        asked = correction_request(
            ends.opened(options["cluster"].limit_bytes),
            options["batch_keys"],
            frozen.parameters,
            basis,
            _query_of(frozen) if options["anchor"] is None else options["anchor"],
            model=frozen,
        )
        warn_of_what_stays_behind(asked.store, basis)
        with open_engine(options["cluster"], is_reported) as (engine, limit_bytes):
            workers = engine.workers(limit_bytes)
            plan = plan_run(asked.inputs, frozen.parameters, workers, frozen.sizes)
            progress = Progress(console, verbose, _plan_shown(plan_facts(plan), plan, verbose))
            watched = reporting(engine, performance_report)
            with watched, _events(ends, progress) as tell, engine.telling(tell):
                record = transform_store(engine, asked, frozen, plan, ends.folder, how)
    if not quiet:
        n_uncovered = int(record["n_uncovered"])
        n_new = frozen.places_of(asked.inputs.labels).count(-1)
        click.echo(
            f"{printable(target)}: {asked.inputs.n_rows:,} rows corrected by "
            f"{printable(model)}, {n_new:,} of {asked.inputs.labels.n_batches:,} batches new, "
            f"{n_uncovered:,} rows uncovered ({n_uncovered / asked.inputs.n_rows:.2%}; "
            f"{frozen.risk:.2%} expected)"
        )


@contextmanager
def _ends(
    source: str,
    target: str,
    options: dict[str, Any],
    how: "WriteOptions",
    console: Console,
    on_written: Callable[[str], None] = lambda path: None,
) -> "Iterator[Ends]":
    """Hold what a run begins and ends with; where a table is, it becomes a store for a while."""
    from balans_dask.workflows.tables import ends_of

    context = click.get_current_context()
    # What is named as a key describes the rows, whatever is in it.
    keys = [*options["batch_keys"], *filter(None, [options.get("label_key")])]
    rule = column_rule(context).knowing(keys)

    def tell(found: str) -> None:
        console.print(printable(f"{source}: {found}"), markup=False, highlight=False)

    with ends_of(source, target, rule, how.overwrite, how.resume, tell, on_written) as ends:
        yield ends


@contextmanager
def _events(ends: "Ends", progress: "Progress") -> "Iterator[OnStage]":
    """Show progress and note it beside the output, unless that is a table."""
    from balans_dask.events import EventLog, Events
    from balans_dask.workflows.tables import TableFolder

    log = EventLog(ends.folder.given, resolved(click.get_current_context()))
    listeners = [progress] if isinstance(ends.folder, TableFolder) else [log, progress]
    with progress:
        events = Events(*listeners)
        yield events
        events.finish()


def _asked(
    store: "ProfileStore", options: dict[str, Any], is_copied: bool = True
) -> "CorrectionRequest":
    """Check everything that can be checked before there is a cluster."""
    from balans_dask.workflows.request import (
        correction_request,
        warn_of_what_stays_behind,
        with_label,
    )

    given = {name: options[name] for name in Parameters.__dataclass_fields__ if name in options}
    given["n_components"] = given["n_components"] or None
    if given["max_scale_ratio"] == WORD_FOR_NONE:
        given["max_scale_ratio"] = None
    given["shared_populations"] = options["shared_populations"] == YES or AUTO
    if options["paper"]:
        _refuse_beside_paper(
            name for name in PAPER.keys() & given.keys() if given[name] != PAPER[name]
        )
        given |= PAPER
    asked = correction_request(
        store,
        options["batch_keys"],
        Parameters(**given),
        options["basis"],
        options["anchor"],
        batch_order=options["batch_order"],
    )
    if is_copied:
        warn_of_what_stays_behind(asked.store, asked.basis)
    label_key = options["label_key"]
    if label_key is None or _only_of_preset(label_key, asked):
        return asked
    return with_label(asked, label_key)


def _only_of_preset(label_key: str, asked: "CorrectionRequest") -> bool:
    """Whether nobody but a preset names a column, which is not there."""
    named = click.get_current_context().meta.get(PRESET, {}).get("label_key")
    return label_key == named and label_key not in asked.store.obs.columns


def _output_of(source: str, target: str | None, into: bool, layer: bool) -> str:
    """Find where the results go, or refuse options that do not say it."""
    from balans_dask.workflows.tables import is_table

    if into and target is not None:
        raise click.UsageError(f"--into adds the results to {source}: leave out {target}")
    if layer and not into:
        raise click.UsageError("--layer goes with --into: X of a new store is corrected anyway")
    if into and is_table(source):
        raise click.UsageError(f"--into adds to a store, and {source} is a table: name a TARGET")
    if into:
        return source
    if target is None:
        raise click.UsageError(
            "Missing argument 'TARGET': name a new store or table, or add the results to SOURCE, a "
            "store, by --into"
        )
    return target


def _added_to(asked: "CorrectionRequest", layer: bool) -> "CorrectionRequest":
    """Return the same correction with results that are added to its input."""
    if layer and asked.embedding_key is None:
        raise click.UsageError("--layer: X is the embedding, and is corrected as obsm/X_balans")
    return replace(asked, into=True, layer=layer)


def _keys(asked: "CorrectionRequest") -> dict[str, str]:
    """Say what makes the batches, as options and a preset have it."""
    if not asked.order:
        return {"batch key": "+".join(asked.batch_keys)}
    turns = zip(asked.batch_keys, asked.order, strict=True)
    each = ", then ".join(f"{key} ({labels.n_batches:,} batches)" for key, labels in turns)
    return {"batch keys": f"{each}: {len(asked.parameters.alignment)} passes"}


def _keys_of(path: str, model: "Model") -> tuple[str, ...]:
    """Columns of obs that made the batches of a model; they are noted as if they were given."""
    keys = tuple(model.record["batch_key"])
    if not keys:
        raise click.UsageError(
            f"{path} was fitted in Python, on batches that no column names: give --batch-key"
        )
    click.get_current_context().params["batch_keys"] = keys
    return keys


def _plan_shown(facts: dict[str, str], plan: "MemoryPlan", verbose: bool) -> "Table | None":
    """Lay out a plan where somebody asked for it, or it asks for much."""
    from balans_dask.cli.terminal import facts_table

    return facts_table("plan", facts) if verbose or plan.total_bytes > LARGE_BYTES else None


def _scored(
    asked: "CorrectionRequest", after: str, record: dict[str, Any] | None
) -> "list[Ending]":
    """Score what a run has made; a run that is done does not fail by this."""
    from balans_dask.evaluate.ending import ending
    from balans_dask.io.store import open_store

    try:
        found = ending(asked.store, open_store(after), asked.inputs.labels, asked.label, record)
    except (BalansError, OSError, MemoryError):
        return []
    return [] if found is None else [found]


def _say_ending(
    target: str,
    asked: "CorrectionRequest",
    record: dict[str, Any],
    found: "list[Ending]",
    model: str | None,
) -> None:
    """Say what was done, what it changed, and what to type next."""
    from balans_dask.cli.terminal import ending_facts
    from balans_dask.workflows.sharing import sharing_facts

    label_key = None if asked.label is None else asked.label.column
    click.echo(
        f"{printable(target)}: {asked.inputs.n_rows:,} rows corrected by "
        f"{int(record['n_sampled']):,} landmarks, {int(record['n_uncovered']):,} uncovered, "
        f"stopped by {record['stop_reason']}"
    )
    facts = _keys(asked)
    for each in found:
        facts |= ending_facts(each, label_key, asked.inputs.n_rows)
    for name, value in (facts | sharing_facts(record)).items():
        click.echo(f"  {printable(name)}: {printable(value)}")
    for command in _next(target, label_key, model):
        click.echo(f"next: {printable(shlex.join(command))}")


def _next(target: str, label_key: str | None, model: str | None) -> list[list[str]]:
    """Commands that go on from here: a report of a store, plates to come by a model."""
    from balans_dask.workflows.tables import is_table

    commands = []
    if not is_table(target):
        named = [] if label_key is None else ["--label-key", label_key]
        page = f"{Path(target).stem}.html"
        commands.append(["balans", "report", public(target), "--html", page, *named])
    if model is not None:
        commands.append(["balans", "transform", public(model), "NEW", "NEW_CORRECTED"])
    return commands


def _query_of(model: "Model") -> str | None:
    """Query of a model for its anchors; a mask that a caller gave has none."""
    from balans_dask.model.anchors import GIVEN_ROWS

    anchor = model.record.get("anchor")
    return None if anchor == GIVEN_ROWS else anchor
