"""Tables, plot and reading of the scale ablation."""

from typing import Any

import numpy as np
from findings import Findings, median, spread
from matplotlib.figure import Figure
from pictures import COLOURS, panels
from real_tables import lines
from scoring import main_score

__all__ = ["BY_BATCH", "GRAPH", "GUARDED", "UNCORRECTED", "picture", "reading", "tables"]

GRAPH = "graph per batch"
UNCORRECTED, BY_BATCH, GUARDED = "uncorrected", "a scale a batch", "a scale a batch, guarded"
COLUMNS = {
    "ilisi": "batch LISI",
    "clisi": "cLISI",
    "same_label": "same-label share",
    "batch_mixing": "mixing",
    "batch": "batch side",
    "biology": "biology side",
    "total": "total",
    "uncovered": "uncovered",
    "kept_a_landmark": "rows a landmark keeps",
}
STYLES = {
    "one bandwidth, k": (COLOURS[0], "v"),
    "one bandwidth, k x batches": (COLOURS[1], "v"),
    "one scale a row, k": (COLOURS[2], "^"),
    "one scale a row, k x batches": (COLOURS[3], "^"),
    BY_BATCH: (COLOURS[6], "o"),
    GUARDED: (COLOURS[5], "P"),
    GRAPH: (COLOURS[4], "s"),
    UNCORRECTED: ("#888888", "X"),
}


def _names(findings: Findings, key: str) -> list[str]:
    return list(dict.fromkeys(run[key] for run in findings.record["runs"]))


def _mixing(findings: Findings) -> tuple[str, str]:
    if main_score(findings)[0] == "total":
        return "ilisi", "batch LISI"
    return "batch_mixing", "mixing with other batches"


def tables(findings: Findings) -> list[str]:
    """Scores of every set, then differences from Definition 2.1."""
    found = []
    for name in _names(findings, "set"):
        there = [c for c in COLUMNS if any(c in run for run in findings.of(set=name))]
        rows = []
        for variant in _names(findings, "variant"):
            runs = findings.of(set=name, variant=variant)
            cells = [
                spread([run[c] for run in runs if c in run], 0 if c == "kept_a_landmark" else 3)
                for c in there
            ]
            rows.append([variant, *cells])
        found += [f"## {name}\n", lines(["scales", *(COLUMNS[c] for c in there)], rows)]
    return found


def differences(findings: Findings, figure: str, other: str) -> dict[str, list[float]]:
    """Definition 2.1 minus another variant, a list over seeds for every set."""
    found: dict[str, list[float]] = {}
    for run in findings.of(variant=other):
        for own in findings.of(set=run["set"], seed=run["seed"], variant=BY_BATCH):
            found.setdefault(run["set"], []).append(own[figure] - run[figure])
    return found


def reading(findings: Findings) -> str:
    """Say where Definition 2.1 wins and where it does not."""
    score, name = main_score(findings)
    mixing, mixing_name = _mixing(findings)
    others = [v for v in _names(findings, "variant") if v != BY_BATCH]
    sentences = [
        f"Scales by batch against each alternative, in {name} and in {mixing_name}: mean of the "
        "differences paired by set and seed, and the sets on which every seed agrees."
    ]
    for other in others:
        parts = [
            _against(differences(findings, figure, other), figure_name)
            for figure, figure_name in ((score, name), (mixing, mixing_name))
        ]
        sentences.append(f"Against *{other}*: {'; '.join(parts)}.")
    sentences += [_best(findings, one, score, name) for one in _names(findings, "set")]
    sentences.append(_verdict(findings, others, score, name, mixing))
    return " ".join(sentences)


def _against(by_set: dict[str, list[float]], name: str) -> str:
    mean = float(np.mean([value for values in by_set.values() for value in values]))
    ahead = sum(min(values) > 0 for values in by_set.values())
    behind = sum(max(values) < 0 for values in by_set.values())
    return f"{name} {mean:+.3f}, higher on {ahead} and lower on {behind} of {len(by_set)} sets"


