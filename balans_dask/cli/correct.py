"""What ``balans check``, ``correct`` and ``transform`` do: plan, connect, one call each."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console

from balans_dask.cli.config import resolved
from balans_dask.cli.options import WORD_FOR_NONE
from balans_dask.cli.terminal import facts_table, input_facts, plan_facts
from balans_dask.cli_engine import open_engine
from balans_dask.cli_into import added_to, output_of
from balans_dask.errors import printable
from balans_dask.events import EventLog, Events
from balans_dask.io.run_folder import taken_by
from balans_dask.io.store import open_store
from balans_dask.kernels._blas import single_threaded_blas
from balans_dask.model.anchors import GIVEN_ROWS
from balans_dask.model.frozen import Model
from balans_dask.model.inputs import examine, plan_run
from balans_dask.model.saved import load_model
from balans_dask.model.stages import OnStage
from balans_dask.parameters import Parameters
from balans_dask.performance import reporting, require_report
from balans_dask.progress import Progress
from balans_dask.workflows.correct import correct_store, transform_store
from balans_dask.workflows.request import StoreRun, store_run

__all__ = ["run_check", "run_correct", "run_transform"]


def run_check(console: Console, source: str, **options: Any) -> None:
    """Print what a run would correct, and its plan."""
    asked = _run(source, options)
    asked.try_writing()
    with open_engine(options["cluster"]) as (engine, limit_bytes), single_threaded_blas():
        plan = plan_run(asked.inputs, asked.parameters, engine.workers(limit_bytes))
        examined = examine(engine, asked.inputs, asked.parameters, plan.tiling)
    facts = _keys(asked) | input_facts(asked.inputs, asked.parameters, examined)
    console.print(facts_table(source, facts))
    console.print(facts_table("plan", plan_facts(plan)))


def run_correct(
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
    """Correct a store, and say what was done."""
    target = output_of(source, target, into, layer)
    require_report(performance_report, overwrite, (source, *taken_by(target), model))
    asked = _run(source, options, writes=not into)
    asked = added_to(asked, layer) if into else asked
    console = Console(stderr=True, quiet=quiet, soft_wrap=True)
    with open_engine(options["cluster"]) as (engine, limit_bytes):
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


def run_transform(
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
    """Correct a store by a frozen model, and say what was done."""
    require_report(performance_report, overwrite, (source, *taken_by(target), model))
    frozen = load_model(model)
    basis = None if frozen.n_embedding is None else frozen.record["basis"]
    asked = store_run(
        open_store(source, options["cluster"].limit_bytes),
        options["batch_keys"],
        frozen.parameters,
        basis,
        _query_of(frozen) if options["anchor"] is None else options["anchor"],
        model=frozen,
    )
    console = Console(stderr=True, quiet=quiet, soft_wrap=True)
    with open_engine(options["cluster"]) as (engine, limit_bytes):
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
        n_new = frozen.places_of(asked.inputs.labels).count(-1)
        click.echo(
            f"{printable(target)}: {asked.inputs.n_rows:,} rows corrected by "
            f"{printable(model)}, {n_new:,} of {asked.inputs.labels.n_batches:,} batches new, "
            f"{n_uncovered:,} rows uncovered ({n_uncovered / asked.inputs.n_rows:.2%}; "
            f"{frozen.risk:.2%} expected)"
        )


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
        open_store(source, options["cluster"].limit_bytes),
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
