"""The plot of the experiment on the pseudo-inverse."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks.experiments.pseudo_inverse_operators import OPERATORS, known, values_of
from benchmarks.harness.findings import Findings, median
from benchmarks.harness.pictures import COLOURS, grid

__all__ = ["picture"]

PANELS = {
    "error": "error against the dense A",
    "small_leaked": "leaked weight, small clusters",
    "small_same_label": "same-label share, small clusters",
}


def picture(findings: Findings) -> Figure:
    """Draw error, leaked weight and same-label share over the imbalance."""
    kinds = values_of(findings, "clusters")
    figure, axes = grid(len(PANELS) * len(kinds), len(PANELS))
    figure.set_size_inches(4 * len(PANELS), 3.4 * len(kinds) + 0.9)
    for number, clusters in enumerate(kinds):
        for axis, (name, text) in zip(axes[len(PANELS) * number :], PANELS.items(), strict=False):
            _panel(axis, findings, clusters, name)
            axis.set_title(f"{clusters} clusters", fontsize=10)
            axis.set_ylabel(text)
    noises = values_of(findings, "noise_ratio")
    for noise, style in zip(noises, ("-", ":"), strict=False):
        axes[0].plot([], [], style, color="black", label=f"noise 1:{noise}")
    handles, labels = axes[2].get_legend_handles_labels()
    more = [handle for handle in axes[0].get_lines() if str(handle.get_label()).startswith("noise")]
    figure.legend(
        [*handles, *more], [*labels, *(str(each.get_label()) for each in more)],
        loc="outside lower center", ncols=7, frameon=False, fontsize=9,
    )  # fmt: skip
    n_seeds = len(values_of(findings, "seed"))
    figure.suptitle(
        f"Smoothing with and without the pseudo-inverse (median and range over {n_seeds} seeds)",
        fontsize=11,
    )
    return figure


def _panel(axis: Any, findings: Findings, clusters: str, name: str) -> None:
    ratios = values_of(findings, "ratio")
    shown = OPERATORS if name == "error" else (*OPERATORS, "A", "raw")
    shown = tuple(each for each in shown if name == "small_same_label" or each != "raw")
    for number, operator in enumerate(shown):
        for noise, style in zip(values_of(findings, "noise_ratio"), ("-", ":"), strict=False):
            found = [
                known(findings.of(
                    clusters=clusters, ratio=ratio, noise_ratio=noise, operator=operator), name)
                for ratio in ratios
            ]  # fmt: skip
            middle = np.array([median(each) for each in found])
            low, high = (np.array([side(each, default=np.nan) for each in found])
                         for side in (min, max))  # fmt: skip
            places = np.array(ratios) * 1.12 ** (number - 2.5)
            colour = {"A": "black", "raw": "0.6"}.get(operator, COLOURS[number])
            label = {"A": "dense A", "raw": "uncorrected"}.get(operator, operator)
            axis.errorbar(places, middle, [middle - low, high - middle], fmt=f"o{style}", ms=3,
                          lw=1.1, capsize=2, color=colour,
                          label=label if style == "-" else None)  # fmt: skip
    axis.set_xscale("log")
    axis.set_xlabel("largest cluster / smallest (expected)")
    if name == "error":
        axis.set_yscale("log")
    else:
        axis.set_ylim(0, 1.05)
