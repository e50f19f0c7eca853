"""What the experiment on the pseudo-inverse found: tables and reading."""

from collections.abc import Sequence
from typing import Any

from findings import Findings, median, spread
from pseudo_inverse_operators import LIMIT_OF, LIMITS, OPERATORS, known, values_of
from real_tables import lines

__all__ = ["reading", "tables"]

CLEAR = 0.8
"""Share of the runs in which a change must have one sign to be called one; our choice."""
FIGURES = {
    "amplified": "amplified",
    "small_leaked": "leaked, small clusters",
    "small_same_label": "same label, small clusters",
    "leaked": "leaked, all",
    "same_label": "same label, all",
    "mixing": "mixing",
}


def tables(findings: Findings) -> list[str]:
    """Write every mixture and operator."""
    shown = [name for name in FIGURES if any(name in run for run in findings.record["runs"])]
    head = ["sizes, noise, operator", *(f"error, {limit}" for limit in LIMITS),
            *(FIGURES[name] for name in shown), "rows of small clusters", "landmarks"]  # fmt: skip
    parts = []
    for clusters in values_of(findings, "clusters"):
        rows = [
            _row(findings.of(clusters=clusters, ratio=ratio, noise_ratio=noise, operator=operator),
                 f"1:{ratio:,}, 1:{noise}, {operator}", shown)
            for ratio in values_of(findings, "ratio")
            for noise in values_of(findings, "noise_ratio")
            for operator in ("raw", *OPERATORS, *LIMITS)
        ]  # fmt: skip
        parts += [f"## {clusters}: median (range) over seeds\n", lines(head, rows)]
    return parts


def _row(runs: list[dict[str, Any]], name: str, shown: Sequence[str]) -> list[str]:
    errors = [
        spread([run["errors"][limit] for run in runs if "errors" in run], 2) for limit in LIMITS
    ]
    figures = [spread(known(runs, each), 3) for each in shown]
    counts = [spread([run[each] for run in runs], 0) for each in ("small_rows", "n_landmarks")]
    return [name, *errors, *figures, *counts]


def reading(findings: Findings) -> str:
    """Say what the omission changes, and where."""
    ratios = values_of(findings, "ratio")
    unequal = dict.fromkeys((ratios[len(ratios) // 2], ratios[-1]))
    return " ".join(
        [
            _errors(findings),
            _own_limits(findings),
            _amplified(findings),
            *(_small(findings, ratio) for ratio in dict.fromkeys((ratios[0], ratios[-1]))),
            *(_verdict(findings, ratio) for ratio in unequal),
        ]
    )


def _errors(findings: Findings) -> str:
    against = {operator: _all(findings, operator, "error") for operator in OPERATORS}
    nearest = min(against, key=lambda operator: median(against[operator]))
    listed = ", ".join(f"{operator} {median(each):.2f}" for operator, each in against.items())
    grows = {operator: _growth(findings, operator) for operator in OPERATORS}
    grown = ", ".join(f"{operator} {each:+.2f}" for operator, each in grows.items())
    return (
        f"Against the dense A, {nearest} has the smallest error (median over all mixtures: "
        f"{listed}; from the most equal sizes to the least equal ones it changes by {grown})."
    )


def _growth(findings: Findings, operator: str) -> float:
    ratios = values_of(findings, "ratio")
    ends = [
        median(known(findings.of(operator=operator, ratio=ratio), "error"))
        for ratio in (ratios[0], ratios[-1])
    ]
    return ends[1] - ends[0]


def _own_limits(findings: Findings) -> str:
    found = [
        f"{operator} from {limit} "
        f"{median([run['errors'][limit] for run in findings.of(operator=operator)]):.2f}"
        for operator, limit in LIMIT_OF.items()
    ]
    said = f"The distance of each from its limit with all rows as landmarks is: {'; '.join(found)}."
    negative = [run["negative_eigenvalues"] for run in findings.of(operator="nystrom")]
    most = [run["most_negative"] for run in findings.of(operator="nystrom")]
    if max(negative) == 0.0:
        return said
    return (
        f"{said} Of the eigenvalues of A_SS, symmetrised, {min(negative):.0%} to "
        f"{max(negative):.0%} are negative beyond the cut (the most negative is "
        f"{-min(most):.0%} of the largest): with scales and an elbow of each row's "
        "own it is not the positive kernel that the Nystrom form assumes."
    )


def _amplified(findings: Findings) -> str:
    shares = {name: known(findings.of(operator=name), "amplified") for name in OPERATORS}
    there = {name: each for name, each in shares.items() if max(each) > 0}
    if not there:
        return "No operator amplifies: the absolute weights of every row stay below 10."
    listed = "; ".join(
        f"{name} {median(each):.1%} of the rows in the median, {max(each):.1%} at most"
        for name, each in there.items()
    )
    return (
        f"Rows whose absolute weights sum to more than 10 are there with {listed}: differences of "
        "large numbers, by which profiles leave the data."
    )


def _small(findings: Findings, ratio: int) -> str:
    parts = []
    for operator in (*OPERATORS, "A"):
        runs = findings.of(ratio=ratio, operator=operator)
        name = "the dense A" if operator == "A" else operator
        parts.append(
            f"{name} {median(known(runs, 'small_leaked')):.0%} and "
            f"{median(known(runs, 'small_same_label')):.2f}"
        )
    raw = median(known(findings.of(ratio=ratio, operator="raw"), "small_same_label"))
    return (
        f"In the small clusters at 1:{ratio:,}, leaked weight and same-label share are, in the "
        f"median over mixtures, {'; '.join(parts)} (uncorrected {raw:.2f})."
    )


def _verdict(findings: Findings, ratio: int) -> str:
    said = [_beside_smooth(findings, operator, ratio) for operator in OPERATORS[1:]]
    if not all(said):
        return f"At 1:{ratio:,} no small cluster has two rows."
    return (
        f"At 1:{ratio:,}, beside `smooth` and paired by mixture, the same-label share of the small "
        f"clusters {'; '.join(said)}."
    )


def _beside_smooth(findings: Findings, operator: str, ratio: int) -> str:
    gains = _gains(findings, operator, ratio)
    if not gains:
        return ""
    better, worse = (sum(sign * each > 0 for each in gains) for sign in (1, -1))
    most = CLEAR * len(gains)
    how = "rises" if better > most else "falls" if worse > most else "does not change clearly"
    return (
        f"{how} with {operator} ({median(gains):+.3f} in the median, {min(gains):+.3f} to "
        f"{max(gains):+.3f}, better in {better} and worse in {worse} of {len(gains)} runs; of all "
        f"rows {median(_gains(findings, operator, ratio, 'same_label')):+.3f}, mixing "
        f"{median(_gains(findings, operator, ratio, 'mixing')):+.3f})"
    )


def _gains(
    findings: Findings, operator: str, ratio: int, name: str = "small_same_label"
) -> list[float]:
    found = []
    for run in findings.of(operator=operator, ratio=ratio):
        same = {key: run[key] for key in ("clusters", "ratio", "noise_ratio", "seed")}
        beside = findings.of(operator="smooth", **same)[0]
        if run[name] is not None:
            found.append(run[name] - beside[name])
    return found


def _all(findings: Findings, operator: str, name: str) -> list[float]:
    return known(findings.of(operator=operator), name)
