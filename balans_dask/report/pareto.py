"""Signal against mixing: the picture of a sweep."""

from collections.abc import Sequence
from typing import BinaryIO, Protocol

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from balans_dask.evaluate.sweep.result import MIXING_SHARE, SIGNAL_KEPT, SIGNAL_SHARE, Point
from balans_dask.report.maps import COLOURS
from balans_dask.report.page import passes_text

__all__ = ["ScoredPoints", "pareto_figure", "save_pareto"]

OPERATOR_COLOURS = dict(zip(("smooth", "displace", "nystrom", "align"), COLOURS, strict=False))
MARKERS = "osD^vP"
"""One for every number of passes; the last for all above."""


class ScoredPoints(Protocol):
    """What is drawn: a ``SweepResult`` is one."""

    @property
    def points(self) -> Sequence[Point]:
        """All points, raw first."""

    @property
    def front(self) -> Sequence[Point]:
        """Those on the Pareto front, by increasing mixing."""

    @property
    def chosen(self) -> Point:
        """The one to take."""


def pareto_figure(result: ScoredPoints) -> Figure:
    """Draw signal against mixing of every setting, the Pareto front and the choice.

    Parameters
    ----------
    result : SweepResult

    Returns
    -------
    figure : matplotlib.figure.Figure
    """
    figure = Figure(figsize=(8.6, 5.6), layout="constrained")
    axes = figure.subplots()
    raw = next(point for point in result.points if point.parameters is None)
    axes.axhline(SIGNAL_KEPT * raw.signal, color="0.6", linewidth=1, linestyle=":")
    axes.annotate(
        f"{SIGNAL_KEPT:g} of the signal of raw: nothing below is chosen",
        (1, SIGNAL_KEPT * raw.signal),
        xycoords=("axes fraction", "data"),
        xytext=(-4, -4),
        textcoords="offset points",
        ha="right",
        va="top",
        color="0.35",
        fontsize=8,
    )
    front = result.front
    axes.plot(
        [point.mixing for point in front],
        [point.signal for point in front],
        color="0.35",
        linewidth=1.2,
        zorder=1,
        label="Pareto front",
    )
    _settings(axes, result.points)
    axes.scatter(raw.mixing, raw.signal, s=130, marker="*", c="black", label="raw", zorder=3)
    chosen = result.chosen
    axes.scatter(
        chosen.mixing,
        chosen.signal,
        s=260,
        facecolors="none",
        edgecolors="black",
        linewidths=1.6,
        zorder=4,
        label=_chosen(chosen),
    )
    axes.set_xlabel("mixing of batches (1 is perfect)")
    axes.set_ylabel("signal: labels found again (1 is best)")
    axes.set_title(f"choice: highest {SIGNAL_SHARE:g} signal + {MIXING_SHARE:g} mixing", loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    return figure


def save_pareto(file: str | BinaryIO, result: ScoredPoints) -> None:
    """Write the picture of ``pareto_figure`` as a PNG."""
    figure = pareto_figure(result)
    FigureCanvasAgg(figure)
    figure.savefig(file, dpi=120, format="png")


def _settings(axes: Axes, points: Sequence[Point]) -> None:
    """Draw corrections: colour is the operator, shape the passes, paler what is blended."""
    named = set()
    for point in points:
        p = point.parameters
        if p is None:
            continue
        name = passes_text(p.operator, p.n_passes)
        if p.strength != 1.0:
            name += ", blended"
        colour = OPERATOR_COLOURS[p.operator]
        axes.scatter(
            point.mixing,
            point.signal,
            s=42,
            marker=MARKERS[min(p.n_passes, len(MARKERS)) - 1],
            facecolors=colour if p.strength == 1.0 else "white",
            edgecolors=colour,
            linewidths=1.4,
            zorder=2,
            label=None if name in named else name,
        )
        named.add(name)


def _chosen(point: Point) -> str:
    p = point.parameters
    if p is None:
        return "chosen: raw"
    strength = "" if p.strength == 1.0 else f", strength {p.strength:g}"
    return f"chosen: {passes_text(p.operator, p.n_passes)},\nk = {p.n_neighbors}{strength}"
