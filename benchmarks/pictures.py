"""Plots of the benchmarks: small SVG files that do not change while the figures do not."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

__all__ = ["panels", "save", "spread_line"]

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")
"""Okabe and Ito's."""
PANEL_INCHES = (4.2, 3.4)


def panels(n_panels: int) -> tuple[Figure, list[Any]]:
    """Make a row of empty axes."""
    width, height = PANEL_INCHES
    figure = Figure(figsize=(width * n_panels, height), layout="constrained")
    axes = list(figure.subplots(1, n_panels, squeeze=False)[0])
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.set_prop_cycle(color=COLOURS)
    return figure, axes


def spread_line(
    axis: Any, places: Sequence[float], values: Sequence[Sequence[float]], label: str
) -> None:
    """Draw medians, with bars from the least value to the largest."""
    middle = [statistics.median(each) for each in values]
    below = [m - min(each) for m, each in zip(middle, values, strict=True)]
    above = [max(each) - m for m, each in zip(middle, values, strict=True)]
    axis.errorbar(places, middle, [below, above], fmt="o-", ms=4, lw=1.2, capsize=3, label=label)


def save(figure: Figure, path: Path) -> None:
    """Write a figure as SVG, with text as text and without a date."""
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "balans"}):
        figure.savefig(path, format="svg", metadata={"Date": None})
