"""What the experiment on growth has found, in words."""

import numpy as np

from benchmarks.experiments.scaling_figures import (
    OPERATORS,
    SIDES,
    differences,
    exponent,
    fitted,
    gains,
    growth,
    kinds_of,
    last_exponent,
    sizes_of,
    start_up,
    with_all_rows,
)
from benchmarks.experiments.wording import bullets, listed, span
from benchmarks.harness.findings import Findings, median

__all__ = ["reading"]

GOAL = 0.30
"""Gain in the average score that the paper reports beside uncorrected."""


def reading(findings: Findings) -> list[str]:
    """Say what was found, first in short."""
    scored = any("total" in run for run in findings.of(part="run"))
    goal = _of_goal(findings) if scored else ["The total score was not measured: scib-metrics is "
                                              "not installed."]  # fmt: skip
    return [
        f"{_time_in_short(findings)} {_goal_in_short(findings) if scored else goal[0]}",
        *_of_time(findings),
        *(goal if scored else []),
        *_of_recovery(findings),
        *_of_operator(findings),
    ]


def _time_in_short(findings: Findings) -> str:
    kinds = kinds_of(findings)
    bare = [growth(findings, kind, "smooth") for kind in kinds]
    whole = [exponent(findings, "seconds", kind, "smooth") for kind in kinds]
    grown = [exponent(findings, "n_landmarks", kind, "smooth") for kind in kinds]
    fits, what = (bare, " without start-up") if all(bare) else (whole, "")
    powers = [fit.slope for fit in fits if fit]
    said = (
        f"Time of `smooth` grows as rows to the power {span(powers, '.2f')}"
        f"{what}{_at_the_end(findings)}"
    )
    landmarks = [fit.slope for fit in grown if fit]
    if max(landmarks) <= 0:
        return f"{said}."
    end = span((1 + max(each, 0) for each in landmarks), ".2f")
    return f"{said}; as rows times landmarks would be {end}."


def _at_the_end(findings: Findings) -> str:
    """Say how time grows between the two largest sizes."""
    less = start_up(findings, "smooth")
    slopes = [
        last_exponent(findings, "seconds", kind, "smooth", less) for kind in kinds_of(findings)
    ]
    found = [slope for slope in slopes if slope is not None]
    if len(found) < len(slopes):
        return ""
    last_but_one, last = sizes_of(findings)[-2:]
    return f" ({span(found, '.2f')} from {last_but_one:,} to {last:,} rows)"


def _goal_in_short(findings: Findings) -> str:
    least = {
        kind: min(gain for one in OPERATORS for gain in _mean_gains(findings, kind, one).values())
        for kind in kinds_of(findings)
    }
    found = {
        "met": [kind for kind, gain in least.items() if gain > GOAL],
        "missed": [kind for kind, gain in least.items() if gain <= GOAL],
    }
    said = [
        f"{how} with {listed(kinds)} clusters (least gain "
        f"{min(least[kind] for kind in kinds):+.0%})"
        for how, kinds in found.items()
        if kinds
    ]
    return f"The goal, a total over {GOAL:.0%} above uncorrected, is {listed(said)}."


def _of_time(findings: Findings) -> list[str]:
    rows, kinds = sizes_of(findings), kinds_of(findings)
    whole = {kind: exponent(findings, "seconds", kind, "smooth") for kind in kinds}
    said = []
    for kind in kinds:
        bare = growth(findings, kind, "smooth")
        without = "" if bare is None else f" ({fitted(bare)} without start-up)"
        said.append(
            f"{kind}: seconds grow as rows to the power {fitted(whole[kind])}{without}, landmarks "
            f"to the power {fitted(exponent(findings, 'n_landmarks', kind, 'smooth'))}"
            f"{_of_a_row(findings, kind)}"
        )
    fixed = (
        " Where the power is below one, costs that do not grow with the rows weigh at the small "
        "sizes."
        if min(fit.slope for fit in whole.values() if fit) < 1.0
        else ""
    )
    return [
        f"*Time* of `smooth`, from {rows[0]:,} to {rows[-1]:,} rows, by kind of clusters:",
        bullets(said),
        "Every landmark meets every row, so in the end time grows as rows times landmarks: by one "
        f"more than the power of the landmarks.{fixed}",
    ]


def _of_a_row(findings: Findings, kind: str) -> str:
    """Say what a row costs at the two largest sizes."""
    case = {"part": "run", "kind": kind, "operator": "smooth"}
    costs = [
        f"{1e6 * median(findings.values('seconds', n_rows=n, **case)) / n:.1f} us at {n:,}"
        for n in sizes_of(findings)[-2:]
    ]
    return f"; a row costs {listed(costs)} rows"


def _of_goal(findings: Findings) -> list[str]:
    said = []
    for kind in kinds_of(findings):
        before = findings.values("total", part="run", kind=kind, operator="uncorrected")
        each = "; ".join(_of_goal_by(findings, kind, operator) for operator in OPERATORS)
        said.append(f"{kind}, where uncorrected has {median(before):.2f}: {each}")
    return [
        f"*The goal* is a total more than {GOAL:.0%} above uncorrected in the mean of the seeds. "
        "In brackets, what the difference in the total is made of:",
        bullets(said),
    ]


def _mean_gains(findings: Findings, kind: str, operator: str) -> dict[int, float]:
    """Gain of every number of rows, in the mean of the seeds."""
    return {
        n: float(np.mean(gains(findings, kind=kind, operator=operator, n_rows=n)))
        for n in sizes_of(findings)
    }


def _of_goal_by(findings: Findings, kind: str, operator: str) -> str:
    at = _mean_gains(findings, kind, operator)
    missed = [f"{n:,}" for n, gain in at.items() if gain <= GOAL]
    met = f"missed at {listed(missed)} rows" if missed else "met at every size"
    gained = span(at.values(), "+.0%")
    return f"`{operator}` {gained}, {met} ({_side(findings, kind, operator)})"


def _side(findings: Findings, kind: str, operator: str) -> str:
    """Say what the difference in the total is made of, median over all sizes and seeds."""
    case = {"kind": kind, "operator": operator}
    batch, biology = (
        weight * median(differences(findings, side, **case)) for side, weight in SIDES.items()
    )
    return f"batch side {batch:+.2f}, biology {biology:+.2f}"


def _of_recovery(findings: Findings) -> list[str]:
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
        said.append(f"{kind}: {before:.2f} uncorrected, {listed(after)}")
    return [
        f"*Recovery.* At {last:,} rows the error of the clusters' means, in units of their own "
        "spread (1 is what a collapse into one point has), is:",
        bullets(said),
    ]


def _of_operator(findings: Findings) -> list[str]:
    rows = sizes_of(findings)
    said = []
    for kind in kinds_of(findings):
        first, last = (
            median(findings.values("mass_elsewhere", part="run", kind=kind, operator="smooth",
                                   n_rows=n)) for n in (rows[0], rows[-1])
        )  # fmt: skip
        beside = [
            f"; at {run['n_rows']:,} rows and seed {run['seed']} the operator with every row as a "
            f"landmark puts {run['dense_elsewhere']:.3f} there, the sampled one "
            f"{run['mass_elsewhere']:.3f}"
            for run in with_all_rows(findings)
            if run["kind"] == kind
        ]
        said.append(
            f"{kind}: {first:.3f} at {rows[0]:,} and {last:.3f} at {rows[-1]:,} rows"
            f"{''.join(beside)}"
        )
    return [
        "*Weight from other clusters* that rows which are smoothed take (0 is the ideal):",
        bullets(said),
    ]
