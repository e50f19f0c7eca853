"""Tables and plot of the scale ablation."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks.harness.findings import Findings, median, spread
from benchmarks.harness.pictures import COLOURS, panels
from benchmarks.harness.scoring import main_score
from benchmarks.harness.tables import lines

__all__ = [
    "BY_BATCH",
    "GRAPH",
    "GUARDED",
    "UNCORRECTED",
    "mixing_score",
    "names_of",
    "picture",
    "tables",
]

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


def names_of(findings: Findings, key: str) -> list[str]:
    """Return the sets or variants that were measured, in order."""
    return list(dict.fromkeys(run[key] for run in findings.record["runs"]))


def mixing_score(findings: Findings) -> tuple[str, str]:
    """Name the figure that tells of mixing, and say what it is."""
    if main_score(findings)[0] == "total":
        return "ilisi", "batch LISI"
    return "batch_mixing", "mixing with other batches"


def tables(findings: Findings) -> list[str]:
    """Scores of every set, then differences from Definition 2.1."""
    found = []
    for name in names_of(findings, "set"):
        there = [c for c in COLUMNS if any(c in run for run in findings.of(set=name))]
        rows = []
        for variant in names_of(findings, "variant"):
            runs = findings.of(set=name, variant=variant)
            cells = [
                spread([run[c] for run in runs if c in run], 0 if c == "kept_a_landmark" else 3)
                for c in there
            ]
            rows.append([variant, *cells])
        found += [f"## {name}\n", lines(["scales", *(COLUMNS[c] for c in there)], rows)]
    return found


def picture(findings: Findings) -> Figure:
    """Three figures of every set and variant, medians with ranges."""
    score, name = main_score(findings)
    same = ("same_label", "share of 30 neighbours\nwith the same label")
    shown = dict([mixing_score(findings), (score, name), same])
    sets, variants = names_of(findings, "set"), names_of(findings, "variant")
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
