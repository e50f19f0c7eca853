"""Figures of the experiment on growth that its tables, picture and reading share."""

import math
from typing import Any

import numpy as np
from findings import Findings, median
from scipy.stats import linregress

__all__ = [
    "OPERATORS",
    "SIDES",
    "differences",
    "exponent",
    "fitted",
    "gains",
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


def sizes_of(findings: Findings) -> list[int]:
    """Numbers of rows that were measured, in order."""
    return sorted({run["n_rows"] for run in findings.of(part="run")})


def kinds_of(findings: Findings) -> list[str]:
    """Kinds of clusters that were measured, in order."""
    return list(dict.fromkeys(run["kind"] for run in findings.of(part="run")))


def start_up(findings: Findings, operator: str) -> float:
    """Seconds of a run that has hardly any rows."""
    return median(findings.values("seconds", part="start", operator=operator))


def exponent(findings: Findings, figure: str, kind: str, operator: str, less: float = 0.0) -> Any:
    """Slope of log(figure - less) over log(rows), and its standard error."""
    runs = findings.of(part="run", kind=kind, operator=operator)
    runs = [run for run in runs if run[figure] > less]
    if math.isnan(less) or len({run["n_rows"] for run in runs}) < 2:
        return None
    rows = np.log([run["n_rows"] for run in runs])
    return linregress(rows, np.log([run[figure] - less for run in runs]))


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


def fitted(fit: Any) -> str:
    """Write a slope and its standard error."""
    return "-" if fit is None else f"{fit.slope:.2f} +- {fit.stderr:.2f}"
