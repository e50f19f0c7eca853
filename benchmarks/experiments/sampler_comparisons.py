"""Every figure of the experiment on blocks of draws, beside one row at a time."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.experiments.sampler_tests import (
    LEVEL,
    Comparison,
    compare,
    corrected,
    counts_differ,
    detectable,
)
from benchmarks.harness.findings import Findings

__all__ = ["ALONE", "Tested", "tested"]

ALONE = 1
FIGURES = {
    "small": ("landmarks in small clusters", 0.02),
    "hit": ("clusters with a landmark", 0.5),
    "uncovered": ("rows not covered", 0.02),
    "same_label": ("same-label share", 0.01),
    "mixing": ("batch mixing", 0.01),
    "total": ("total score", 0.01),
    "rows_drawn": ("rows drawn", 0.05),
}
"""Name and margin; of the rows drawn as a share of those drawn one at a time."""


@dataclass(frozen=True)
class Tested:
    """One figure of one block size beside one row at a time.

    Attributes
    ----------
    mixture : str
    block : int
    figure : str
        As the runs name it, with the number of rows.
    name : str
        As texts name it.
    mean : float
        Of one row at a time.
    found : Comparison or None
        ``None`` for the clusters, of which there is a p-value only.
    margin : float
    p_values : tuple of float
        Corrected; of the mean and the distribution, or of the clusters.
    smallest : float
        Difference that could be detected.
    """

    mixture: str
    block: int
    figure: str
    name: str
    mean: float
    found: Comparison | None
    margin: float
    p_values: tuple[float, ...]
    smallest: float

    @property
    def differs(self) -> bool:
        """A test rejects equality."""
        return min(self.p_values) < LEVEL

    @property
    def verdict(self) -> str:
        """What tests and margin say together."""
        equivalent = self.found is not None and self.found.equivalent(self.margin)
        if self.differs:
            return "differs, but within the margin" if equivalent else "differs"
        return "equivalent" if equivalent else "no difference found"


def tested(findings: Findings) -> list[Tested]:
    """Compare every figure of every block size, and correct all p-values together."""
    raw = []
    for one in findings.of(block_rows=ALONE):
        for other in findings.of(mixture=one["mixture"]):
            if other["block_rows"] != ALONE:
                raw += [(one, other, figure) for figure in _figures(findings) if figure in one]
    compared = [_compared(*case) for case in raw]
    p_values = [p for _, ps in compared for p in ps]
    remaining = iter(corrected(p_values))
    done = []
    for (one, other, figure), (found, ps) in zip(raw, compared, strict=True):
        mean = float(np.mean(one[figure]))
        stem, _, rows = figure.rpartition("_") if figure[-1].isdigit() else (figure, "", "")
        when = f"after {rows} rows" if rows else "at the stop"
        if found is None:
            name, margin, smallest = f"clusters, {when}", np.nan, np.nan
        else:
            name, margin = f"{FIGURES[stem][0]}, {when}", FIGURES[stem][1]
            margin = margin * mean if stem == "rows_drawn" else margin
            smallest = detectable(found.error, len(p_values))
        final = tuple(next(remaining) for _ in ps)
        done.append(
            Tested(one["mixture"], other["block_rows"], figure, name, mean, found, margin, final,
                   smallest)
        )  # fmt: skip
    return done


def _figures(findings: Findings) -> list[str]:
    at = findings.record["options"]["sizes"]["after"]
    stems = ("clusters", "small", "hit", "uncovered", "same_label", "mixing")
    return [*(f"{stem}_{n}" for n in at for stem in stems),
            "rows_drawn", "same_label", "mixing", "total"]  # fmt: skip


def _compared(
    one: dict[str, Any], other: dict[str, Any], figure: str
) -> tuple[Comparison | None, tuple[float, ...]]:
    if figure.startswith("clusters"):
        return None, (counts_differ(np.array(one[figure]), np.array(other[figure])),)
    found = compare(one[figure], other[figure])
    return found, (found.p_mean, found.p_shape)
