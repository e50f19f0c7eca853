"""What the scale ablation has found, in words."""

import numpy as np

from benchmarks.experiments.scale_ablation_report import (
    BY_BATCH,
    GRAPH,
    UNCORRECTED,
    mixing_score,
    names_of,
)
from benchmarks.experiments.wording import bullets
from benchmarks.harness.findings import Findings, median
from benchmarks.harness.scoring import main_score

__all__ = ["reading"]


def reading(findings: Findings) -> list[str]:
    """Say where Definition 2.1 wins and where it does not, first in short."""
    score, name = main_score(findings)
    figures = {score: name, **dict([mixing_score(findings)])}
    others = [v for v in names_of(findings, "variant") if v != BY_BATCH]
    against = [
        f"*{other}*: "
        + "; ".join(_against(_differences(findings, key, other), figures[key]) for key in figures)
        for other in others
    ]
    return [
        f"{_in_short(findings, figures)} {_graph_in_short(findings, score, name)}",
        _verdict(findings, figures),
        "Scales by batch against each alternative: mean of the differences paired by set and seed, "
        "and the sets on which every seed agrees.",
        bullets(against),
        f"The highest {name} on each set, beside a scale a batch and uncorrected:",
        bullets(_best(findings, one, score) for one in names_of(findings, "set")),
        _beside_the_graph(findings, score, name),
    ]


def _differences(findings: Findings, figure: str, other: str) -> dict[str, list[float]]:
    """Definition 2.1 minus another variant, a list over seeds for every set."""
    found: dict[str, list[float]] = {}
    for run in findings.of(variant=other):
        for own in findings.of(set=run["set"], seed=run["seed"], variant=BY_BATCH):
            found.setdefault(run["set"], []).append(own[figure] - run[figure])
    return found


def _least_gains(findings: Findings, figures: dict[str, str]) -> dict[str, float]:
    """Mean gain beside the best scales with as many neighbours, of every figure."""
    fair = [v for v in names_of(findings, "variant") if v.endswith("k x batches")]
    return {
        figure: float(min(
            np.mean([d for ds in _differences(findings, figure, v).values() for d in ds])
            for v in fair
        ))
        for figure in figures
    }  # fmt: skip


def _in_short(findings: Findings, figures: dict[str, str]) -> str:
    least = _least_gains(findings, figures)
    signs = [gain > 0 for gain in least.values()]
    how = "gain at least" if all(signs) else "gain in one of two only:" if any(signs) else "lose:"
    gains = " and ".join(f"{gain:+.3f} in {figures[figure]}" for figure, gain in least.items())
    return (
        f"Beside scales of as many neighbours that ignore batches, scales by batch {how} {gains}, "
        f"in the mean of {len(names_of(findings, 'set'))} sets."
    )


def _against(by_set: dict[str, list[float]], name: str) -> str:
    mean = float(np.mean([value for values in by_set.values() for value in values]))
    ahead, behind = _agreed(by_set)
    return f"{name} {mean:+.3f} (higher on {ahead}, lower on {behind} of {len(by_set)} sets)"


def _agreed(by_set: dict[str, list[float]]) -> tuple[int, int]:
    """Count the sets on which Definition 2.1 is ahead, and behind, with every seed."""
    ahead = sum(min(values) > 0 for values in by_set.values())
    return ahead, sum(max(values) < 0 for values in by_set.values())


def _best(findings: Findings, one: str, score: str) -> str:
    middles = {
        variant: median(findings.values(score, set=one, variant=variant))
        for variant in names_of(findings, "variant")
    }
    best = max(middles, key=lambda variant: middles[variant])
    shown = dict.fromkeys((best, BY_BATCH, UNCORRECTED))
    return f"*{one}*: " + ", ".join(f"{variant} {middles[variant]:.3f}" for variant in shown)


def _verdict(findings: Findings, figures: dict[str, str]) -> str:
    least = _least_gains(findings, figures)
    name = next(iter(figures.values()))
    claims = {
        (True, True): "the batch in the scale, not its size alone, is what gains",
        (False, True): f"the batch in the scale buys mixing and pays for it in {name}",
        (True, False): f"the batch in the scale gains {name}, and no mixing",
        (False, False): "the batch in the scale gains nothing beyond a scale of the right size",
    }
    scored, mixed = least.values()
    return (
        f"So on these sets {claims[scored > 0, mixed > 0]}. Mind that variants with landmarks "
        "share those that scales by batch have drawn, which favours these; only the guarded one "
        "draws its own."
    )


def _graph_in_short(findings: Findings, score: str, name: str) -> str:
    by_set = _differences(findings, score, GRAPH)
    ahead, behind = _agreed(by_set)
    return (
        f"A plain graph of every row's neighbours has the higher {name} with every seed on "
        f"{behind} sets, landmarks on {ahead}."
    )


def _beside_the_graph(findings: Findings, score: str, name: str) -> str:
    by_set = _differences(findings, score, GRAPH)
    ahead, behind = _agreed(by_set)
    if behind and ahead:
        said = "which is better depends on the set"
    elif behind:
        said = "landmarks and affinities here save work and cost quality"
    elif ahead:
        said = "landmarks and affinities here are worth more than the neighbours of all rows"
    else:
        said = "neither is better for sure"
    return (
        f"The plain graph, which samples nothing and needs the neighbours of every row, has the "
        f"higher {name} on {behind} of {len(by_set)} sets with every seed, and smoothing by "
        f"landmarks on {ahead}: {said}."
    )
