"""Figures of a run: coverage, landmarks and scales, displacements, batches against labels."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from numpy.typing import NDArray

from balans_dask.report.page import (
    BLUE,
    GREEN,
    GREY,
    MAX_NAMED,
    ORANGE,
    RED,
    label_text,
    name_rows,
    shown,
    styled,
)
from balans_dask.workflows.confounding import Contingency

__all__ = [
    "CELLS",
    "contingency_figure",
    "coverage_figure",
    "displacement_figure",
    "draws_figure",
    "meetings_figure",
    "neighbours_figure",
    "scales_figure",
    "shares_figure",
]

CELLS = 20
"""Batches, and labels, that a figure of both shows."""
MEETING_SPAN = 4.0
"""Times more, or fewer, neighbours than expected at which the colours end."""
MEETINGS_TOLD = 8
"""Batches up to which figures are written into the cells."""
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
WIDTH = 4.2
"""Inches: legible without zooming on a window of 360 pixels."""
LINES = ((BLUE, "-"), (ORANGE, "--"), (GREEN, ":"), (RED, "-."))
"""Colour and dashes: either alone tells the ways apart."""


class Sampled(Protocol):
    """What has drawn landmarks: a fitted ``Balans`` is one."""

    @property
    def coverage_curve_(self) -> NDArray[np.integer]:
        """Rows sampled and rows covered after every round."""

    @property
    def stop_reason_(self) -> str:
        """Why it stopped."""


@styled
def coverage_figure(record: Mapping[str, Any] | Sampled, n_rows: int) -> Figure:
    """Draw the share of covered rows against the landmarks drawn, and where the run stopped.

    Parameters
    ----------
    record : mapping or Balans
        What a corrected store says about its correction, ``uns["balans"]``, or a fitted estimator.
    n_rows : int
        Of the fit.
    """
    if not isinstance(record, Mapping):
        drawn, covered = record.coverage_curve_.T
        curve = {"n_sampled": drawn, "n_covered": covered}
        record = {"coverage_curve": curve, "stop_reason": record.stop_reason_}
    figure = Figure(figsize=(WIDTH, 2.8), layout="constrained")
    axes = figure.subplots()
    earlier = record.get("earlier_passes", {})
    for name in sorted(earlier, key=lambda name: int(name.removeprefix("pass_"))):
        curve = earlier[name]["coverage_curve"]
        label = name.replace("_", " ")
        axes.plot(curve["n_sampled"], curve["n_covered"] / n_rows, ":", color=GREY, label=label)
    curve = record["coverage_curve"]
    drawn, covered = curve["n_sampled"], curve["n_covered"] / n_rows
    label = "last pass" if earlier else None
    axes.plot(drawn, covered, color=BLUE, marker=".", markersize=3, label=label)
    stop = f"stop: {record['stop_reason']}, {int(drawn[-1]):,} landmarks"
    axes.plot(drawn[-1:], covered[-1:], "D", color=RED, markersize=6, label=stop)
    axes.set(xlabel="landmarks drawn", ylabel="share of rows covered", ylim=(0, 1.03))
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.legend(loc="lower right", frameon=False)
    return figure


@styled
def shares_figure(record: Mapping[str, Any]) -> Figure:
    """Draw every batch's share of rows, of landmarks, and of what its landmarks newly covered.

    Parameters
    ----------
    record : mapping
        What a corrected store says about its correction, ``uns["balans"]``.
    """
    sizes, drawn = np.asarray(record["batch_sizes"]), np.asarray(record["drawn_by_batch"])
    chosen = shown(sizes, record["batches"])
    figure, axes = _by_batch([record["batches"][i] for i in chosen])
    new = np.asarray(record["new_by_batch"])
    for counts, marker, colour, name in (
        (sizes, "|", GREY, "rows"),
        (drawn, "o", BLUE, "landmarks drawn"),
        (new, "x", ORANGE, "rows newly covered by them"),
    ):
        share = counts[chosen] / max(counts.sum(), 1)
        axes.plot(share, range(len(chosen)), marker, color=colour, label=name)
    axes.set_xlabel("share of all batches")
    axes.xaxis.set_major_formatter("{x:.0%}")
    axes.set_xlim(left=0)
    figure.legend(loc="outside upper left", frameon=False)
    return figure


@styled
def scales_figure(record: Mapping[str, Any]) -> Figure:
    """Draw the quantiles of the landmarks' local scales in every batch.

    Parameters
    ----------
    record : mapping
        What a corrected store says about its correction, ``uns["balans"]``.
    """
    chosen = shown(np.asarray(record["batch_sizes"]), record["batches"])
    quantiles = np.asarray(record["scale_quantiles"])[chosen]
    names = [record["batches"][i] for i in chosen]
    figure, axes = _quantile_figure(names, quantiles, "local scale, in units of the scores")
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 50 * low else (1,)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")
    return figure


@styled
def neighbours_figure(record: Mapping[str, Any]) -> Figure:
    """Draw how many rows the landmarks keep affinity to.

    Parameters
    ----------
    record : mapping
        What a corrected store says about its correction, ``uns["balans"]``.
    """
    n_kept = np.asarray(record["n_kept"])
    figure = Figure(figsize=(WIDTH, 2.4), layout="constrained")
    axes = figure.subplots()
    edges = np.unique(np.geomspace(max(n_kept.min(), 1), n_kept.max() + 1, 31).round())
    axes.hist(n_kept, bins=edges.tolist(), color=BLUE)
    axes.axvline(float(np.median(n_kept)), color=RED, label=f"median {np.median(n_kept):,.0f}")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.xaxis.set_minor_formatter("")
    axes.set(xlabel="rows of kept affinity (own row included)", ylabel="landmarks")
    axes.legend(frameon=False)
    return figure


@styled
def displacement_figure(
    displacement: NDArray[np.floating],
    codes: NDArray[np.integer],
    names: Sequence[str],
    quantity: str = "displacement of a row",
    at_most: int = MAX_NAMED,
) -> Figure:
    """Draw how far the rows of every batch moved: quantiles 0.05, 0.25, 0.5, 0.75, 0.95.

    Parameters
    ----------
    displacement : ndarray of shape (n_rows,)
        Column ``balans_displacement`` of ``obs``.
    codes : ndarray of shape (n_rows,), integer
        Place of each row's batch in ``names``.
    names : sequence of str
    quantity : str
        Name of the axis.
    at_most : int
        Batches; of more, the largest.
    """
    sizes = np.bincount(codes, minlength=len(names))
    chosen = [batch for batch in shown(sizes, names, at_most) if sizes[batch]]
    ends = np.cumsum(sizes)
    ordered = np.asarray(displacement)[np.argsort(codes, kind="stable")]
    quantiles = np.array(
        [np.quantile(ordered[ends[i] - sizes[i] : ends[i]], QUANTILES) for i in chosen]
    )
    figure, axes = _quantile_figure([names[i] for i in chosen], quantiles, quantity)
    axes.set_xlim(left=0)
    return figure


def _quantile_figure(
    names: Sequence[str], quantiles: NDArray[np.floating], quantity: str
) -> tuple[Figure, Axes]:
    """Draw a line, a bar and a dot for the outer, inner and middle ones of five quantiles."""
    figure, axes = _by_batch(names)
    rows = np.arange(len(names))
    axes.hlines(rows, quantiles[:, 0], quantiles[:, 4], color=GREY, linewidth=1)
    axes.hlines(rows, quantiles[:, 1], quantiles[:, 3], color=BLUE, linewidth=5, alpha=0.8)
    axes.plot(quantiles[:, 2], rows, "o", color="white", markeredgecolor="black", markersize=4)
    axes.set_xlabel(quantity)
    return figure, axes


def _by_batch(names: Sequence[str]) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, 1.0 + 0.2 * len(names)), layout="constrained")
    axes = figure.subplots()
    name_rows(axes, names)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    return figure, axes


@styled
def contingency_figure(counts: Contingency) -> Figure:
    """Draw the share of every label's rows that lies in every batch; the largest of both.

    Parameters
    ----------
    counts : Contingency
    """
    columns = shown(counts.batch_sizes, counts.batches, CELLS)
    rows = shown(counts.label_sizes, counts.labels, CELLS)
    # Of controls, which do not count, the name alone is left.
    rows = rows[counts.label_sizes[rows] > 0]
    shares = np.zeros((len(counts.labels), len(columns)))
    place = np.full(len(counts.batches), -1)
    place[columns] = np.arange(len(columns))
    inside = place[counts.batch] >= 0
    label = counts.label[inside]
    shares[label, place[counts.batch[inside]]] = counts.n_rows[inside] / counts.label_sizes[label]
    figure = Figure(figsize=(WIDTH, 1.6 + 0.17 * len(rows)), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares[rows], aspect="auto", cmap="Blues", vmin=0, vmax=1)
    name_rows(axes, [counts.labels[i] for i in rows])
    names = [label_text(counts.batches[i]) for i in columns]
    axes.set_xticks(range(len(columns)), names, rotation=90, fontsize=7)
    figure.colorbar(image, label="share of the label's rows", location="top", aspect=30)
    return figure


@styled
def meetings_figure(ratio: NDArray[np.floating], names: Sequence[str]) -> Figure:
    """Draw how often the nearest rows of a batch are of another, over what chance would bring.

    Parameters
    ----------
    ratio : ndarray of shape (n_batches, n_batches)
        1 is mixed; NaN is not known.
    names : sequence of str
    """
    side = 0.9 + 0.17 * max(len(names), 8)
    figure = Figure(figsize=(WIDTH, side + 0.7), layout="constrained")
    axes = figure.subplots()
    span = np.log2(MEETING_SPAN)
    drawn = np.log2(np.clip(ratio, 1 / MEETING_SPAN, MEETING_SPAN))
    image = axes.imshow(drawn, cmap="PuOr_r", vmin=-span, vmax=span, aspect="auto")
    if len(names) <= MEETINGS_TOLD:
        for (row, column), value in np.ndenumerate(ratio):
            dark = abs(drawn[row, column]) > 0.6 * span
            colour = "white" if dark else "black"
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour)
    name_rows(axes, names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xticks(range(len(names)), [label_text(name) for name in names], rotation=90)
    bar = figure.colorbar(image, location="top", aspect=30, label="neighbours, over expected")
    ticks = np.arange(-span, span + 1).tolist()
    bar.set_ticks(ticks, labels=[f"{2.0**tick:g}" for tick in ticks])
    return figure


@styled
def draws_figure(
    curves: Mapping[str, Sequence[NDArray[np.floating]]], quantity: str = "share of rows covered"
) -> Figure:
    """Draw what is reached against the number of rows drawn, a line for every run.

    Parameters
    ----------
    curves : mapping of str to sequence of ndarray of shape (n_drawn,)
        Runs by the way in which they draw, at most four ways: the share reached after the first
        row, the second, and so on.
    quantity : str
        What the shares are of.

    Returns
    -------
    figure : matplotlib.figure.Figure
        A diamond marks where a run stopped; none where it goes on to the last row that is shown.
    """
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.subplots()
    longest = max(len(run) for runs in curves.values() for run in runs)
    for (name, runs), (colour, dashes) in zip(curves.items(), LINES, strict=False):
        for number, run in enumerate(runs):
            drawn = np.arange(1, len(run) + 1)
            label = name if number == 0 else None
            axes.plot(drawn, run, dashes, color=colour, linewidth=1.2, alpha=0.8, label=label)
        ends = [(len(run), run[-1]) for run in runs if len(run) < longest]
        if ends:
            label = f"{name}: stop"
            axes.plot(*np.transpose(ends), "D", color=colour, markeredgecolor="black", label=label)
    axes.set(xlabel="rows drawn", ylabel=quantity, ylim=(0, 1.03))
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.legend(loc="lower right", frameon=False)
    return figure
