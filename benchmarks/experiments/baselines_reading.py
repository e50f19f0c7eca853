"""What `baselines.py` found, in words."""

from collections import Counter

from benchmarks.experiments.baselines_tables import (
    BEST,
    COLUMNS,
    OURS,
    RETRIEVAL,
    methods_of,
    ranked,
    sets_of,
    values_of,
)
from benchmarks.experiments.wording import bullets, listed
from benchmarks.harness.findings import Findings, median
from benchmarks.harness.scoring import main_score

__all__ = ["reading"]

MARGIN = 0.005
"""What is called a difference; totals move by up to that with kBET, which cannot be seeded."""


def reading(findings: Findings) -> list[str]:
    """Say who is best where, what each loses, and what was not there; first in short."""
    score = main_score(findings)[0]
    return [
        _in_short(findings, score),
        bullets(_of_set(findings, name, score) for name in sets_of(findings)),
        *_beside_ours(findings, score),
        *_retrieval(findings, score),
        _missing(findings),
    ]


def _in_short(findings: Findings, score: str) -> str:
    found = {name: ranked(findings, name, score) for name in sets_of(findings)}
    best = Counter(each[0][0] for each in found.values())
    places = [f"{_place(each)} of {len(each)}" for each in found.values()]
    others = [f"{_named(method)} on {n}" for method, n in best.items() if method != BEST]
    highest = f"; in front: {listed(others)}" if others else ""
    above = sum(dict(each)[BEST] >= dict(each)["raw"] + MARGIN for each in found.values())
    return (
        f"`{BEST}` has the highest {COLUMNS[score]} on {best[BEST]} of {len(found)} sets (place "
        f"{listed(places)}){highest}. It is above uncorrected on {above}"
        f"{_retrieval_in_short(findings)}."
    )


def _retrieval_in_short(findings: Findings) -> str:
    scored = [name for name in sets_of(findings) if values_of(findings, name, "raw", RETRIEVAL)]
    if not scored:
        return ""
    lowered = [name for name in scored if _lowers(findings, name, BEST)]
    where = f" ({listed(lowered)})" if 0 < len(lowered) < len(scored) else ""
    return f", and lowers {COLUMNS[RETRIEVAL]} on {len(lowered)}{where}"


def _lowers(findings: Findings, name: str, method: str) -> bool:
    own, raw = (median(values_of(findings, name, one, RETRIEVAL)) for one in (method, "raw"))
    return own <= raw - MARGIN


def _place(found: list[tuple[str, float]]) -> int:
    return [method for method, _ in found].index(BEST) + 1


def _of_set(findings: Findings, name: str, score: str) -> str:
    found = ranked(findings, name, score)
    (best, value), raw = found[0], dict(found)["raw"]
    below = [f"{_named(method)} {each:.3f}" for method, each in found if each <= raw - MARGIN]
    return (
        f"*{name}*: the highest {COLUMNS[score]} is {value:.3f} ({_named(best)}), uncorrected "
        f"{raw:.3f}; `{BEST}` is at place {_place(found)} of {len(found)} with "
        f"{dict(found)[BEST]:.3f}. "
        + (f"Below uncorrected: {', '.join(below)}." if below else "None is below uncorrected.")
    )


def _beside_ours(findings: Findings, score: str) -> list[str]:
    others = [m for m in methods_of(findings) if m not in (*OURS, "raw")]
    told = []
    for other in others:
        both = [name for name in sets_of(findings) if values_of(findings, name, other, score)]
        found = [_compared(findings, name, other, score) for name in both]
        counts = {word: found.count(word) for word in ("above", "below", "alike")}
        told.append(f"{_named(other)}: " + ", ".join(f"{w} on {n}" for w, n in counts.items() if n))
    if not told:
        return []
    return [
        f"Number of sets on which `{BEST}` is above, below or like another method (alike: by less "
        f"than {MARGIN}, or ranges overlap):",
        bullets(told),
    ]


def _compared(findings: Findings, name: str, other: str, score: str) -> str:
    ours, theirs = (values_of(findings, name, method, score) for method in (BEST, other))
    overlap = min(ours) <= max(theirs) and min(theirs) <= max(ours)
    difference = median(ours) - median(theirs)
    if overlap or abs(difference) < MARGIN:
        return "alike"
    return "above" if difference > 0 else "below"


def _retrieval(findings: Findings, score: str) -> list[str]:
    """Say which methods that raise the score pay for it in retrieval."""
    told = []
    for name in sets_of(findings):
        if not values_of(findings, name, "raw", RETRIEVAL):
            continue
        kept, helped = dict(ranked(findings, name, RETRIEVAL)), ranked(findings, name, score)
        least = dict(helped)["raw"] + MARGIN
        better = [method for method, value in helped if value >= least]
        ways: dict[str, list[str]] = {"kept or raised": [], "lowered": []}
        for method in better:
            way = "lowered" if _lowers(findings, name, method) else "kept or raised"
            ways[way].append(f"{_named(method)} {kept[method]:.3f}")
        said = [f"{way} by {', '.join(each) or 'none'}" for way, each in ways.items()]
        told.append(f"*{name}*, uncorrected {kept['raw']:.3f}: {'; '.join(said)}")
    if not told:
        return []
    return [
        f"Of methods with a {COLUMNS[score]} above uncorrected, {COLUMNS[RETRIEVAL]} is:",
        bullets(told),
    ]


def _missing(findings: Findings) -> str:
    wanted, there = findings.record["options"]["sizes"]["peers"], findings.record["versions"]
    absent = [method for method in wanted if method not in there]
    text = "fastMNN and Seurat are packages of R and were not measured"
    if absent:
        text += f"; not installed, and so not measured: {', '.join(absent)}"
    return text + "."


def _named(method: str) -> str:
    return "uncorrected" if method == "raw" else f"`{method}`"
