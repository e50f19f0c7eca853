"""What the experiment on coverage has found, in words."""

from typing import Any

import numpy as np
from coverage_figures import (
    BALANS,
    MARKS,
    at_stop,
    bound_of,
    cluster_cases,
    covered_at_auto,
    each_of,
    kinds_of,
    needed,
    of_clusters,
    samplers_of,
    sets_of,
    stops,
)
from findings import Findings, median

__all__ = ["reading"]


def reading(findings: Findings) -> str:
    """Say what was found."""
    return " ".join([_of_samplers(findings), _of_stops(findings), _of_many(findings)])


WAYS = {
    BALANS: "by BALANS",
    "uniform": "drawn uniformly",
    "farthest point": "as farthest points",
    "k-means++": "by k-means++",
}


def _of_samplers(findings: Findings) -> str:
    """Compare the samplers by rows to nine tenths, and by what BALANS leaves at its stop."""
    names, samplers = sets_of(findings), samplers_of(findings)
    said = []
    for name in names:
        middle = [float(np.median(needed(findings, name, s, "0.9"))) for s in samplers]
        listed = [f"{_rows(rows)} {WAYS[s]}" for s, rows in zip(samplers, middle, strict=True)]
        said.append(f"{', '.join(listed)} ({name})")
    left = []
    for name in names:
        each = [f"{1 - median(at_stop(findings, name, s, 'rows')):.2%} {WAYS[s]}" for s in samplers]
        left.append(f"{', '.join(each)} ({name})")
    return (
        f"Nine tenths of the rows are covered by so many landmarks: {'; '.join(said)}. "
        f"{_verdict(findings)} With as many landmarks as BALANS has at its stop, this share of the "
        f"rows is still uncovered: {'; '.join(left)}."
    )


def _verdict(findings: Findings) -> str:
    """Count the sets on which BALANS needs fewer rows than another sampler."""
    names, said = sets_of(findings), []
    for other in samplers_of(findings)[1:]:
        fewer = [
            name
            for name in names
            if np.median(needed(findings, name, BALANS, "0.9"))
            < np.median(needed(findings, name, other, "0.9"))
        ]
        said.append(f"than landmarks {WAYS[other]} on {len(fewer)}")
    return f"Of {len(names)} sets, BALANS needs fewer {', '.join(said)}."


def _rows(rows: float) -> str:
    return f"{rows:,.0f}" if np.isfinite(rows) else "more than were drawn"


def _of_stops(findings: Findings) -> str:
    said = []
    for name in sets_of(findings):
        patience, auto = (
            median(stops(findings, rule, part="samplers", set=name)) for rule in MARKS
        )
        left = 1 - median(covered_at_auto(findings, name))
        drawn = "the same row" if auto == patience else f"{auto:,.0f}, {left:.2%} uncovered"
        said.append(f"{patience:,.0f} rows on {name} (`auto`: {drawn})")
    return f"The paper's rule stops after {', '.join(said)}."


def _of_many(findings: Findings) -> str:
    return " ".join(_of_kind(findings, kind) for kind in kinds_of(findings))


def _of_kind(findings: Findings, kind: str) -> str:
    cases = [case for case in cluster_cases(findings) if case["clusters"] == kind]
    bounds = "; ".join(_beside_bound(findings, cases, t) for t in each_of(findings))
    last = cases[-1]
    k = last["n_clusters"]
    ours, uniform = (
        float(np.median(of_clusters(findings, figure, "1", last)))
        for figure in ("landmarks", "uniform")
    )
    covered = float(np.median(of_clusters(findings, "covered", None, last)))
    stop = median(stops(findings, "patience", **last))
    order = "after" if stop >= ours else "before"
    return (
        f"For K clusters of {kind} sizes that lie far apart, {bounds}. At K = {k:,} every cluster "
        f"has a landmark after {_times(ours, k)} of BALANS or {_times(uniform, k)} at random, and "
        f"is covered after {_times(covered, k)}; the paper's rule stops after {_times(stop, k)}, "
        f"{order} every cluster has a landmark."
    )


def _beside_bound(findings: Findings, cases: list[dict[str, Any]], t: str) -> str:
    """Say in how many runs t K log K rows were enough."""
    over = [
        each / (int(t) * case["n_clusters"] * np.log(case["n_clusters"]))
        for case in cases
        for each in of_clusters(findings, "landmarks", t, case)
    ]
    enough = sum(ratio <= 1.0 for ratio in over)
    reached = [ratio for ratio in over if np.isfinite(ratio)]
    span = f" (needed: {min(reached):.2f} to {max(reached):.2f} of them)" if reached else ""
    many = "a landmark" if t == "1" else f"{t} landmarks"
    return f"{bound_of(t)} rows give each {many} in {enough} of {len(over)} runs{span}"


def _times(rows: float, k: int) -> str:
    return f"{rows:,.0f} rows ({rows / k:.1f} K)" if np.isfinite(rows) else "more rows than drawn"
