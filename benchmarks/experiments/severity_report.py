"""Tables and plot of the severity of batch effects."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks.experiments.severity_curves import (
    NO_EFFECT,
    UNCORRECTED,
    Curve,
    curve,
    levels,
    scores_of,
)
from benchmarks.experiments.wording import span
from benchmarks.harness.findings import Findings, spread
from benchmarks.harness.pictures import COLOURS, grid
from benchmarks.harness.scoring import main_score
from benchmarks.harness.tables import lines

__all__ = [
    "AXES",
    "NO_EFFECT",
    "PEER",
    "UNCORRECTED",
    "axes_of",
    "corrections_of",
    "half_given_back",
    "helped",
    "names_of",
    "picture",
    "tables",
]

PEER = "harmonypy"
AXES = {
    "offset": "standard deviation of batch offsets\n(noise within a cluster = 1)",
    "stretch": "standard deviation of the logarithm\nof batches' factors for features",
    "rotation": "angle by which a batch turns profiles\n(degrees)",
}
STYLES = {
    UNCORRECTED: ("#888888", "X--"),
    "smooth": (COLOURS[0], "o-"),
    "nystrom": (COLOURS[1], "s-"),
    "displace": (COLOURS[2], "D-"),
    "displace, 2 passes": (COLOURS[3], "^-"),
    "smooth, no guard": (COLOURS[4], "o:"),
    "displace, 2 passes, no guard": (COLOURS[5], "^:"),
    PEER: (COLOURS[6], "P-"),
}


def names_of(findings: Findings, key: str) -> list[str]:
    """Return what was measured, in order."""
    return list(dict.fromkeys(run[key] for run in findings.record["runs"]))


def axes_of(findings: Findings) -> list[str]:
    """Return the kinds of batch effects that were measured, in order."""
    return [axis for axis in AXES if axis in names_of(findings, "axis")]


def corrections_of(findings: Findings) -> list[str]:
    """Return all methods but none."""
    return [method for method in names_of(findings, "method") if method != UNCORRECTED]


def tables(findings: Findings) -> list[str]:
    """Scores along every axis, and where gains begin and end."""
    found = []
    methods = names_of(findings, "method")
    figures = [main_score(findings), ("same_label", "same-label share"), ("batch_mixing", "mixing")]
    for kind in names_of(findings, "kind"):
        for axis in axes_of(findings):
            found.append(f"## {kind} clusters, {axis}\n")
            for figure, name in dict(figures).items():
                columns = [scores_of(findings, figure, kind, axis, m).T for m in methods]
                rows = [
                    [f"{level:g}", *(spread(list(column[i]), 3) for column in columns)]
                    for i, level in enumerate(levels(findings, kind, axis))
                ]
                found.append(lines([f"{axis}: {name}", *methods], rows))
            found.append(_points(findings, kind, axis))
    return found


def _points(findings: Findings, kind: str, axis: str) -> str:
    head = ["method", "gain at no effect", "better", "until, single seeds", "half given back",
            "greatest gain, at", "least gain, at"]  # fmt: skip
    rows = []
    for method in corrections_of(findings):
        one = curve(findings, kind, axis, method)
        rows.append(
            [method, f"{one.mean[0]:+.3f} ({span(one.gains[:, 0], '+.3f')})", helped(one),
             span(one.ends, ".2g") if one.ends else "-", half_given_back(one),
             *(f"{one.mean[i]:+.3f}, {one.places[i]:g}" for i in _extremes(one))]
        )  # fmt: skip
    return lines(head, rows)


def _extremes(one: Curve) -> tuple[int, int]:
    return int(one.mean.argmax()), int(one.mean.argmin())


def half_given_back(one: Curve) -> str:
    """Say in words up to where half of the loss is given back."""
    if one.half is None:
        return "nowhere"
    return f"up to {one.half.end:.2g}" if one.half.closes else "to the last"


def helped(one: Curve) -> str:
    """Say in words where the mean gain is above zero."""
    if not one.helps:
        return "nowhere"
    parts = []
    for each in one.helps:
        if not each.opens and not each.closes:
            return "everywhere"
        start = f"from {each.start:.2g}" if each.opens else "from no effect"
        parts.append(f"{start} {f'to {each.end:.2g}' if each.closes else 'on'}")
    return " and ".join(parts)


def picture(findings: Findings) -> Figure:
    """Scores above, gains below; a column an axis, for the last kind of clusters."""
    figure_name, name = main_score(findings)
    kinds, ways = names_of(findings, "kind"), axes_of(findings)
    n_seeds = len({run["seed"] for run in findings.record["runs"]})
    figure, axes = grid(2 * len(ways) * len(kinds), len(ways))
    for number, (kind, axis) in enumerate((kind, axis) for kind in kinds for axis in ways):
        line, column = divmod(number, len(ways))
        upper = axes[2 * line * len(ways) + column]
        lower = axes[(2 * line + 1) * len(ways) + column]
        for method in names_of(findings, "method"):
            scored = scores_of(findings, figure_name, kind, axis, method)
            _line(upper, levels(findings, kind, axis), scored, method)
            if method != UNCORRECTED:
                one = curve(findings, kind, axis, method)
                _line(lower, one.places, one.gains, method)
        lower.axhline(0, color="#888888", lw=1.2, ls="--", zorder=0)
        lower.annotate("uncorrected", (1, 0), xycoords=("axes fraction", "data"), ha="left",
                       va="center", rotation=90, color="#666666", fontsize=8)  # fmt: skip
        lower.set_xlabel(AXES[axis])
        for each in (upper, lower) if axis == "offset" else ():
            _doubling(each, levels(findings, kind, axis))
        upper.set_title(f"{axis}, {kind} clusters", fontsize=10)
        if column == 0:
            upper.set_ylabel(f"{name}\n(higher is better)")
            lower.set_ylabel(f"gain in {name}\nover uncorrected")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle(f"One kind of batch effect at a time: means and ranges of {n_seeds} seeds")
    return figure


def _line(axis: Any, places: list[float], values: np.ndarray, method: str) -> None:
    colour, form = STYLES[method]
    middle = values.mean(axis=0)
    bars = [middle - values.min(axis=0), values.max(axis=0) - middle]
    axis.errorbar(places, middle, bars, fmt=form, ms=4, lw=1.2, capsize=2, color=colour,
                  label=method)  # fmt: skip


def _doubling(axis: Any, places: list[float]) -> None:
    """Severities that double, from 0 on, at about equal distances."""
    axis.set_xscale("symlog", linthresh=places[1], linscale=0.5)
    axis.set_xticks(places, [f"{place:g}" for place in places])
    axis.minorticks_off()
    axis.set_xlim(-0.2 * places[1], 1.15 * places[-1])
