"""Plots of the benchmarks: small PNG files that do not change while the figures do not."""

import io
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from PIL import Image

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")
"""Okabe and Ito's."""
PANEL_INCHES = (4.2, 3.4)
DPI, N_COLOURS = 100, 32
SHORT, SHORTEST = 50, 15
"""End over beginning of a short logarithmic axis, and of one with room for more labels."""


def panels(n_panels: int) -> tuple[Figure, list[Any]]:
    """Make a row of empty axes."""
    return grid(n_panels, n_panels)


def grid(n_panels: int, n_columns: int) -> tuple[Figure, list[Any]]:
    """Make rows of at most so many empty axes."""
    n_columns = min(n_panels, n_columns)
    n_rows = math.ceil(n_panels / n_columns)
    width, height = PANEL_INCHES
    figure = Figure(figsize=(width * n_columns, height * n_rows), layout="constrained")
    every = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    for axis in every[n_panels:]:
        axis.remove()
    for axis in every[:n_panels]:
        axis.spines[["top", "right"]].set_visible(False)
        axis.set_prop_cycle(color=COLOURS)
    return figure, list(every[:n_panels])


def spread_line(
    axis: Any, places: Sequence[float], values: Sequence[Sequence[float]], label: str, **style: Any
) -> None:
    """Draw medians, with bars from the least value to the largest; ``style`` as of errorbar."""
    middle = [statistics.median(each) for each in values]
    below = [m - min(each) for m, each in zip(middle, values, strict=True)]
    above = [max(each) - m for m, each in zip(middle, values, strict=True)]
    style = {"fmt": "o-", "ms": 4, "lw": 1.2, "capsize": 3, "label": label} | style
    axis.errorbar(places, middle, [below, above], **style)


def label_decades(figure: Figure) -> None:
    """Label logarithmic axes at decades alone, and at one or two places between if they are short.

    Matplotlib labels every minor tick of an axis of about a decade, one over the other.
    """
    for each in figure.axes:
        for axis in (each.xaxis, each.yaxis):
            if axis.get_scale() != "log" or not isinstance(axis.get_major_locator(), LogLocator):
                continue
            low, high = axis.get_view_interval()
            axis.set_minor_formatter(NullFormatter())
            if high < SHORT * low:
                between = (1, 2, 5) if high < SHORTEST * low else (1, 3)
                axis.set_major_locator(LogLocator(subs=between))
                axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))


def save(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG of few colours: thousands of marks are larger as SVG."""
    label_decades(figure)
    FigureCanvasAgg(figure)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=DPI)
    image = Image.open(content).convert("RGB").quantize(N_COLOURS, dither=Image.Dither.NONE)
    image.save(path, "png", optimize=True)
