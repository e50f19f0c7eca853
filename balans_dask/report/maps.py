"""Maps of profiles before and after a correction."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from balans_dask.report.plain import label_text, shown, styled

__all__ = ["COLOURS", "before_after_figure", "map_figure", "save_before_after"]

# Okabe and Ito's colours, told apart by colour-blind readers, then shades for more groups.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
MAX_ROWS = 6000
OTHERS = "#cccccc"
FAR = 0.01
"""Share of rows at each end of an axis that may lie far away."""
LISTED = len(COLOURS)
"""Groups with a legend of their own; more are drawn from a continuous palette."""


def before_after_figure(
    profiles: Sequence[NDArray[np.floating]], batch: Any, labels: Any, seed: int = 0
) -> Figure:
    """Draw profiles before and after, coloured by batch (above) and by label (below).

    Parameters
    ----------
    profiles : sequence of 2 ndarrays of shape (n_rows, n_features)
    batch, labels : array-like of shape (n_rows,)
    seed : int
        Of the choice of rows, if there are more than are drawn.

    Returns
    -------
    figure : matplotlib.figure.Figure
    """
    figure = Figure(figsize=(10, 8.6), layout="constrained")
    axes = figure.subplots(2, 2)
    chosen = np.random.default_rng(seed).permutation(len(profiles[0]))[:MAX_ROWS]
    for column, (title, values) in enumerate(zip(("before", "after"), profiles, strict=True)):
        points = PCA(n_components=2, random_state=0).fit_transform(values)[chosen]
        for row, (name, groups) in enumerate((("batch", batch), ("label", labels))):
            _scatter(axes[row, column], points, np.asarray(groups)[chosen])
            axes[row, column].set_title(f"{title}, by {name}")
    for axis in axes[:, 1]:
        if axis.get_legend_handles_labels()[1]:
            axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    return figure


@styled
def map_figure(points: NDArray[np.floating], groups: Any, axis_name: str) -> Figure:
    """Draw rows as points of a plane, in the colours of the most frequent groups.

    Parameters
    ----------
    points : ndarray of shape (n_rows, 2)
    groups : array-like of shape (n_rows,)
        Text, one for each row.
    axis_name : str
        Such as PC or UMAP.

    Returns
    -------
    figure : matplotlib.figure.Figure
        With a legend; groups beyond the most frequent ones are grey, and rows far from all others
        lie at the edge.
    """
    low, high = np.quantile(points, [FAR, 1 - FAR], axis=0)
    margin = 0.15 * (high - low)
    points = np.clip(points, low - margin, high + margin)
    names, codes, counts = np.unique(
        np.asarray(groups, dtype=str), return_inverse=True, return_counts=True
    )
    colours = np.full(len(names), OTHERS, dtype=object)
    coloured = shown(counts, LISTED)
    colours[coloured] = COLOURS[: len(coloured)]
    figure = Figure(figsize=(4.2, 4.2 + 0.1 * len(coloured)), layout="constrained")
    axes = figure.subplots()
    # Rows come in random order, so no group is drawn over the others; but grey ones lie below.
    is_coloured = np.isin(codes, coloured)
    # Few coloured rows among many grey ones are found only if they are larger.
    sizes = (4, 5 if is_coloured.mean() > 0.5 else 14)
    for rows, size in zip((~is_coloured, is_coloured), sizes, strict=True):
        dots = {"s": size, "c": colours[codes[rows]].tolist(), "linewidths": 0, "alpha": 0.8}
        axes.scatter(points[rows, 0], points[rows, 1], **dots)
    axes.set(xticks=[], yticks=[], xlabel=f"{axis_name} 1", ylabel=f"{axis_name} 2")
    axes.set_aspect("equal", adjustable="datalim")
    listed = [(colours[i], label_text(names[i])) for i in coloured]
    if len(names) > len(coloured):
        listed.append((OTHERS, f"{len(names) - len(coloured):,} others"))
    handles = [Line2D([], [], color=colour, marker="o", linestyle="") for colour, _ in listed]
    # matplotlib hides labels that begin with an underscore.
    texts = [f" {name}" for _, name in listed]
    figure.legend(handles, texts, loc="outside lower center", ncols=2, frameon=False)
    return figure


def save_before_after(
    path: str, profiles: Sequence[NDArray[np.floating]], batch: Any, labels: Any
) -> None:
    """Write the picture of ``before_after_figure`` as a PNG."""
    figure = before_after_figure(profiles, batch, labels)
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=120)


def _scatter(axes: Axes, points: NDArray[np.floating], groups: NDArray[Any]) -> None:
    names, codes = np.unique(groups, return_inverse=True)
    # All groups in one call and in random order: none is drawn over the others.
    few = len(names) <= LISTED
    colours = ListedColormap(COLOURS[: len(names)]) if few else "turbo"
    axes.scatter(points[:, 0], points[:, 1], s=5, c=codes, cmap=colours, linewidths=0, alpha=0.7)
    if few:
        for code, name in enumerate(names):
            axes.scatter([], [], s=25, c=COLOURS[code], label=str(name))
    axes.set(xticks=[], yticks=[], xlabel="PC 1", ylabel="PC 2")
    axes.set_aspect("equal", adjustable="datalim")
