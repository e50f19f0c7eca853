"""The real profiles that corrections are measured on."""

import contextlib
import io
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from balans_dask.cli.app import run
from benchmarks.harness.arrays import Bools


@dataclass(frozen=True)
class RealSet:
    """A file of profiles and the meaning of its columns.

    Attributes
    ----------
    name : str
        In the tables.
    batch : str
        What is corrected, and the batch of the batch side.
    across : str
        Batch across which retrieval is scored.
    group : tuple of str
        Rows that the bootstrap draws together.
    treated_only : bool
        Negative controls are corrected too, but only treated rows are scored by label.
    mechanism : bool
        Labels are mechanisms shared by compounds, so NSCB is defined, and negative controls lie in
        every batch, so their batch purity is.
    """

    name: str
    file: str
    batch: str
    label: str
    across: str
    group: tuple[str, ...]
    treated_only: bool = False
    mechanism: bool = False

    def annotations(self, folder: Path) -> pd.DataFrame:
        """Read the columns that describe rows."""
        table = pd.read_parquet(folder / f"{self.file}.parquet")
        described = [name for name in table if name.startswith("Metadata_")]
        return table[described].reset_index(drop=True)

    def scored(self, rows: pd.DataFrame) -> Bools:
        """Rows that the scores by label look at."""
        if not self.treated_only:
            return np.ones(len(rows), dtype=bool)
        return (rows["Metadata_pert_type"] != "negcon").to_numpy()

    def groups(self, rows: pd.DataFrame) -> NDArray[np.generic]:
        """Group of every row."""
        return rows.groupby(list(self.group), observed=True).ngroup().to_numpy()


_CPJUMP = RealSet(
    name="cpjump1_compound_csn, batch Metadata_Plate", file="cpjump1_compound_csn",
    batch="Metadata_Plate", label="Metadata_pert_iname", across="Metadata_Plate",
    group=("Metadata_pert_iname",),
)  # fmt: skip
_WEEK = RealSet(
    name="bbbc021_well, batch Metadata_week", file="bbbc021_well", batch="Metadata_week",
    label="Metadata_moa", across="Metadata_week", group=("Metadata_compound",),
    treated_only=True, mechanism=True,
)  # fmt: skip
_PLATE = replace(_WEEK, name="bbbc021_well, batch Metadata_Plate", batch="Metadata_Plate")
_CELLS = RealSet(
    name="bbbc021_singlecell, batch Metadata_Plate", file="bbbc021_singlecell",
    batch="Metadata_Plate", label="Metadata_treatment", across="Metadata_Plate",
    group=("Metadata_Plate", "Metadata_Well", "Metadata_Site"),
)  # fmt: skip
SETS = (_CPJUMP, _WEEK, _PLATE, _CELLS)


def command(*arguments: str) -> None:
    """Run `balans`, without its tables."""
    with contextlib.redirect_stdout(io.StringIO()):
        code = run(list(arguments))
    if code != 0:
        sys.exit(f"failed with {code}: balans {' '.join(arguments)}")
