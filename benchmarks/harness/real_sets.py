"""The real profiles that corrections are measured on, and the corrections."""

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
from benchmarks.harness.measured_process import SMOOTH

NYSTROM = ("--operator", "nystrom")
DISPLACE = ("--operator", "displace")
NO_GUARD = ("--max-scale-ratio", "none")
ANCHORED = (*DISPLACE, "--anchor", "Metadata_pert_type == 'negcon'")
TWICE = ("--n-passes", "2")
THRICE = ("--n-passes", "3")
METHODS: dict[str, tuple[str, ...]] = {
    "raw": (*SMOOTH, "--strength", "0"),
    "smooth": SMOOTH,
    "nystrom": NYSTROM,
    "displace": DISPLACE,
    "displace, 2 passes": (*DISPLACE, *TWICE),
    "displace, 3 passes": (*DISPLACE, *THRICE),
    "smooth, no guard": ("--paper",),
    "nystrom, no guard": (*NYSTROM, *NO_GUARD),
    "displace, no guard": (*DISPLACE, *NO_GUARD),
    "displace, 2 passes, no guard": (*DISPLACE, *TWICE, *NO_GUARD),
    "displace, 3 passes, no guard": (*DISPLACE, *THRICE, *NO_GUARD),
}
"""Options of `balans correct`, the rest its defaults; with strength 0 the raw scores come out.

*smooth, no guard* is the published method.
"""
ANCHOR_METHODS: dict[str, tuple[str, ...]] = {
    "raw, anchors": (*ANCHORED, "--strength", "0"),
    "displace, anchors": ANCHORED,
    "displace, anchors, 2 passes": (*ANCHORED, *TWICE),
    "displace, anchors, 3 passes": (*ANCHORED, *THRICE),
}
"""Where negative controls lie in every batch; without the guard, as anchors do by default.

Anchors standardise features by their own deviation, so these scores have their own raw ones.
"""


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
    anchored : bool
        Corrected with the controls as anchors too.
    """

    name: str
    file: str
    batch: str
    label: str
    across: str
    group: tuple[str, ...]
    treated_only: bool = False
    mechanism: bool = False
    anchored: bool = False

    def methods(self) -> dict[str, tuple[str, ...]]:
        """Name and options of every correction."""
        return METHODS | (ANCHOR_METHODS if self.anchored else {})

    def raw_of(self, method: str) -> str:
        """Name the uncorrected scores that a method started from."""
        return "raw, anchors" if method in ANCHOR_METHODS else "raw"

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
_PLATE = replace(
    _WEEK, name="bbbc021_well, batch Metadata_Plate", batch="Metadata_Plate", anchored=True
)
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
