"""Figures of the experiment on coverage that its tables, picture and reading share."""

from typing import Any

import numpy as np

from benchmarks.harness.findings import Findings

__all__ = [
    "BALANS",
    "LEAST_DRAWS",
    "MARKS",
    "at_stop",
    "bound_of",
    "cluster_cases",
    "covered_at_auto",
    "draws_of",
    "each_of",
    "enough",
    "kinds_of",
    "mark_of",
    "missed_at",
    "needed",
    "of_clusters",
    "samplers_of",
    "sets_of",
    "stops",
]

BALANS = "BALANS"
MARKS = {"patience": ":", "auto": "--"}
LEAST_DRAWS = 256
"""Where there are few clusters."""


def sets_of(findings: Findings) -> list[str]:
    """Names of the sets, in order."""
    return list(dict.fromkeys(run["set"] for run in findings.of(part="samplers")))


def samplers_of(findings: Findings) -> list[str]:
    """Names of the samplers, ours first."""
    return list(findings.of(part="samplers")[0]["samplers"])


def needed(findings: Findings, name: str, sampler: str, share: str) -> list[float]:
    """Rows drawn until that share is covered, by seed; infinity where it never was."""
    runs = findings.of(part="samplers", set=name)
    found = [run["samplers"][sampler]["needed"][share] for run in runs]
    return [np.inf if each is None else each for each in found]


def at_stop(findings: Findings, name: str, sampler: str, figure: str) -> list[float]:
    """Share that is covered at the stop of the paper's rule, by seed."""
    runs = findings.of(part="samplers", set=name)
    return [run["samplers"][sampler][figure][-1] for run in runs]


def stops(findings: Findings, rule: str, **case: Any) -> list[float]:
    """Rows drawn until a rule stops, by seed."""
    return [run["stops"][rule] for run in findings.of(**case)]


def covered_at_auto(findings: Findings, name: str) -> list[float]:
    """Share of rows that BALANS has covered where `auto` stops, at the last place before it."""
    found = []
    for run in findings.of(part="samplers", set=name):
        place = np.searchsorted(run["drawn"], run["stops"]["auto"], side="right") - 1
        found.append(run["samplers"][BALANS]["rows"][int(place)])
    return found


def cluster_cases(findings: Findings) -> list[dict[str, Any]]:
    """Every number and kind of clusters, once; the fewest first, also in a file that went on."""
    found = [
        {"part": "clusters", "n_clusters": run["n_clusters"], "clusters": run["clusters"]}
        for run in findings.of(part="clusters")
    ]
    once = [case for place, case in enumerate(found) if case not in found[:place]]
    return sorted(once, key=lambda case: case["n_clusters"])


def kinds_of(findings: Findings) -> list[str]:
    """Kinds of cluster sizes, in order."""
    return list(dict.fromkeys(case["clusters"] for case in cluster_cases(findings)))


def of_clusters(
    findings: Findings, figure: str, t: str | None, case: dict[str, Any]
) -> list[float]:
    """Rows drawn by seed, infinity where they were not enough."""
    found = [run[figure] if t is None else run[figure][t] for run in findings.of(**case)]
    return [np.inf if each is None else each for each in found]


def draws_of(findings: Findings, case: dict[str, Any]) -> int:
    """Bound of the rows that are drawn of so many clusters."""
    sizes, n_clusters = findings.record["options"]["sizes"], case["n_clusters"]
    each = sizes["draws_beyond"].get(str(n_clusters), sizes["draws_per_cluster"])
    return max(each * n_clusters, LEAST_DRAWS)


def enough(findings: Findings, cases: list[dict[str, Any]], t: str) -> tuple[int, int, int]:
    """Count the runs in which t K log K rows were enough, those that drew as many, and all others.

    Of cases that are bounded below the mark, those that reached all clusters would be the lucky.
    """
    decided = _decided(findings, cases, t)
    rows = [(case, of_clusters(findings, "landmarks", t, case)) for case in decided]
    reach = sum(each <= mark_of(case, t) for case, needed_rows in rows for each in needed_rows)
    n_decided = sum(len(needed_rows) for _, needed_rows in rows)
    return reach, n_decided, sum(len(findings.of(**case)) for case in cases) - n_decided


def missed_at(findings: Findings, cases: list[dict[str, Any]], t: str) -> list[int]:
    """Numbers of clusters at which t K log K rows were drawn and were not always enough."""
    return [
        case["n_clusters"]
        for case in _decided(findings, cases, t)
        if max(of_clusters(findings, "landmarks", t, case)) > mark_of(case, t)
    ]


def _decided(findings: Findings, cases: list[dict[str, Any]], t: str) -> list[dict[str, Any]]:
    return [case for case in cases if draws_of(findings, case) >= mark_of(case, t)]


def mark_of(case: dict[str, Any], t: str) -> float:
    """Return t K log K."""
    return float(int(t) * case["n_clusters"] * np.log(case["n_clusters"]))


def each_of(findings: Findings) -> list[str]:
    """Numbers t of landmarks in each cluster."""
    return list(findings.of(part="clusters")[0]["landmarks"])


def bound_of(t: str) -> str:
    """Name t K log K."""
    return f"{t} K log K".removeprefix("1 ")
