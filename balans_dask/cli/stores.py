"""``balans preprocess``: its options, and what it says."""

from collections.abc import Callable
from typing import Any

import click

from balans_dask.cli.options import option_group
from balans_dask.cli_preset import PRESET_OPTION
from balans_dask.errors import printable
from balans_dask.workflows.preprocess.steps import NORMALIZE, SELECT, TRANSFORM, Preprocessing

__all__ = ["PREPROCESS_OPTIONS", "run_preprocess", "steps_of"]

_DEFAULTS = Preprocessing(select=SELECT[:1])


def _listed(context: click.Context, option: click.Parameter, text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


def _number(name: str, help_text: str) -> Callable[[Any], Any]:
    flag = f"--{name.replace('_', '-')}"
    default = getattr(_DEFAULTS, name)
    return click.option(flag, type=float, default=default, show_default=True, help=help_text)


PREPROCESS_OPTIONS = option_group(
    PRESET_OPTION,
    click.option(
        "--normalize",
        type=click.Choice(NORMALIZE),
        help="Centre and scale every plate: by median and MAD, or by mean and deviation.",
    ),
    click.option(
        "--by",
        "plate_keys",
        multiple=True,
        metavar="COL",
        help="Column of obs that tells plates apart; may be given again.",
    ),
    click.option("--controls", metavar="QUERY", help="Scale a plate by these rows of it alone."),
    click.option(
        "--transform",
        type=click.Choice(TRANSFORM),
        help="Normal quantiles of ranks, among all rows or in every plate.",
    ),
    click.option(
        "--select",
        callback=_listed,
        metavar="RULE[,RULE...]",
        help=f"Drop features by these rules: {', '.join(SELECT)}.",
    ),
    _number("epsilon", "Added to the MAD."),
    _number("min_variance", "variance: drop features that vary by no more."),
    _number("freq_cut", "frequency: least second most common over most common value."),
    _number("unique_cut", "frequency: least share of different values."),
    _number("outlier_cutoff", "outliers: drop features with a larger absolute value."),
    _number("correlation_threshold", "correlation: of two that correlate more, drop one."),
    click.option("--overwrite", is_flag=True, help="Replace a store at TARGET."),
    click.option("--quiet", is_flag=True, help="Say nothing but warnings and errors."),
)


def steps_of(options: dict[str, Any]) -> Preprocessing:
    """Check the steps that are asked for."""
    return Preprocessing(**{name: options[name] for name in Preprocessing.__dataclass_fields__})


def run_preprocess(source: str, target: str, **options: Any) -> None:
    """Preprocess a store, and say what went."""
    from balans_dask.cli_engine import open_engine
    from balans_dask.workflows.preprocess.store import preprocess_store

    def say(text: str) -> None:
        if not options["quiet"]:
            click.echo(text, err=True)

    steps, overwrite = steps_of(options), options["overwrite"]
    with open_engine(options["cluster"]) as (engine, limit_bytes):
        found = preprocess_store(engine, source, target, steps, limit_bytes, overwrite, say)
    if options["quiet"]:
        return
    if found.n_plates:
        controls = f" by {steps.controls}" if steps.controls and steps.normalize else ""
        say(f"{found.n_plates:,} plates of {'+'.join(steps.plate_keys)}{controls}")
    for rule, names in found.dropped.items():
        say(f"{rule}: {len(names):,} features dropped")
    click.echo(f"{printable(target)}: {found.n_rows:,} rows x {found.n_features:,} features")
