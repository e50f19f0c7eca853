"""Ways to draw landmarks, compared by what their draws reach."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from balans_dask.report.plain import BLUE, GREEN, ORANGE, RED, styled

__all__ = ["draws_figure"]

LINES = ((BLUE, "-"), (ORANGE, "--"), (GREEN, ":"), (RED, "-."))
"""Colour and dashes: either alone tells the ways apart."""


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
