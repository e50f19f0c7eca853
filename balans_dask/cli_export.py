"""``balans export``."""

import click

from balans_dask.cli_completion import folders
from balans_dask.cli_storage import STORAGE_OPTIONS
from balans_dask.errors import printable

__all__ = ["export"]


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
