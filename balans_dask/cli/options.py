"""Options that several commands share, how their values are read, and what a shell completes."""

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem, get_completion_class, split_arg_string

from balans_dask.cli.presets import PRESET_OPTION
from balans_dask.errors import HIDDEN, public_option
from balans_dask.io.places import storage_options
from balans_dask.parameters import AUTO

__all__ = [
    "BATCH_OPTIONS",
    "STORAGE_OPTIONS",
    "UNEXPOSED",
    "WORD_FOR_NONE",
    "columns",
    "completion",
    "folders",
    "not_nan",
    "option_group",
    "ratio_of",
]

SHELLS = ("bash", "zsh", "fish")
UNEXPOSED = "balans_dask.unexposed"
"""Where options that no command gets are kept, as far as they may be told."""
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


def _take(context: click.Context, option: click.Parameter, given: tuple[str, ...]) -> None:
    """Reach buckets so while the command runs."""
    context.with_resource(storage_options(**dict(map(_parted, given))))
    if given:
        _tell(context, "storage-option", [public_option(each) for each in given])


def _anonymously(context: click.Context, option: click.Parameter, given: bool) -> None:
    if given:
        context.with_resource(storage_options(anon=True))
        _tell(context, "anonymous", True)


def _tell(context: click.Context, name: str, told: Any) -> None:
    """Let the configuration of a run name an option that no command gets."""
    context.meta.setdefault(UNEXPOSED, {})[name] = told


def _parted(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    if value == HIDDEN:
        raise click.BadParameter(f"write the value of {name} in the place of {HIDDEN}")
    if not name.isidentifier() or not value:
        # Not repeated, as it may be a secret.
        raise click.BadParameter("give KEY=VALUE, as in endpoint_url=http://host:9000")
    return name, _value(name, value)


def _value(name: str, text: str) -> Any:
    """Read a switch or a nested option; all else is text, such as a key of digits."""
    if text in ("true", "false") or text.startswith("{"):
        try:
            return json.loads(text)
        except ValueError:
            raise click.BadParameter(f"the value of {name} begins like JSON and is none") from None
    return text


STORAGE_OPTIONS = option_group(
    click.option(
        "--storage-option",
        multiple=True,
        metavar="KEY=VALUE",
        expose_value=False,
        callback=_take,
        help="How s3:// and gs:// are reached, such as endpoint_url=http://host:9000; repeat it.",
    ),
    click.option(
        "--anonymous",
        is_flag=True,
        expose_value=False,
        callback=_anonymously,
        help="Reach buckets without keys: public ones.",
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
