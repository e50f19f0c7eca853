"""Options that several commands share, the presets they default to, and what a shell completes.

A preset is data: what a community calls its columns, keys and controls, to which options default. A
command takes from it what it asks for, and flags win.
"""

import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem, get_completion_class, split_arg_string

from balans_dask.errors import HIDDEN, public_option
from balans_dask.io.places import storage_options
from balans_dask.io.tables.columns import METADATA_PREFIX, ColumnRule
from balans_dask.parameters import AUTO

__all__ = [
    "BATCH_OPTIONS",
    "PRESET",
    "PRESETS",
    "PRESET_OPTION",
    "RECORDED_BATCH_OPTIONS",
    "STORAGE_OPTIONS",
    "TITLES",
    "UNEXPOSED",
    "WORD_FOR_NONE",
    "Preset",
    "column_rule",
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
TITLES: dict[click.Parameter, str] = {}
"""Under which heading of the help an option stands; others stand first."""
PRESET = "balans_dask.preset"
"""Where the options are kept that a command has of a preset."""

JUMP_NEGATIVE_CONTROLS = (
    *("JCP2022_033924", "JCP2022_800001", "JCP2022_800002"),
    *("JCP2022_915128", "JCP2022_915129", "JCP2022_915130", "JCP2022_915131"),
)
"""DMSO, and what stands for it in the ORF and CRISPR plates."""
CELLPROFILER_METADATA = (METADATA_PREFIX, "Image_Metadata_")
IMAGE = ("Image_",)
"""Numbers of whole images, and names of files: neither features of cells nor worth a column."""


@dataclass(frozen=True)
class Preset:
    """Defaults of one convention.

    Attributes
    ----------
    columns : ColumnRule
        Which columns of a table are features.
    batch_keys : tuple of str
    label_key : str
        What should be told apart.
    controls : str
        Query for the negative controls.
    plate_keys : tuple of str
        Columns that tell plates apart.
    """

    columns: ColumnRule
    batch_keys: tuple[str, ...]
    label_key: str
    controls: str
    plate_keys: tuple[str, ...]


PRESETS = {
    "jump": Preset(
        # Profiles of CellProfiler and of networks alike: every number but those of whole images.
        columns=ColumnRule(annotations=CELLPROFILER_METADATA, left_out=IMAGE),
        batch_keys=("Metadata_Batch",),
        label_key="Metadata_JCP2022",
        controls=f"Metadata_JCP2022 in {list(JUMP_NEGATIVE_CONTROLS)}",
        plate_keys=("Metadata_Source", "Metadata_Plate"),
    ),
    "cellprofiler": Preset(
        columns=ColumnRule(
            features=("Cells_", "Cytoplasm_", "Nuclei_"),
            annotations=CELLPROFILER_METADATA,
            left_out=IMAGE,
        ),
        batch_keys=("Metadata_Plate",),
        label_key="Metadata_pert_iname",
        controls="Metadata_pert_type == 'negcon'",
        plate_keys=("Metadata_Plate",),
    ),
}


def option_group(*options: Callable[[Any], Any], title: str | None = None) -> Callable[[Any], Any]:
    """Put the same options on several commands, and under a heading of their help."""

    def decorate(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
            if title is not None:
                # Where click keeps options until there is a command.
                TITLES[command.__click_params__[-1]] = title
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


def _defaults(preset: Preset) -> dict[str, Any]:
    """Name the options of all commands that a preset speaks of."""
    return {
        "feature_prefixes": preset.columns.features,
        "metadata_prefixes": preset.columns.annotations,
        "left_out_prefixes": preset.columns.left_out,
        "batch_keys": preset.batch_keys,
        "label_key": preset.label_key,
        "control": preset.controls,
        "controls": preset.controls,
        "plate_keys": preset.plate_keys,
    }


def column_rule(context: click.Context) -> ColumnRule:
    """Return the rule for the columns of tables, of the preset if there is one."""
    said = context.meta.get(PRESET, {})
    return ColumnRule(
        *(tuple(said[f"{name}_prefixes"]) for name in ("feature", "metadata", "left_out") if said)
    )


def _preset(context: click.Context, option: click.Parameter, name: str | None) -> str | None:
    if name is not None:
        context.meta[PRESET] = _defaults(PRESETS[name])
        # What a configuration has put there says more than a preset.
        context.default_map = {**_defaults(PRESETS[name]), **(context.default_map or {})}
    return name


PRESET_OPTION = click.option(
    "--preset",
    type=click.Choice(list(PRESETS)),
    is_eager=True,
    expose_value=False,
    callback=_preset,
    help="Columns and keys as this convention names them; other options win.",
)

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
    title="Storage",
)


def _batch_options(**how: Any) -> Callable[[Any], Any]:
    return option_group(
        PRESET_OPTION,
        click.option(
            "--batch-key",
            "batch_keys",
            multiple=True,
            shell_complete=columns,
            help="Column of obs with the batch; give it again for joint batches.",
            **how,
        ),
    )


BATCH_OPTIONS = _batch_options(required=True)
RECORDED_BATCH_OPTIONS = _batch_options(show_default="that of the correction")
