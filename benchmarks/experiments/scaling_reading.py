"""What the experiment on growth has found, in words."""

import numpy as np
from findings import Findings, median
from scaling_figures import (
    OPERATORS,
    SIDES,
    differences,
    exponent,
    fitted,
    gains,
    kinds_of,
    sizes_of,
    start_up,
    with_all_rows,
)

__all__ = ["reading"]

GOAL = 0.30
"""Gain in the average score that the paper reports beside uncorrected."""


def reading(findings: Findings) -> str:
    """Say what was found."""
    parts = [_of_time(findings), _of_goal(findings), _of_recovery(findings), _of_operator(findings)]
    return " ".join(part for part in parts if part)


def _of_time(findings: Findings) -> str:
    rows = sizes_of(findings)
    said = []
    for kind in kinds_of(findings):
        whole = exponent(findings, "seconds", kind, "smooth")
        less = exponent(findings, "seconds", kind, "smooth", start_up(findings, "smooth"))
        grown = exponent(findings, "n_landmarks", kind, "smooth")
        bare = "" if less is None else f", {fitted(less)} without start-up"
        said.append(
            f"where clusters are {kind}, seconds of `smooth` grow as rows to the power "
            f"{fitted(whole)}{bare}, and landmarks to the power {fitted(grown)}"
        )
    slopes = [exponent(findings, "seconds", kind, "smooth").slope for kind in kinds_of(findings)]
    fixed = (
        " Where the power is below one, costs that do not grow with the rows weigh at the small "
        "sizes."
        if min(slopes) < 1.0
        else ""
    )
    return (
        f"From {rows[0]:,} to {rows[-1]:,} rows: {'; '.join(said)}. Every landmark meets every "
        "row, so in the end time grows as rows times landmarks: by one more than the power of the "
        f"landmarks.{fixed}"
    )


def _of_goal(findings: Findings) -> str:
    if not any("total" in run for run in findings.of(part="run")):
        return "The total score was not measured: scib-metrics is not installed."
    said = []
    for kind in kinds_of(findings):
        before = findings.values("total", part="run", kind=kind, operator="uncorrected")
        each = [_of_goal_by(findings, kind, operator) for operator in OPERATORS]
        said.append(
            f"where clusters are {kind}, uncorrected has {median(before):.2f}, {'; '.join(each)}."
        )
    head = f"The goal is a total more than {GOAL:.0%} above uncorrected in the mean of the seeds: "
    return head + " ".join(said).replace(". where", ". Where")


def _of_goal_by(findings: Findings, kind: str, operator: str) -> str:
    at = {
        n: float(np.mean(gains(findings, kind=kind, operator=operator, n_rows=n)))
        for n in sizes_of(findings)
    }
    low, high = f"{min(at.values()):+.0%}", f"{max(at.values()):+.0%}"
    span = low if low == high else f"{low} to {high}"
    missed = [f"{n:,}" for n, gain in at.items() if gain <= GOAL]
    met = f"missed at {', '.join(missed)} rows" if missed else "met at every size"
    return f"`{operator}` gains {span} ({met}; {_side(findings, kind, operator)})"


def _side(findings: Findings, kind: str, operator: str) -> str:
    """Say what the difference in the total is made of, median over all sizes and seeds."""
    case = {"kind": kind, "operator": operator}
    batch, biology = (
        weight * median(differences(findings, side, **case)) for side, weight in SIDES.items()
    )
    return f"{batch:+.2f} from the batch side and {biology:+.2f} from biology"


def _of_recovery(findings: Findings) -> str:
    last = sizes_of(findings)[-1]
    said = []
    for kind in kinds_of(findings):
        case = {"part": "run", "kind": kind, "n_rows": last}
        before = median(findings.values("mean_error", **case, operator="uncorrected"))
        after = []
        for operator in OPERATORS:
            error = median(findings.values("mean_error", **case, operator=operator))
            kept = median(findings.values("spread_kept", **case, operator=operator))
            worse = ", farther off than uncorrected" if error > before else ""
            after.append(f"{error:.2f} after `{operator}` (clusters keep {kept:.2f} of their "
                         f"spread{worse})")  # fmt: skip
        said.append(f"{before:.2f} uncorrected, {' and '.join(after)} where clusters are {kind}")
    return (
        f"At {last:,} rows the error of the clusters' means, in units of their spread, is "
        f"{'; '.join(said)}."
    )


def _of_operator(findings: Findings) -> str:
    rows = sizes_of(findings)
    said = []
    for kind in kinds_of(findings):
        first, last = (
            median(findings.values("mass_elsewhere", part="run", kind=kind, operator="smooth",
                                   n_rows=n)) for n in (rows[0], rows[-1])
        )  # fmt: skip
        said.append(f"{first:.3f} at {rows[0]:,} and {last:.3f} at {rows[-1]:,} {kind} rows")
    said += [
        f"at {run['n_rows']:,} {run['kind']} rows the operator with every row as a landmark "
        f"puts {run['dense_elsewhere']:.3f} there and the sampled one {run['mass_elsewhere']:.3f}"
        for run in with_all_rows(findings)
    ]
    return f"Rows that are smoothed take this much weight from other clusters: {'; '.join(said)}."
