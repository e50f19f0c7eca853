"""What a community calls its columns: feature rules, keys and controls that options default to.

A preset is data. A command takes from it what it asks for, and flags win.
"""

from dataclasses import dataclass
from typing import Any

import click

from balans_dask.io.tables.columns import METADATA_PREFIX, ColumnRule

__all__ = ["PRESET", "PRESETS", "PRESET_OPTION", "Preset"]

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
        context.meta[PRESET] = _defaults(PRESETS[name])
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
