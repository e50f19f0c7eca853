"""What the experiment on coverage has found, in words."""

from typing import Any

import numpy as np

from benchmarks.experiments.coverage_figures import (
    BALANS,
    MARKS,
    at_stop,
    bound_of,
    cluster_cases,
    covered_at_auto,
    each_of,
    enough,
    kinds_of,
    mark_of,
    missed_at,
    needed,
    of_clusters,
    samplers_of,
    sets_of,
    stops,
)
from benchmarks.experiments.wording import bullets, listed, span
from benchmarks.harness.findings import Findings, median

__all__ = ["reading"]


WAYS = {
    "uniform": "uniform draws",
    "farthest point": "farthest points",
    "k-means++": "k-means++",
}


def reading(findings: Findings) -> list[str]:
    """Say what was found, first in short."""
    return [
        f"{_samplers_in_short(findings)} {_many_in_short(findings)}",
        *_of_samplers(findings),
        _of_stops(findings),
        *(part for kind in kinds_of(findings) for part in _of_kind(findings, kind)),
    ]


def _samplers_in_short(findings: Findings) -> str:
    """Count the sets on which BALANS needs fewer rows than another sampler with every seed."""
    first, *others = (f"than {WAYS[other]} on {len(_fewer(findings, other))}"
                      for other in _others(findings))  # fmt: skip
    return (
        "To cover nine tenths of the rows, BALANS needs fewer landmarks, with every seed, "
        f"{listed([f'{first} of {len(sets_of(findings))} sets', *others])}."
    )


def _many_in_short(findings: Findings) -> str:
    reach, decided, undecided = enough(findings, cluster_cases(findings), "1")
    largest = _largest(findings)
    k = largest[0]["n_clusters"]
    orders = listed(sorted({_order(findings, case) for case in largest}, reverse=True))
    drawn = [median(stops(findings, "patience", **case)) / k for case in largest]
    return (
        f"K log K rows reach all K clusters in {reach} of {decided} runs"
        f"{f' ({undecided} undecided)' if undecided else ''}; at K = {k:,} the paper's rule stops "
        f"{orders} that, at {span(drawn, '.1f')} K."
    )


def _largest(findings: Findings) -> list[dict[str, Any]]:
    """Return the case with the most clusters of every kind."""
    cases = cluster_cases(findings)
    return [[case for case in cases if case["clusters"] == kind][-1] for kind in kinds_of(findings)]


def _others(findings: Findings) -> list[str]:
    return samplers_of(findings)[1:]


def _of_nine_tenths(findings: Findings, name: str, sampler: str) -> float:
    return float(np.median(needed(findings, name, sampler, "0.9")))


def _fewer(findings: Findings, one: str, other: str = BALANS) -> list[str]:
    """Name the sets on which the second of two samplers needs fewer rows with every seed."""
    return [
        name
        for name in sets_of(findings)
        if max(needed(findings, name, other, "0.9")) < min(needed(findings, name, one, "0.9"))
    ]


def _of_samplers(findings: Findings) -> list[str]:
    """Compare the samplers by rows to nine tenths, and by what they leave at BALANS' stop."""
    said = [_beside(findings, other) for other in _others(findings)]
    left = span(_left(findings, BALANS), ".2%")
    return [
        f"*Nine tenths of the rows.* On {len(sets_of(findings))} sets, BALANS beside other ways to "
        "draw, and what they leave uncovered with as many landmarks as BALANS has at its stop, "
        f"where it leaves {left} of the rows itself:",
        bullets(said),
    ]


def _beside(findings: Findings, other: str) -> str:
    names = sets_of(findings)
    fewer, more = _fewer(findings, other), _fewer(findings, BALANS, other)
    both = [(_of_nine_tenths(findings, name, BALANS), _of_nine_tenths(findings, name, other))
            for name in names]  # fmt: skip
    ratios = [ours / theirs for ours, theirs in both if np.isfinite(ours) and np.isfinite(theirs)]
    times = f" ({span(ratios, '.2f')} times as many)" if ratios else ""
    where = f", {listed(fewer)}" if 0 < len(fewer) < len(names) else ""
    return (
        f"beside {WAYS[other]}: BALANS needs fewer with every seed on {len(fewer)} of "
        f"{len(names)} sets{where}, more on {len(more)}{times}; these leave "
        f"{span(_left(findings, other), '.2%')} uncovered"
    )