def _best(findings: Findings, one: str, score: str, name: str) -> str:
    middles = {
        variant: median(findings.values(score, set=one, variant=variant))
        for variant in _names(findings, "variant")
    }
    best = max(middles, key=lambda variant: middles[variant])
    own = "" if best == BY_BATCH else f"; {BY_BATCH} has {middles[BY_BATCH]:.3f}"
    raw = "" if best == UNCORRECTED else f", uncorrected {middles[UNCORRECTED]:.3f}"
    return f"Highest {name} on *{one}*: {best}, {middles[best]:.3f}{own}{raw}."


def _verdict(findings: Findings, others: list[str], score: str, name: str, mixing: str) -> str:
    fair = [v for v in others if v.endswith("k x batches")]
    means = {
        figure: [np.mean([d for ds in differences(findings, figure, v).values() for d in ds])
                 for v in fair]
        for figure in (score, mixing)
    }  # fmt: skip
    scored, mixed = (float(min(means[figure])) for figure in (score, mixing))
    claims = {
        (True, True): "the batch in the scale, not its size alone, is what gains",
        (False, True): f"the batch in the scale buys mixing and pays for it in {name}",
        (True, False): f"the batch in the scale gains {name}, and no mixing",
        (False, False): "the batch in the scale gains nothing beyond a scale of the right size",
    }
    return (
        f"So on these sets, beside scales with the same number of neighbours (k x batches), the "
        f"least mean gain is {scored:+.3f} in {name} and {mixed:+.3f} in mixing: "
        f"{claims[scored > 0, mixed > 0]}. {_beside_the_graph(findings, score, name)}"
    )


def _beside_the_graph(findings: Findings, score: str, name: str) -> str:
    by_set = differences(findings, score, GRAPH)
    behind = sum(max(values) < 0 for values in by_set.values())
    ahead = sum(min(values) > 0 for values in by_set.values())
    if behind > ahead:
        said = "landmarks and affinities here save work and cost quality"
    elif ahead > behind:
        said = "landmarks and affinities here are worth more than the neighbours of all rows"
    else:
        said = "neither is better for sure"
    return (
        f"The plain graph, which samples nothing and needs the neighbours of every row, has the "
        f"higher {name} on {behind} of {len(by_set)} sets with every seed, and smoothing by "
        f"landmarks on {ahead}: {said}."
    )


def picture(findings: Findings) -> Figure:
    """Three figures of every set and variant, medians with ranges."""
    score, name = main_score(findings)
    same = ("same_label", "share of 30 neighbours\nwith the same label")
    shown = dict([_mixing(findings), (score, name), same])
    sets, variants = _names(findings, "set"), _names(findings, "variant")
    figure, axes = panels(len(shown))
    figure.set_size_inches(4.2 * len(shown), 1.6 + 1.25 * len(sets))
    for axis, key in zip(axes, shown, strict=True):
        for place, variant in enumerate(variants):
            _points(axis, findings, key, sets, variant, 0.8 * place / len(variants) - 0.35)
        axis.set_xlabel(f"{shown[key]}\n(higher is better)")
        axis.set_yticks(range(len(sets)), [_two_lines(one) for one in sets])
        axis.set_ylim(len(sets) - 0.5, -0.5)
        axis.hlines(np.arange(len(sets) - 1) + 0.5, *axis.get_xlim(), color="#dddddd", lw=0.8)
        axis.grid(axis="x", color="#eeeeee")
    for axis in axes[1:]:
        axis.set_yticklabels([])
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    n_seeds = len({run["seed"] for run in findings.record["runs"]})
    figure.suptitle(
        f"Smoothing by different scales: medians and ranges of {n_seeds} seeds", fontsize=11
    )
    return figure


def _two_lines(name: str) -> str:
    return name.replace(", ", ",\n", 1)


def _points(
    axis: Any, findings: Findings, key: str, sets: list[str], variant: str, shift: float
) -> None:
    colour, marker = STYLES[variant]
    values = [findings.values(key, set=one, variant=variant) for one in sets]
    middles = [median(each) for each in values]
    below = [m - min(each) for m, each in zip(middles, values, strict=True)]
    above = [max(each) - m for m, each in zip(middles, values, strict=True)]
    axis.errorbar(middles, np.arange(len(sets)) + shift, xerr=[below, above], fmt=marker, ms=5,
                  lw=1, capsize=2, color=colour, label=variant)  # fmt: skip
