"""Options of a correction whose results are added to the store itself."""

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from balans_dask.cli.options import option_group

if TYPE_CHECKING:
    from balans_dask.workflows.request import StoreRun

__all__ = ["INTO_OPTIONS", "added_to", "output_of"]

INTO_OPTIONS = option_group(
    click.option(
        "--into",
        is_flag=True,
        help="Add corrected scores to SOURCE itself, without a TARGET; nothing in it is rewritten.",
    ),
    click.option(
        "--layer", is_flag=True, help="With --into: add the corrected features, layers/balans, too."
    ),
)


def output_of(source: str, target: str | None, into: bool, layer: bool) -> str:
    """Find where the results go.

    Raises
    ------
    UsageError
        If that is not clear.
    """
    if into and target is not None:
        raise click.UsageError(f"--into adds the results to {source}: leave out {target}")
    if layer and not into:
        raise click.UsageError("--layer goes with --into: X of a new store is corrected anyway")
    if into:
        return source
    if target is None:
        raise click.UsageError(
            "Missing argument 'TARGET': name a new store, or add the results to SOURCE by --into"
        )
    return target


def added_to(run: "StoreRun", layer: bool) -> "StoreRun":
    """Return the same correction with results that are added to its input.

    Raises
    ------
    UsageError
        If there are no features to make a layer of.
    """
    if layer and run.embedding_key is None:
        raise click.UsageError("--layer: X is the embedding, and is corrected as obsm/X_balans")
    return replace(run, into=True, layer=layer)
