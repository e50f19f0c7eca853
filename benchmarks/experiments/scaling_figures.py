"""Figures of the experiment on growth that its tables, picture and reading share."""

import math
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import curve_fit
from scipy.stats import linregress

from benchmarks.harness.findings import Findings, median
from benchmarks.harness.mixtures import TINY_ROWS

__all__ = [
    "OPERATORS",
    "SIDES",
    "Power",
    "differences",
    "exponent",
    "fitted",
    "gains",
    "growth",
    "kinds_of",
    "last_exponent",
    "paired",
    "sizes_of",
    "start_up",
    "with_all_rows",
]

OPERATORS = ("smooth", "displace")
SIDES = {"batch": 0.4, "biology": 0.6}
"""Weights of the total."""


class Power(NamedTuple):
    """Of the rows, with its standard error."""

    slope: float
    stderr: float


def sizes_of(findings: Findings) -> list[int]:
    """Numbers of rows that were measured, in order."""
    return sorted({run["n_rows"] for run in findings.of(part="run")})


def kinds_of(findings: Findings) -> list[str]:
    """Kinds of clusters that were measured, in order."""
    return list(dict.fromkeys(run["kind"] for run in findings.of(part="run")))


def start_up(findings: Findings, operator: str) -> float:
    """Seconds of a run that has hardly any rows."""
    return median(findings.values("seconds", part="start", operator=operator))


def exponent(findings: Findings, figure: str, kind: str, operator: str) -> Power | None:
    """Slope of log(figure) over log(rows) by least squares."""
    runs = findings.of(part="run", kind=kind, operator=operator)
    if len({run["n_rows"] for run in runs}) < 2:
        return None
    rows = np.log([run["n_rows"] for run in runs])
    fit = linregress(rows, np.log([run[figure] for run in runs]))
    return Power(fit.slope, fit.stderr)


def growth(findings: Findings, kind: str, operator: str) -> Power | None:
    """Power b of seconds = start-up + a rows^b, fitted to the logarithms of all runs at once.

    The runs of hardly any rows tell start-up; a difference to them, run by run, would weigh those
    most that are hardly longer.
    """
    runs = findings.of(part="run", kind=kind, operator=operator)
    starts = findings.values("seconds", part="start", operator=operator)
    if not starts or len({run["n_rows"] for run in runs}) < 3:
        return None
    rows = np.log([TINY_ROWS] * len(starts) + [run["n_rows"] for run in runs])
    seconds = np.log(starts + [run["seconds"] for run in runs])
    first = (np.log(median(starts)), seconds.max() - rows.max(), 1.0)
    found, covariance = curve_fit(_start_and_power, rows, seconds, first, maxfev=20_000)
    return Power(float(found[2]), float(np.sqrt(covariance[2, 2])))


def _start_and_power(rows: Any, start: float, factor: float, power: float) -> Any:
    return np.logaddexp(start, factor + power * rows)


def last_exponent(
    findings: Findings, figure: str, kind: str, operator: str, less: float = 0.0
) -> float | None:
    """Slope between the medians of the two largest sizes, where costs of few rows weigh least."""
    sizes = sizes_of(findings)[-2:]
    case = {"part": "run", "kind": kind, "operator": operator}
    at_size = [median(findings.values(figure, n_rows=n, **case)) - less for n in sizes]
    if len(sizes) < 2 or not min(at_size) > 0:
        return None
    return math.log(at_size[1] / at_size[0]) / math.log(sizes[1] / sizes[0])


def paired(findings: Findings, figure: str, **case: Any) -> list[tuple[float, float]]:
    """Pair a figure of corrected runs with that of uncorrected ones of the same mixture."""
    before = {
        (run["n_rows"], run["seed"]): run[figure]
        for run in findings.of(part="run", **(case | {"operator": "uncorrected"}))
        if figure in run
    }
    return [
        (run[figure], before[run["n_rows"], run["seed"]])
        for run in findings.of(part="run", **case)
        if figure in run
    ]


def differences(findings: Findings, figure: str, **case: Any) -> list[float]:
    """Return a figure of corrected runs minus that of uncorrected ones, by seed."""
    return [after - before for after, before in paired(findings, figure, **case)]


def gains(findings: Findings, **case: Any) -> list[float]:
    """Total over that of uncorrected minus 1, by seed; empty without scib-metrics."""
    return [after / before - 1 for after, before in paired(findings, "total", **case)]


def with_all_rows(findings: Findings) -> list[dict[str, Any]]:
    """Return the runs in which the operator of all rows was looked at."""
    return [run for run in findings.of(part="run") if "dense_elsewhere" in run]


def fitted(fit: Power | None) -> str:
    """Write a power and its standard error."""
    if fit is None:
        return "-"
    # Two runs have a slope, and no error of it.
    return f"{fit.slope:.2f}" + (f" +- {fit.stderr:.2f}" if np.isfinite(fit.stderr) else "")
