"""Gains over uncorrected profiles along an axis of severity, from the findings."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.experiments.crossings import Stretch, stretches_above
from benchmarks.harness.findings import Findings
from benchmarks.harness.scoring import main_score

__all__ = ["MARGIN", "NO_EFFECT", "UNCORRECTED", "Curve", "curve", "levels", "scores_of"]

NO_EFFECT, UNCORRECTED = "none", "uncorrected"
MARGIN = 0.005
"""A smaller gain is none: our choice."""


def levels(findings: Findings, kind: str, axis: str) -> list[float]:
    """Severities that were measured, 0 first."""
    return [0.0, *sorted({run["level"] for run in findings.of(kind=kind, axis=axis)})]


def scores_of(
    findings: Findings, figure: str, kind: str, axis: str, method: str
) -> NDArray[np.float64]:
    """One figure of a method: a line a seed, a column a severity."""
    places = [(NO_EFFECT, 0.0)] + [(axis, level) for level in levels(findings, kind, axis)[1:]]
    columns = [
        findings.values(figure, kind=kind, axis=where, level=level, method=method)
        for where, level in places
    ]
    return np.array(columns, dtype=np.float64).T


@dataclass(frozen=True)
class Curve:
    """What a method gains along an axis.

    Attributes
    ----------
    places : list of float
        Severities.
    gains : ndarray of shape (n_seeds, n_severities)
        Score minus that of what it is compared with, paired by seed.
    regained : ndarray of shape (n_severities,)
        Mean score less the middle between the uncorrected score here and without batch effect.
    """

    places: list[float]
    gains: NDArray[np.float64]
    regained: NDArray[np.float64]

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean gain over seeds."""
        return self.gains.mean(axis=0)

    @property
    def helps(self) -> list[Stretch]:
        """Severities with a mean gain above the margin."""
        return stretches_above(self.places, self.mean - MARGIN)

    @property
    def ends(self) -> list[float]:
        """Where the gain of a seed falls below the margin for the last time, of those that do."""
        found = [stretches_above(self.places, gains - MARGIN) for gains in self.gains]
        return [one[-1].end for one in found if one and one[-1].closes]

    @property
    def half(self) -> Stretch | None:
        """Last severities at which half of the loss is given back; without batch effect excluded.

        Where nothing is lost, as without batch effect, there is nothing to give back.
        """
        found = stretches_above(self.places[1:], self.regained[1:])
        return found[-1] if found else None


def curve(
    findings: Findings,
    kind: str,
    axis: str,
    method: str,
    beside: str = UNCORRECTED,
    figure: str = "",
) -> Curve:
    """Compare a method along an axis with the uncorrected profiles, or with another method.

    ``figure`` is the main score unless it is given.
    """
    figure = figure or main_score(findings)[0]
    own, other, raw = (
        scores_of(findings, figure, kind, axis, name) for name in (method, beside, UNCORRECTED)
    )
    middle = (raw + raw[:, :1]) / 2
    return Curve(levels(findings, kind, axis), own - other, (own - middle).mean(axis=0))
