"""Maps of profiles before and after a correction: in which plane and colours."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from balans_dask.report.page import label_text, shown, styled

__all__ = [
    "COLOURS",
    "before_after_figure",
    "frame_of",
    "map_figure",
    "principal_plane",
    "save_before_after",
]

# Okabe and Ito's colours, told apart by colour-blind readers, then shades for more groups.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
MAX_ROWS = 6000
OTHERS = "#cccccc"
FAR = 0.01
"""Share of rows at each end of an axis that may lie far away."""
LISTED = len(COLOURS)
"""Groups with a colour and a place in the legend; the rows of further ones are grey."""
MAP_WIDTH = 3.0
"""Inches."""
SHORT = 14
"""Letters of a name of which a legend has two columns."""


@styled
def before_after_figure(profiles: Sequence[Any], batch: Any, labels: Any, seed: int = 0) -> Figure:
    """Draw profiles before and after, coloured by batch (above) and by label (below).

    Parameters
    ----------
    profiles : sequence of 2 array-likes of shape (n_rows, n_features)
    batch, labels : array-like of shape (n_rows,)
    seed : int
        Of the choice of rows, if there are more than are drawn.

    Returns
    -------
    figure : matplotlib.figure.Figure
        All on the first two principal components of the profiles before. The most frequent groups
        have a colour and are named; the others are grey.
    """
    figure = Figure(figsize=(8, 6.4), layout="constrained")
    panels = figure.subplots(2, 2, sharex=True, sharey=True)
    n_rows = len(profiles[0])
    chosen = np.random.default_rng(seed).permutation(n_rows)[:MAX_ROWS]
    planes, axes = principal_plane(*(np.asarray(values) for values in profiles))
    for column, (title, points) in enumerate(zip(("before", "after"), planes, strict=True)):
        for row, (name, groups) in enumerate((("batch", batch), ("label", labels))):
            panel = panels[row, column]
            names, handles = _scatter(panel, points[chosen], np.asarray(groups)[chosen])
            panel.set(title=f"{title}, by {name}", xlabel=axes[0], ylabel=axes[1])
            panel.label_outer()
            if column == 1:
                place = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)}
                panel.legend(handles, names, frameon=False, **place)
    return figure


@styled
def map_figure(
    points: NDArray[np.floating],
    groups: Any,
    axes: Sequence[str] = ("PC 1", "PC 2"),
    frame: NDArray[np.floating] | None = None,
) -> Figure:
    """Draw rows as points of a plane, in the colours of the most frequent groups.

    Parameters
    ----------
    points : ndarray of shape (n_rows, 2)
    groups : array-like of shape (n_rows,)
        Text, one for each row.
    axes : sequence of 2 str
        Their names.
    frame : ndarray of shape (2, 2), or None
        Least and largest value of each axis, for maps that are compared; ``None``: of these points.

    Returns
    -------
    figure : matplotlib.figure.Figure
        With a legend; groups beyond the most frequent ones are grey, and rows far from all others
        lie at the edge.
    """
    low, high = frame_of([points]) if frame is None else frame
    figure = Figure(layout="constrained")
    panel = figure.subplots()
    names, handles = _scatter(panel, np.clip(points, low, high), groups)
    pad = 0.02 * (high - low)
    (left, bottom), (right, top) = low - pad, high + pad
    panel.set(xlabel=axes[0], ylabel=axes[1], xlim=(left, right), ylim=(bottom, top))
    panel.set_aspect("equal")
    n_columns = 2 if max(map(len, names), default=0) <= SHORT else 1
    n_lines = -(-len(names) // n_columns)
    figure.set_size_inches(MAP_WIDTH, MAP_WIDTH + 0.2 + 0.19 * n_lines)
    figure.legend(handles, names, loc="outside lower center", ncols=n_columns, frameon=False)
    return figure


def save_before_after(
    path: str, profiles: Sequence[NDArray[np.floating]], batch: Any, labels: Any
) -> None:
    """Write the picture of ``before_after_figure`` as a PNG."""
    figure = before_after_figure(profiles, batch, labels)
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=120)


def _scatter(
    axes: Axes, points: NDArray[np.floating], groups: Any
) -> tuple[list[str], list[Line2D]]:
    """Draw points in the colours of the most frequent groups; return what a legend takes."""
    names, codes, counts = np.unique(
        np.asarray(groups, dtype=str), return_inverse=True, return_counts=True
    )
    colours = np.full(len(names), OTHERS, dtype=object)
    coloured = shown(counts, names.tolist(), LISTED)
    colours[coloured] = COLOURS[: len(coloured)]
    # Rows come in random order, so no group is drawn over the others; but grey ones lie below.
    is_coloured = np.isin(codes, coloured)
    # Few coloured rows among many grey ones are found only if they are larger.
    sizes = (4, 5 if is_coloured.mean() > 0.5 else 14)
    for rows, size in zip((~is_coloured, is_coloured), sizes, strict=True):
        dots = {"s": size, "c": colours[codes[rows]].tolist(), "linewidths": 0, "alpha": 0.8}
        axes.scatter(points[rows, 0], points[rows, 1], **dots)
    axes.set(xticks=[], yticks=[])
    listed = [(colours[i], label_text(names[i])) for i in coloured]
    if len(names) > len(coloured):
        listed.append((OTHERS, f"{len(names) - len(coloured):,} others"))
    handles = [Line2D([], [], color=colour, marker="o", linestyle="") for colour, _ in listed]
    # matplotlib hides labels that begin with an underscore.
    return [f" {name}" for _, name in listed], handles


def principal_plane(
    before: NDArray[np.floating], *others: NDArray[np.floating]
) -> tuple[list[NDArray[np.float64]], list[str]]:
    """Project rows on the first two principal components of those before: one basis for all.

    Parameters
    ----------
    before, *others : ndarray of shape (n_rows, n_features)

    Returns
    -------
    points : list of ndarray of shape (n_rows, 2)
    axes : list of str
        Names, with the share of the variance before that each explains.
    """
    values = [np.asarray(each, dtype=np.float64) for each in (before, *others)]
    if min(values[0].shape) < 2:
        values = [np.pad(each, [(0, 0), (0, 2)]) for each in values]
    solver = PCA(2, random_state=0).fit(values[0])
    shares = np.nan_to_num(solver.explained_variance_ratio_)
    axes = [f"PC {i} ({share:.0%} of the variance)" for i, share in enumerate(shares, 1)]
    return [solver.transform(each) for each in values], axes


def frame_of(points: Sequence[NDArray[np.floating]]) -> NDArray[np.float64]:
    """Return the ends, of shape (2, 2), of axes for all but the farthest rows of several maps."""
    low, high = np.quantile(np.concatenate(points), [FAR, 1 - FAR], axis=0)
    # As long in both directions, so that distances on the page compare.
    reach = 0.65 * max(float((high - low).max()), 1e-12)
    middle = (low + high) / 2
    return np.array([middle - reach, middle + reach])
