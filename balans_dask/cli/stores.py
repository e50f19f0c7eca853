"""``balans convert``, ``inspect``, ``preprocess`` and ``export``: stores beside a correction."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from balans_dask.cli.config import PRINT_OPTIONS, ConfigurableCommand
from balans_dask.cli.options import PRESET_OPTION, STORAGE_OPTIONS, folders
from balans_dask.cli.workers import CLUSTER_OPTIONS, open_engine
from balans_dask.errors import first_names, printable
from balans_dask.io.tables.columns import METADATA_PREFIX, ColumnRule
from balans_dask.workflows.preprocess import NORMALIZE, SELECT, TRANSFORM, Preprocessing

if TYPE_CHECKING:
    from balans_dask.passes.stage import Stage

__all__ = ["convert", "export", "inspect", "preprocess"]

_DEFAULTS = Preprocessing(select=SELECT[:1])


@click.command()
@click.argument("source", shell_complete=folders)
@click.argument("target", shell_complete=folders)
@PRESET_OPTION
@click.option(
    "--feature-prefix",
    "feature_prefixes",
    multiple=True,
    show_default="all but integers that are named plate, well, id or the like; '' for these too",
    help="Numeric columns that begin so are features; may be given again.",
)
@click.option(
    "--metadata-prefix",
    "metadata_prefixes",
    multiple=True,
    default=(METADATA_PREFIX,),
    show_default=True,
    help="Columns that begin so describe the rows; may be given again.",
)
@click.option(
    "--leave-out",
    "left_out_prefixes",
    multiple=True,
    metavar="PREFIX",
    help="Leave out columns that begin so, if they are neither; may be given again.",
)
@click.option(
    "--pattern",
    metavar="GLOB",
    help="Which files of a folder, such as all that end in _augmented.csv.gz.",
)
@click.option("--overwrite", is_flag=True, help="Replace a store at TARGET.")
@STORAGE_OPTIONS
def convert(
    source: str,
    target: str,
    feature_prefixes: tuple[str, ...],
    metadata_prefixes: tuple[str, ...],
    left_out_prefixes: tuple[str, ...],
    pattern: str | None,
    overwrite: bool,
) -> None:
    """Turn a table of profiles into a store.

    SOURCE is a .parquet, .csv, .csv.gz, .tsv, .tsv.gz or .h5ad file or a folder of such tables, at
    any depth. Columns that begin with Metadata_ or are not numeric describe the rows, and so do
    integers with a word in their name such as plate, well, batch, site or id; every other column is
    a feature.
    """
    from balans_dask.cli.terminal import facts_table
    from balans_dask.io.tables.convert import convert_table

    rule = ColumnRule(feature_prefixes, metadata_prefixes, left_out_prefixes)
    found = convert_table(source, target, overwrite, rule, pattern)
    facts = {
        "rows": f"{found.n_rows:,}",
        "features": _from_to(found.features),
        "columns of obs": first_names(found.annotations, 12),
    }
    if found.described:
        facts["numbers in obs"] = (
            f"{first_names(found.described, 12)} (features are chosen by --feature-prefix)"
        )
    if rule.features or rule.left_out:
        facts["feature rule"] = rule.explained()
    if found.left_out:
        facts["left out"] = f"{len(found.left_out):,} columns ({first_names(found.left_out)})"
    if found.n_bad_rows:
        facts["NaN or infinite"] = (
            f"in {found.n_bad_features} features and {found.n_bad_rows} rows: "
            "drop them with `balans preprocess --select missing`, or impute them"
        )
    Console().print(facts_table(target, facts))


@click.command()
@click.argument("source", shell_complete=folders)
@STORAGE_OPTIONS
def inspect(source: str) -> None:
    """Say what a store or a model holds, and how it was made."""
    from balans_dask.cli.terminal import correction_facts, facts_table, model_facts, store_facts
    from balans_dask.io.model_store import is_model, stored_bytes
    from balans_dask.io.store import open_store
    from balans_dask.model.saved import load_model
    from balans_dask.workflows.records import correction_record

    out = Console()
    if is_model(source):
        out.print(facts_table(source, model_facts(load_model(source), stored_bytes(source))))
        return
    store = open_store(source)
    out.print(facts_table(source, store_facts(store)))
    record = correction_record(store)
    if record:
        out.print(facts_table("correction", correction_facts(record)))


def _from_to(names: list[str]) -> str:
    return f"{len(names):,}: {names[0]}" + (f" to {names[-1]}" if len(names) > 1 else "")


def _listed(context: click.Context, option: click.Parameter, text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


def _number(name: str, help_text: str) -> Callable[[Any], Any]:
    flag = f"--{name.replace('_', '-')}"
    default = getattr(_DEFAULTS, name)
    return click.option(flag, type=float, default=default, show_default=True, help=help_text)


@click.command(cls=ConfigurableCommand)
@click.argument("source", shell_complete=folders)
@click.argument("target", shell_complete=folders)
@PRESET_OPTION
@click.option(
    "--normalize",
    type=click.Choice(NORMALIZE),
    help="Centre and scale every plate: by median and MAD, or by mean and deviation.",
)
@click.option(
    "--by",
    "plate_keys",
    multiple=True,
    metavar="COL",
    help="Column of obs that tells plates apart; may be given again.",
)
@click.option("--controls", metavar="QUERY", help="Scale a plate by these rows of it alone.")
@click.option(
    "--transform",
    type=click.Choice(TRANSFORM),
    help="Normal quantiles of ranks, among all rows or in every plate.",
)
@click.option(
    "--select",
    callback=_listed,
    metavar="RULE[,RULE...]",
    help=f"Drop features by these rules: {', '.join(SELECT)}.",
)
@_number("epsilon", "Added to the MAD.")
@_number("min_variance", "variance: drop features that vary by no more.")
@_number("freq_cut", "frequency: least second most common over most common value.")
@_number("unique_cut", "frequency: least share of different values.")
@_number("outlier_cutoff", "outliers: drop features with a larger absolute value.")
@_number("correlation_threshold", "correlation: of two that correlate more, drop one.")
@click.option("--overwrite", is_flag=True, help="Replace a store at TARGET.")
@click.option("--quiet", is_flag=True, help="Say nothing but warnings and errors.")
@CLUSTER_OPTIONS
@PRINT_OPTIONS
@STORAGE_OPTIONS
def preprocess(
    source: str, target: str, overwrite: bool, quiet: bool, cluster: Any, **options: Any
) -> None:
    """Normalise by plate, transform and select features, as people do before a correction."""
    from balans_dask.workflows.preprocess.store import preprocess_store

    def say(text: str) -> None:
        if not quiet:
            click.echo(text, err=True)

    def tell(stage: "Stage") -> None:
        say(stage.name)

    steps = Preprocessing(**options)
    with (
        open_engine(cluster) as (engine, limit_bytes),
        engine.telling(lambda stage: say(stage.name)),
    ):
        found = preprocess_store(engine, source, target, steps, limit_bytes, overwrite)
    if quiet:
        return
    if found.n_plates:
        controls = f" by {steps.controls}" if steps.controls and steps.normalize else ""
        say(f"{found.n_plates:,} plates of {'+'.join(steps.plate_keys)}{controls}")
    for rule, names in found.dropped.items():
        say(f"{rule}: {len(names):,} features dropped")
    click.echo(f"{printable(target)}: {found.n_rows:,} rows x {found.n_features:,} features")


@click.command()
@click.argument("source", shell_complete=folders)
@click.argument("target", shell_complete=folders)
@click.option(
    "--matrix",
    default="X",
    show_default=True,
    help="What to write: X, or a matrix of obsm such as X_pca_balans.",
)
@click.option(
    "--by",
    multiple=True,
    metavar="COL",
    help="A file for every label of this column; given again, folders by the first.",
)
@click.option("--overwrite", is_flag=True, help="Replace an earlier export at TARGET.")
@STORAGE_OPTIONS
def export(source: str, target: str, matrix: str, by: tuple[str, ...], overwrite: bool) -> None:
    """Write a store as parquet: columns of metadata first, then features by name.

    TARGET is a file that ends in .parquet, or a folder. A manifest says what each file holds.
    """
    from balans_dask.workflows.export import export_store

    manifest = export_store(source, target, matrix, by, overwrite)
    files = manifest["files"]
    click.echo(
        f"{printable(target)}: {manifest['n_rows']:,} rows of {matrix} in {len(files):,} "
        f"{'file' if len(files) == 1 else 'files'} of {files[0]['columns']:,} columns"
    )
