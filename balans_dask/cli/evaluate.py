"""``balans evaluate``, ``sweep`` and ``report``: scores, settings and figures of corrections."""

import csv
import io
import json
import math
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from balans_dask.cli import say_warning
from balans_dask.cli.config import CONFIG_OPTION, ConfigurableCommand
from balans_dask.cli.options import (
    BATCH_OPTIONS,
    PRESET_OPTION,
    RECORDED_BATCH_OPTIONS,
    STORAGE_OPTIONS,
    columns,
    folders,
    option_group,
    ratio_of,
)
from balans_dask.cli.workers import CLUSTER_OPTIONS, open_engine
from balans_dask.errors import InvalidInputError, adding, printable
from balans_dask.evaluate.sweep import EVAL_ROWS, Grid
from balans_dask.parameters import ALIGN, DISPLACE, Parameters

if TYPE_CHECKING:
    from balans_dask.evaluate.sweep.result import SweepResult
    from balans_dask.evaluate.table import EvaluationTable

__all__ = ["evaluate", "report", "sweep"]

LEAST_NAME = 12
"""Columns of the terminal for names."""


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


@click.command(cls=ConfigurableCommand)
@click.argument("stores", nargs=-1, required=True, shell_complete=folders)
@RECORDED_BATCH_OPTIONS
@click.option(
    "--label-key",
    required=True,
    shell_complete=columns,
    help="Column of obs with what should be told apart.",
)
@click.option(
    "--control",
    metavar="QUERY",
    help="Negative controls, such as \"Metadata_pert_type == 'negcon'\".",
)
@click.option(
    "--compound-key",
    shell_complete=columns,
    help="Rows of one compound do not vouch for each other's label.",
)
@click.option(
    "--max-rows",
    type=click.IntRange(10),
    default=20_000,
    show_default=True,
    help="Larger stores are sampled by batch and label.",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Seed of the sample, of shuffled labels and of other methods.",
)
@click.option(
    "--raw/--no-raw",
    default=True,
    show_default=True,
    help="Score the inputs that the stores name too.",
)
@click.option(
    "--obsm",
    multiple=True,
    metavar="KEY",
    help="Score a matrix of obsm of the first store that others made, too.",
)
@click.option(
    "--peers",
    default="",
    callback=_listed(str, "a method"),
    metavar="NAME[,NAME...]",
    help="Correct raw scores by harmony, combat or sphering (which needs --control), and score it.",
)
@click.option(
    "--peers-python",
    metavar="PATH",
    show_default="that of this command",
    help="Python that has these methods.",
)
@option_group(
    click.option(
        "--json", "json_path", metavar="FILE", help="Write scores, facts and definitions here too."
    ),
    click.option("--csv", "csv_path", metavar="FILE", help="Write scores here too."),
    click.option("--overwrite", is_flag=True, help="Replace the files of --json and --csv."),
    click.option("--quiet", is_flag=True, help="Say nothing but the result."),
    title="Output",
)
@STORAGE_OPTIONS
@CONFIG_OPTION
def evaluate(
    stores: tuple[str, ...],
    json_path: str | None,
    csv_path: str | None,
    overwrite: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Score corrections of the same rows, beside their input and null models.

    STORES were written by correct or transform; the first may be the input of the others. After it
    NAME=FILE scores an embedding of the same rows from a file of .npy or .parquet.
    """
    from balans_dask.cluster.open import silence_dask
    from balans_dask.evaluate.others import parted
    from balans_dask.evaluate.table import evaluate_stores
    from balans_dask.events import Events
    from balans_dask.io.paths import require_free_files
    from balans_dask.io.run_folder import taken_by
    from balans_dask.progress import Progress

    silence_dask()
    given, files = parted(stores)
    taken = [path for store in given for path in taken_by(store)]
    require_free_files([json_path, csv_path], overwrite, [*taken, *(path for _, path in files)])
    with Progress(Console(stderr=True, quiet=quiet, soft_wrap=True)) as progress:
        found = evaluate_stores(stores, tell=Events(progress), **options)
    if json_path is not None:
        _write_json(json_path, found)
    if csv_path is not None:
        _write_csv(csv_path, found)
    _print_table(Console(), found)


def _no_longer(context: click.Context, option: click.Parameter, given: bool) -> None:
    if given:
        say_warning("--no-evaluate is what a report does by default, and will go: leave it out")


_BASE = Parameters()
_GRID = Grid()


def _varied(name: str, kind: Callable[[str], Any], what: str, help_text: str) -> Any:
    default = ",".join("none" if v is None else f"{v}" for v in getattr(_GRID, name))
    return click.option(
        f"--{name.replace('_', '-')}",
        callback=_listed(kind, what),
        metavar="V[,V...]",
        show_default=default,
        help=help_text,
    )


GRID_OPTIONS = option_group(
    click.option(
        "--label-key",
        required=True,
        shell_complete=columns,
        help="Column of obs with what is to be found again.",
    ),
    _varied("operator", str, "an operator", "How affinities correct."),
    _varied("n_neighbors", int, "a whole number", "Neighbour that sets the local scale."),
    _varied("patience", int, "a whole number", "Idle rows after which sampling stops."),
    _varied("max_rows", int, "a whole number", "Landmarks at most."),
    _varied(
        "max_scale_ratio",
        ratio_of,
        "a number, auto or none",
        "Limit of local scales, but for align.",
    ),
    _varied("n_passes", int, "a whole number", "Times to fit and correct; local steps of align."),
    _varied("strength", float, "a number", "Share of the correction."),
    click.option(
        "--n-components",
        type=click.IntRange(0),
        default=_BASE.n_components,
        show_default=True,
        help="Principal components for distances; 0: X is an embedding already.",
    ),
    click.option(
        "--basis", show_default="X", help="Take distances in this matrix of obsm, and score it."
    ),
    click.option(
        "--anchor",
        metavar="QUERY",
        show_default="all rows",
        help="Estimate on the rows of this query alone.",
    ),
    click.option(
        "--seed",
        type=int,
        default=_BASE.seed,
        show_default=True,
        help="Seed of the draws and of the sample.",
    ),
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
    title="Grid and scores",
)


@click.command(cls=ConfigurableCommand)
@click.argument("source", shell_complete=folders)
@BATCH_OPTIONS
@GRID_OPTIONS
@option_group(
    click.option("--json", "json_path", metavar="FILE", help="Write all points here too."),
    click.option(
        "--plot", "plot_path", metavar="FILE", help="Draw signal against mixing into this PNG."
    ),
    click.option(
        "--scratch",
        metavar="FOLDER",
        help="Where profiles lie between passes; all workers must see it.",
    ),
    click.option("--overwrite", is_flag=True, help="Replace the files of --json and --plot."),
    click.option("--quiet", is_flag=True, help="Say nothing but the result."),
    click.option("--verbose", is_flag=True, help="Say every round."),
    title="Output",
)
@CLUSTER_OPTIONS
@STORAGE_OPTIONS
@CONFIG_OPTION
def sweep(
    source: str,
    label_key: str,
    eval_rows: int,
    scores: str,
    scratch: str | None,
    json_path: str | None,
    plot_path: str | None,
    overwrite: bool,
    quiet: bool,
    verbose: bool,
    **options: Any,
) -> None:
    """Score a grid of settings and say which to take; corrects nothing.

    Options of the grid take one value or several, as in 3,5,10; all combinations are tried.
    """
    from balans_dask.evaluate.sweep.result import sweep_lines
    from balans_dask.evaluate.sweep.store import run_sweep, sweep_run
    from balans_dask.events import Events
    from balans_dask.progress import Progress

    _require_outputs(source, json_path, plot_path, scratch, overwrite)
    grid, base = _grid_of(options)
    keys, basis, anchor = options["batch_keys"], options["basis"], options["anchor"]
    asked = sweep_run(source, keys, label_key, grid, base, basis, anchor, eval_rows, scores)
    console = Console(stderr=True, quiet=quiet, soft_wrap=True)
    watched = Progress(console, verbose)
    with (
        open_engine(options["cluster"]) as (engine, limit_bytes),
        watched as progress,
        engine.telling(Events(progress)),
    ):
        result = run_sweep(engine, asked, limit_bytes, scratch)
    _save_sweep(result, json_path, plot_path)
    out = Console()
    for line in sweep_lines(result):
        out.print(line, soft_wrap=isinstance(line, str), markup=False, highlight=False)


@click.command()
@click.argument("store", shell_complete=folders)
@PRESET_OPTION
@click.option("--html", required=True, metavar="FILE", help="Write the report here.")
@click.option(
    "--label-key",
    shell_complete=columns,
    show_default="a usual name",
    help="Column of obs with what should stay.",
)
@click.option(
    "--control",
    metavar="QUERY",
    show_default="the anchors, or negcon",
    help="Rows that are controls.",
)
@click.option(
    "--evaluate",
    is_flag=True,
    help="Add the scores of balans evaluate, which take minutes.",
)
@click.option(
    "--no-evaluate",
    is_flag=True,
    hidden=True,
    expose_value=False,
    callback=_no_longer,
    help="Deprecated: the default.",
)
@click.option("--overwrite", is_flag=True, help="Replace a file that is there.")
@STORAGE_OPTIONS
def report(
    store: str,
    html: str,
    label_key: str | None,
    control: str | None,
    evaluate: bool,
    overwrite: bool,
) -> None:
    """Show what a correction did: one HTML file with all figures, for any browser."""
    from balans_dask.cluster.open import silence_dask
    from balans_dask.report import require_plot

    require_plot()
    from balans_dask.report.document import write_report

    silence_dask()
    for warning in write_report(store, html, label_key, control, evaluate, overwrite):
        say_warning(warning)
    click.echo(f"{printable(html)}: report of {printable(store)}")


def _print_table(console: Console, found: "EvaluationTable") -> None:
    """Print the scores of each side, and below them what they mean."""
    from balans_dask.evaluate.table import BLOCKS, NULL, cautions

    console.print(Text(printable(found.summary())))
    for block in BLOCKS:
        headings, lines = found.cells(block)
        table = Table(padding=(0, 0, 0, 1), box=None, header_style="bold")
        widths = _widths(headings, lines, console.width)
        for place, (heading, width) in enumerate(zip(headings, widths, strict=True)):
            justify: Any = "right" if place else "left"
            table.add_column(heading, justify=justify, overflow="fold", width=width)
        for line in lines:
            is_null = line[0].startswith(NULL)
            table.add_row(
                *(Text(printable(cell)) for cell in line), style="dim" if is_null else None
            )
        console.print()
        console.print(table)
    console.print()
    for caution in cautions(found.rows):
        console.print(Text(f"caution: {printable(caution)}", style="bold"))
    for heading, text in found.footnotes().items():
        console.print(Text.assemble((heading, "bold"), f": {text}"))


def _widths(headings: list[str], lines: list[list[str]], room: int) -> list[int]:
    """Give figures what room they need, headings by words where it is short, names the rest."""
    columns = [[cell_len(printable(cell)) for cell in cells] for cells in zip(*lines, strict=True)]
    name = max(cell_len(headings[0]), *columns[0])
    for parts in ([[heading] for heading in headings], [heading.split() for heading in headings]):
        widths = [
            max(*map(cell_len, words), *column)
            for words, column in zip(parts[1:], columns[1:], strict=True)
        ]
        # A blank stands before every column.
        left = room - 1 - sum(width + 1 for width in widths)
        if name <= left:
            break
    return [min(name, max(left, LEAST_NAME)), *widths]


def _write_json(path: str, found: "EvaluationTable") -> None:
    """Write facts, scores (null where undefined) and definitions."""
    from balans_dask.io.atomic import replace_file

    record = {"facts": found.facts, "rows": _plain(found), "definitions": found.definitions}
    text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
    replace_file(Path(path), text.encode("utf-8", "backslashreplace"))


def _write_csv(path: str, found: "EvaluationTable") -> None:
    """Write one line for each row of the table; undefined scores are empty."""
    from balans_dask.io.atomic import replace_file

    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=list(found.rows[0]))
    writer.writeheader()
    writer.writerows(_plain(found))
    replace_file(Path(path), text.getvalue().encode("utf-8", "backslashreplace"))


def _plain(found: "EvaluationTable") -> list[dict[str, Any]]:
    return [
        {
            name: None if isinstance(value, float) and math.isnan(value) else value
            for name, value in row.items()
        }
        for row in found.rows
    ]


def _grid_of(options: dict[str, Any]) -> tuple[Grid, Parameters]:
    """Make the grid, and the parameters that all its settings share."""
    names = Grid.__dataclass_fields__
    given = {name: options[name] for name in names if options[name] is not None}
    if options["anchor"] is not None:
        given.setdefault("operator", (ALIGN, DISPLACE))
    base = Parameters(n_components=options["n_components"] or None, seed=options["seed"])
    return Grid(**given), base


def _require_outputs(
    source: str, json: str | None, plot: str | None, scratch: str | None, overwrite: bool
) -> None:
    """Refuse, before any work, places that could not be written to after it.

    Raises
    ------
    InvalidInputError
        If matplotlib is missing, or a folder.
    StoreExistsError
        If a file is there that is not to be replaced.
    """
    from balans_dask.io.paths import require_free_files

    if plot is not None and find_spec("matplotlib") is None:
        raise InvalidInputError(f"--plot needs matplotlib: {adding('plot')}")
    if scratch is not None and not Path(scratch).is_dir():
        raise InvalidInputError(f"{scratch} is no folder: make it, or leave out --scratch")
    require_free_files([json, plot], overwrite, (source,))


def _save_sweep(result: "SweepResult", json_path: str | None, plot_path: str | None) -> None:
    """Write the files that were asked for."""
    from balans_dask.io.atomic import replace_file

    if json_path is not None:
        text = json.dumps(result.as_dict(), indent=1) + "\n"
        replace_file(Path(json_path), text.encode())
    if plot_path is not None:
        from balans_dask.report.pareto import save_pareto

        picture = io.BytesIO()
        save_pareto(picture, result)
        replace_file(Path(plot_path), picture.getvalue())
