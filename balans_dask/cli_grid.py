"""Options of ``balans sweep``: lists of values, and files that it may write."""

from collections.abc import Callable
from typing import Any

import click

from balans_dask.cli.options import option_group, ratio_of
from balans_dask.cli_completion import columns
from balans_dask.evaluate.sweep.grid import EVAL_ROWS, Grid
from balans_dask.parameters import Parameters

__all__ = ["GRID_OPTIONS", "SWEEP_OUTPUTS", "grid_of"]

_BASE = Parameters()
_GRID = Grid()


def _listed(kind: Callable[[str], Any], what: str) -> Callable[..., tuple[Any, ...] | None]:
    """Read values between commas; ``None`` where the option is not given."""

    def read(context: click.Context, option: click.Parameter, text: str | None) -> Any:
        if text is None:
            return None
        values = []
        for part in filter(None, (part.strip() for part in text.split(","))):
            try:
                values.append(kind(part))
            except ValueError:
                raise click.BadParameter(f"{part!r} is not {what}") from None
        return tuple(values)

    return read


def _varied(name: str, kind: Callable[[str], Any], what: str, help_text: str) -> Any:
    default = ",".join("none" if v is None else f"{v}" for v in getattr(_GRID, name))
    return click.option(
        f"--{name.replace('_', '-')}",
        callback=_listed(kind, what),
        metavar="V[,V...]",
        help=f"{help_text} [default: {default}]",
    )


GRID_OPTIONS = option_group(
    click.option(
        "--label-key",
        required=True,
        shell_complete=columns,
        help="Column of obs with what is to be found again.",
    ),
    _varied("operator", str, "an operator", "smooth, displace, nystrom."),
    _varied("n_neighbors", int, "a whole number", "Neighbour that sets the local scale."),
    _varied("patience", int, "a whole number", "Idle rows after which sampling stops."),
    _varied("max_rows", int, "a whole number", "Landmarks at most."),
    _varied("max_scale_ratio", ratio_of, "a number, auto or none", "Limit of local scales."),
    _varied("n_passes", int, "a whole number", "Times to fit and correct."),
    _varied("strength", float, "a number", "Share of the correction."),
    click.option(
        "--n-components", type=click.IntRange(0), default=_BASE.n_components, show_default=True
    ),
    click.option("--basis", help="Take distances in this matrix of obsm, and score it."),
    click.option("--anchor", help="Estimate on the rows of this query alone."),
    click.option("--seed", type=int, default=_BASE.seed, show_default=True),
    click.option(
        "--eval-rows",
        type=click.IntRange(2),
        default=EVAL_ROWS,
        show_default=True,
        help="Score a sample of so many rows, stratified by batch and label.",
    ),
    click.option(
        "--scores",
        default="neighbours",
        show_default=True,
        help="Pair of scores: neighbours, or scib, which needs scib-metrics and takes long.",
    ),
)
SWEEP_OUTPUTS = option_group(
    click.option("--json", help="Write all points here too."),
    click.option("--plot", help="Draw signal against mixing into this PNG."),
    click.option("--scratch", help="Folder for profiles between passes; all workers must see it."),
    click.option("--overwrite", is_flag=True, help="Replace the files of --json and --plot."),
    click.option("--quiet", is_flag=True, help="Say nothing but the result."),
    click.option("--verbose", is_flag=True, help="Say every round."),
)


def grid_of(options: dict[str, Any]) -> tuple[Grid, Parameters]:
    """Make the grid, and the parameters that all its settings share."""
    names = Grid.__dataclass_fields__
    given = {name: options[name] for name in names if options[name] is not None}
    if options["anchor"] is not None:
        # The only operator that has a use for anchors.
        given.setdefault("operator", ("displace",))
    base = Parameters(n_components=options["n_components"] or None, seed=options["seed"])
    return Grid(**given), base
