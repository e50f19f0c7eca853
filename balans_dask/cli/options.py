"""Options that several commands share, and how their values are read."""

import math
from collections.abc import Callable
from typing import Any

import click

from balans_dask.cli_completion import columns
from balans_dask.cli_preset import PRESET_OPTION
from balans_dask.io.tables.columns import METADATA_PREFIX, ColumnRule
from balans_dask.parameters import AUTO, OPERATORS, STOPPING, UNCOVERED, Parameters

__all__ = [
    "BATCH_OPTIONS",
    "COLUMN_OPTIONS",
    "EVALUATE_OPTIONS",
    "FIT_OPTIONS",
    "REPORT_OPTIONS",
    "WORD_FOR_NONE",
    "WRITE_OPTIONS",
    "column_rule",
    "not_nan",
    "option_group",
    "ratio_of",
]

WORD_FOR_NONE = "none"


def option_group(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Put the same options on several commands."""

    def decorate(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def not_nan(context: click.Context, option: click.Parameter, value: float | None) -> float | None:
    """Refuse the one float that every range lets through."""
    if value is not None and math.isnan(value):
        raise click.BadParameter("nan is no number of seconds")
    return value


def ratio_of(text: str) -> float | str | None:
    """Read a limit of local scales: a number, ``auto`` or ``none``."""
    if text in (WORD_FOR_NONE, AUTO):
        return None if text == WORD_FOR_NONE else text
    return float(text)


def _ratio(context: click.Context, option: click.Parameter, value: str) -> float | str:
    """Check a limit; none stays a word, as in a file of options."""
    try:
        ratio = ratio_of(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is neither a number nor auto nor none") from None
    return value if ratio is None else ratio


def column_rule(options: dict[str, Any]) -> ColumnRule:
    """Return the rule that ``COLUMN_OPTIONS`` ask for."""
    return ColumnRule(
        options["feature_prefixes"], options["metadata_prefixes"], options["left_out_prefixes"]
    )


_DEFAULTS = Parameters()
COLUMN_OPTIONS = option_group(
    PRESET_OPTION,
    click.option(
        "--feature-prefix",
        "feature_prefixes",
        multiple=True,
        help="Numeric columns that begin so are features; may be given again. Default: all.",
    ),
    click.option(
        "--metadata-prefix",
        "metadata_prefixes",
        multiple=True,
        default=(METADATA_PREFIX,),
        show_default=True,
        help="Columns that begin so describe the rows; may be given again.",
    ),
    click.option(
        "--leave-out",
        "left_out_prefixes",
        multiple=True,
        metavar="PREFIX",
        help="Leave out columns that begin so, if they are neither; may be given again.",
    ),
    click.option(
        "--pattern",
        metavar="GLOB",
        help="Which files of a folder, such as all that end in _augmented.csv.gz.",
    ),
)
BATCH_OPTIONS = option_group(
    PRESET_OPTION,
    click.option(
        "--batch-key",
        "batch_keys",
        multiple=True,
        required=True,
        shell_complete=columns,
        help="Column of obs with the batch; give it again for joint batches.",
    ),
)
FIT_OPTIONS = option_group(
    click.option("--operator", type=click.Choice(OPERATORS), default=_DEFAULTS.operator),
    click.option(
        "--strength",
        type=float,
        default=_DEFAULTS.strength,
        show_default=True,
        help="Share of the correction in the output, from 0 to 1.",
    ),
    click.option("--n-neighbors", type=int, default=_DEFAULTS.n_neighbors, show_default=True),
    click.option("--patience", type=int, default=_DEFAULTS.patience, show_default=True),
    click.option(
        "--stopping",
        type=click.Choice(STOPPING),
        default=_DEFAULTS.stopping,
        show_default=True,
        help="patience: the paper; auto: once no population is likely to be missed.",
    ),
    click.option("--block-rows", type=int, default=_DEFAULTS.block_rows, show_default=True),
    click.option("--coverage-tol", type=float, default=_DEFAULTS.coverage_tol, show_default=True),
    click.option("--max-rows", type=int, help="Draw at most this many rows."),
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
        default=_DEFAULTS.n_passes,
        show_default=True,
        help="Fit and correct this many times, each time what the last one has left.",
    ),
    click.option(
        "--batch-order",
        is_flag=True,
        help="Each --batch-key has its own passes, the first one first, instead of joint batches.",
    ),
    click.option("--basis", help="Take distances in this matrix of obsm, such as X_pca."),
    click.option(
        "--anchor",
        help="Estimate on the rows of this query alone: \"Metadata_pert_type == 'negcon'\".",
    ),
    click.option("--seed", type=int, default=_DEFAULTS.seed, show_default=True),
    click.option(
        "--max-scale-ratio",
        metavar="C|auto|none",
        callback=_ratio,
        default=AUTO,
        show_default=True,
        help="Limit local scales to C times a row's smallest; none: the paper.",
    ),
    click.option("--max-neighbors", type=int, help="Cap the entries of a row of A."),
    click.option("--uncovered", type=click.Choice(UNCOVERED), default=_DEFAULTS.uncovered),
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
    click.option("--verbose", is_flag=True, help="Say every round."),
)
EVALUATE_OPTIONS = option_group(
    click.option(
        "--label-key",
        required=True,
        shell_complete=columns,
        help="Column of obs with what should be told apart.",
    ),
    click.option(
        "--control",
        metavar="QUERY",
        help="Negative controls, such as \"Metadata_pert_type == 'negcon'\".",
    ),
    click.option(
        "--compound-key",
        shell_complete=columns,
        help="Rows of one compound do not vouch for each other's label.",
    ),
    click.option(
        "--max-rows",
        type=click.IntRange(10),
        default=20_000,
        show_default=True,
        help="Larger stores are sampled by batch and label.",
    ),
    click.option("--seed", type=click.IntRange(0), default=0, show_default=True),
    click.option("--json", help="Write scores, facts and definitions here too."),
    click.option("--csv", help="Write scores here too."),
    click.option("--overwrite", is_flag=True, help="Replace these files."),
    click.option("--raw/--no-raw", default=True, help="Score the inputs that the stores name too."),
)
REPORT_OPTIONS = option_group(
    PRESET_OPTION,
    click.option("--html", required=True, metavar="FILE", help="Write the report here."),
    click.option(
        "--label-key",
        shell_complete=columns,
        help="Column of obs with what should stay; default: a usual name.",
    ),
    click.option("--control", help="Query for control rows; default: the anchors, or negcon."),
    click.option(
        "--evaluate/--no-evaluate",
        default=None,
        help="Compute scores; default: if the libraries are installed, up to 100,000 rows.",
    ),
    click.option("--overwrite", is_flag=True, help="Replace a file that is there."),
)