def _left(findings: Findings, sampler: str) -> list[float]:
    return [1 - median(at_stop(findings, name, sampler, "rows")) for name in sets_of(findings)]


def _of_stops(findings: Findings) -> str:
    said, sooner = [], []
    for name in sets_of(findings):
        patience, auto = (
            median(stops(findings, rule, part="samplers", set=name)) for rule in MARKS
        )
        said.append(f"{patience:,.0f} rows on {name}")
        if auto != patience:
            left = 1 - median(covered_at_auto(findings, name))
            sooner.append(f"{auto:,.0f} rows on {name}, with {left:.2%} uncovered")
    elsewhere = " elsewhere" if sooner else ""
    same = f"at the same rows{elsewhere}" if len(sooner) < len(said) else ""
    ends = listed([*(f"after {each}" for each in sooner), *filter(None, [same])])
    return f"*The paper's rule* stops after {listed(said)}; `auto` stops {ends}."


def _of_kind(findings: Findings, kind: str) -> list[str]:
    cases = [case for case in cluster_cases(findings) if case["clusters"] == kind]
    last = cases[-1]
    k = last["n_clusters"]
    uniform = float(np.median(of_clusters(findings, "uniform", "1", last)))
    covered = float(np.median(of_clusters(findings, "covered", None, last)))
    stop = median(stops(findings, "patience", **last))
    said = [_beside_bound(findings, cases, t) for t in each_of(findings)]
    said += [
        f"at K = {k:,} every cluster has a landmark after {_times(_reached(findings, last), k)} of "
        f"BALANS or {_times(uniform, k)} at random, and is covered after {_times(covered, k)}",
        f"the paper's rule stops there after {_times(stop, k)}, {_order(findings, last)} every "
        f"cluster has a landmark and {'after' if stop >= covered else 'before'} every one is "
        "covered",
    ]
    return [f"*K clusters of {kind} sizes* that lie far apart:", bullets(said)]


def _reached(findings: Findings, case: dict[str, Any]) -> float:
    """Rows of BALANS after which every cluster has a landmark."""
    return float(np.median(of_clusters(findings, "landmarks", "1", case)))


def _order(findings: Findings, case: dict[str, Any]) -> str:
    stop = median(stops(findings, "patience", **case))
    return "after" if stop >= _reached(findings, case) else "before"


def _shares_of_bound(findings: Findings, cases: list[dict[str, Any]], t: str) -> list[float]:
    """Rows after which every cluster has t landmarks, as a share of t K log K, by run."""
    return [
        each / mark_of(case, t)
        for case in cases
        for each in of_clusters(findings, "landmarks", t, case)
    ]


def _beside_bound(findings: Findings, cases: list[dict[str, Any]], t: str) -> str:
    """Say in how many runs t K log K rows were enough."""
    reach, decided, undecided = enough(findings, cases, t)
    reached = [share for share in _shares_of_bound(findings, cases, t) if np.isfinite(share)]
    needs = f" (needed: {span(reached, '.2f')} of them)" if reached else ""
    missed = [f"{k:,}" for k in missed_at(findings, cases, t)]
    where = f", not always at K = {listed(missed)}" if missed else ""
    many = "a landmark" if t == "1" else f"{t} landmarks"
    return (
        f"{bound_of(t)} rows give every cluster {many} in {reach} of {decided} runs{where}{needs}"
        f"{f'; {undecided} more drew fewer rows' if undecided else ''}"
    )


def _times(rows: float, k: int) -> str:
    return (
        f"{rows:,.0f} rows ({rows / k:.1f} K)" if np.isfinite(rows) else "more rows than were drawn"
    )
