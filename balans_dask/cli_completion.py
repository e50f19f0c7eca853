"""``balans completion``, and what a shell completes: folders, columns of the store at hand."""

import json
import os
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem, get_completion_class, split_arg_string

__all__ = ["columns", "completion", "folders"]

SHELLS = ("bash", "zsh", "fish")


def folders(
    context: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Let the shell complete a folder."""
    return [CompletionItem(incomplete, type="dir")]


def columns(
    context: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete a column of ``obs`` of the first store on the line."""
    # click has not read the arguments where an option still lacks its value.
    words = split_arg_string(os.environ.get("COMP_WORDS", ""))
    found = next(filter(None, map(_columns_of, words)), [])
    return [CompletionItem(name) for name in found if name.startswith(incomplete)]


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print what makes a shell complete commands, options, folders and columns.

    Add the line eval "$(balans completion bash)" to ~/.bashrc, or the same for zsh to ~/.zshrc;
    for fish: balans completion fish > ~/.config/fish/completions/balans.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(context.find_root().command, {}, "balans", "_BALANS_COMPLETE").source())


def _columns_of(store: str) -> list[str]:
    """Read the names alone, of a store on Zarr v3 or v2; none where there is no such store."""
    for file in ("zarr.json", ".zattrs"):
        try:
            record: Any = json.loads((Path(store) / "obs" / file).read_text())
            return [str(name) for name in record.get("attributes", record)["column-order"]]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
    return []
