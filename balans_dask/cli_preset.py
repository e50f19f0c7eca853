"""``--preset``: defaults of other options of the same command."""

from typing import Any

import click

from balans_dask.presets import PRESETS, Preset

__all__ = ["PRESET_OPTION"]


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


def _apply(context: click.Context, option: click.Parameter, name: str | None) -> str | None:
    if name is not None:
        # What a configuration has put there says more than a preset.
        context.default_map = {**_defaults(PRESETS[name]), **(context.default_map or {})}
    return name


PRESET_OPTION = click.option(
    "--preset",
    type=click.Choice(list(PRESETS)),
    is_eager=True,
    expose_value=False,
    callback=_apply,
    help="Columns and keys as this convention names them; other options win.",
)
