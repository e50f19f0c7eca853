"""What principal components lose, in words."""

import numpy as np

from benchmarks.experiments.dimension_report import (
    ALL,
    DEFAULT,
    RAW,
    SIGNAL,
    corrected_of,
    named,
    names_of,
    own_of,
)
from benchmarks.experiments.wording import bullets, span
from benchmarks.harness.findings import Findings, median

__all__ = ["reading"]

Case = tuple[int, int]
"""Features and rank."""


def reading(findings: Findings) -> list[str]:
    """Say what the default loses, to what, and whether other numbers lose less."""
    cases = _cases(findings)
    lost = [case for case in cases if own_of(findings, case[0]) != ALL]
    verdict = [_in_short(findings, lost), _verdict(findings, lost)] if lost else [
        "No case had more features than components."
    ]  # fmt: skip
    return [*verdict, "By case:", bullets(_of_case(findings, *case) for case in cases)]


def _cases(findings: Findings) -> list[Case]:
    return [
        (features, rank)
        for features in names_of(findings, "features")
        for rank in sorted(names_of(findings, "rank", features=features))
    ]


def _paired(findings: Findings, case: Case, other: str) -> np.ndarray:
    """Same-label share of the default minus that of others, by seed."""
    own, beside = (
        findings.values("same_label", features=case[0], rank=case[1], components=components,
                        method=corrected_of(findings))
        for components in (own_of(findings, case[0]), other)
    )  # fmt: skip
    return np.subtract(own, beside)


def _agreed(findings: Findings, cases: list[Case], other: str) -> tuple[int, int]:
    """Count the cases in which the default is ahead, and behind, with every seed."""
    found = [_paired(findings, case, other) for case in cases]
    return sum(each.min() > 0 for each in found), sum(each.max() < 0 for each in found)


def _in_short(findings: Findings, cases: list[Case]) -> str:
    ahead, behind = _agreed(findings, cases, ALL)
    kept = [
        median(findings.values("signal_kept", features=features, rank=rank,
                               components=own_of(findings, features),
                               method=corrected_of(findings)))
        for features, rank in cases
    ]  # fmt: skip
    other = sum(_best(findings, *case)[0] != own_of(findings, case[0]) for case in cases)
    return (
        f"Beside distances in all features, {named(own_of(findings, cases[0][0]))} have the higher "
        f"same-label share with every seed in {ahead} and the lower in {behind} of {len(cases)} "
        f"cases; another choice is better still in {other}. Of the signal they keep "
        f"{span(kept, '.0%')}, least at {_least(cases, kept)}."
    )


def _least(cases: list[Case], kept: list[float]) -> str:
    features, rank = cases[int(np.argmin(kept))]
    return f"{features:,} features and rank {rank}"


def _verdict(findings: Findings, cases: list[Case]) -> str:
    against = {case: float(_paired(findings, case, ALL).mean()) for case in cases}
    worst = min(against, key=lambda case: against[case])
    bound = [float(_paired(findings, case, SIGNAL).mean()) for case in cases]
    return (
        f"Beside distances in all features, {named(own_of(findings, cases[0][0]))} are least "
        f"favourable at {worst[0]:,} features and rank {worst[1]} ({against[worst]:+.3f}). Beside "
        "distances in the signal alone, which nobody has, the same-label share differs by "
        f"{span(bound, '+.3f')}."
    )


def _shares(findings: Findings, features: int, rank: int) -> dict[str, float]:
    case = {"features": features, "rank": rank}
    return {
        components: median(findings.values("same_label", components=components,
                                           method=corrected_of(findings), **case))
        for components in names_of(findings, "components", **case)
    }  # fmt: skip


def _best(findings: Findings, features: int, rank: int) -> tuple[str, float]:
    """Find the best choice of those that one has, and its same-label share."""
    shares = _shares(findings, features, rank)
    best = max((each for each in shares if each != SIGNAL), key=lambda each: shares[each])
    return best, shares[best]


def _of_case(findings: Findings, features: int, rank: int) -> str:
    method, own = corrected_of(findings), own_of(findings, features)
    case = {"features": features, "rank": rank}
    shares = _shares(findings, features, rank)
    raw = median(findings.values("same_label", components=own, method=RAW, **case))
    best, most = _best(findings, features, rank)
    if own == ALL:
        kept = f"{DEFAULT} components are all there are, and lose nothing"
    else:
        signal, could = (
            median(findings.values(figure, components=own, method=method, **case))
            for figure in ("signal_kept", "could_be_kept")
        )
        kept = f"{own} components keep {signal:.0%} of the signal, of {could:.0%} that they could"
    choice = "the best choice measured" if best == own else f"best with {named(best)}, {most:.2f}"
    return (
        f"{features:,} features, rank {rank}: {kept}; same-label share {raw:.2f} uncorrected, "
        f"{shares[own]:.2f} after `{method}` ({choice}; signal alone {shares[SIGNAL]:.2f})"
    )
