"""Maps of profiles before and after a correction: which rows, in which plane and colours."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
import zarr
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from balans_dask.io.matrices import checked_array
from balans_dask.report.page import label_text, shown, styled

__all__ = [
    "COLOURS",
    "before_after_figure",
    "has_umap",
    "map_figure",
    "principal_plane",
    "read_rows",
    "save_before_after",
    "stratified_rows",
    "umap_plane",
]

# Okabe and Ito's colours, told apart by colour-blind readers, then shades for more groups.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
MAX_ROWS = 6000
OTHERS = "#cccccc"
FAR = 0.01
"""Share of rows at each end of an axis that may lie far away."""
LISTED = len(COLOURS)
"""Groups with a colour and a place in the legend; the rows of further ones are grey."""
SLAB_BYTES = 2**26


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
        Each column on its own first two principal components. The most frequent groups have a
        colour and are named; the others are grey.
    """
    figure = Figure(figsize=(8, 6.4), layout="constrained")
    axes = figure.subplots(2, 2)
    n_rows = len(profiles[0])
    chosen = np.random.default_rng(seed).permutation(n_rows)[:MAX_ROWS]
    for column, (title, values) in enumerate(zip(("before", "after"), profiles, strict=True)):
        points = PCA(n_components=2, random_state=0).fit_transform(np.asarray(values))[chosen]
        for row, (name, groups) in enumerate((("batch", batch), ("label", labels))):
            names, handles = _scatter(axes[row, column], points, np.asarray(groups)[chosen], "PC")
            axes[row, column].set_title(f"{title}, by {name}")
            if column == 1:
                place = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)}
                axes[row, column].legend(handles, names, frameon=False, **place)
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
    figure = Figure(layout="constrained")
    names, handles = _scatter(figure.subplots(), points, groups, axis_name)
    figure.set_size_inches(4.2, 4.2 + 0.1 * len(names))
    figure.legend(handles, names, loc="outside lower center", ncols=2, frameon=False)
    return figure


def save_before_after(
    path: str, profiles: Sequence[NDArray[np.floating]], batch: Any, labels: Any
) -> None:
    """Write the picture of ``before_after_figure`` as a PNG."""
    figure = before_after_figure(profiles, batch, labels)
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=120)


def _scatter(
    axes: Axes, points: NDArray[np.floating], groups: Any, axis_name: str
) -> tuple[list[str], list[Line2D]]:
    """Draw points in the colours of the most frequent groups; return what a legend takes."""
    names, codes, counts = np.unique(
        np.asarray(groups, dtype=str), return_inverse=True, return_counts=True
    )
    colours = np.full(len(names), OTHERS, dtype=object)
    coloured = shown(counts, LISTED)
    colours[coloured] = COLOURS[: len(coloured)]
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
    return [f" {name}" for _, name in listed], handles


def stratified_rows(codes: NDArray[np.integer], n_rows: int, seed: int) -> NDArray[np.int64]:
    """Choose rows at random, from every batch as many as its share, and at least one.

    Parameters
    ----------
    codes : ndarray of shape (n_all_rows,), integer
        Batch of every row.
    n_rows : int
        How many, about.
    seed : int

    Returns
    -------
    rows : ndarray of int64
        In random order; all rows, if they are not more.
    """
    random = np.random.default_rng(seed).permutation(len(codes))
    if len(codes) <= n_rows:
        return random
    by_batch = random[np.argsort(codes[random], kind="stable")]
    sizes = np.bincount(codes)
    rank = np.arange(len(codes)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    quota = np.maximum(1, np.round(sizes * (n_rows / len(codes)))).astype(np.int64)
    chosen = np.zeros(len(codes), dtype=bool)
    chosen[by_batch[rank < np.repeat(quota, sizes)]] = True
    return random[chosen[random]]


def read_rows(matrix: zarr.Array, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Read rows of a matrix in their order, holding one slab of it at a time.

    Parameters
    ----------
    matrix : zarr.Array of shape (n_all_rows, n_features)
    rows : ndarray of int64

    Raises
    ------
    InvalidInputError
        If it is damaged.
    """
    n_all, width = matrix.shape
    values = np.empty((len(rows), width), dtype=np.float32)
    source = checked_array(matrix)
    chunk = int(matrix.chunks[0])
    slab = max(1, SLAB_BYTES // (chunk * width * matrix.dtype.itemsize)) * chunk
    for start in range(0, n_all, slab):
        wanted = np.flatnonzero((rows >= start) & (rows < start + slab))
        if len(wanted):
            part: Any = source[start : start + slab]
            values[wanted] = part[rows[wanted] - start]
    return values


def principal_plane(
    values: NDArray[np.float32], standardise: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Project rows on their own first two principal components.

    Parameters
    ----------
    values : ndarray of shape (n_rows, n_features)
    standardise : bool
        Give every feature the same deviation first, as the run did.

    Returns
    -------
    points : ndarray of shape (n_rows, 2)
    components : ndarray of shape (n_rows, n_components)
        At most 50, for ``umap_plane``.
    """
    centred = values.astype(np.float64) - values.mean(axis=0, dtype=np.float64)
    if standardise:
        deviation = centred.std(axis=0)
        centred = centred[:, deviation > 0] / deviation[deviation > 0]
    if min(centred.shape) < 2:
        centred = np.pad(centred, [(0, 0), (0, 2)])
    n_components = min(50, *centred.shape)
    solver = PCA(n_components, svd_solver="randomized", random_state=0)
    components = solver.fit_transform(centred).astype(np.float32)
    points = components[:, :2]
    return (points if points.shape[1] == 2 else np.pad(points, [(0, 0), (0, 1)])), components


def has_umap() -> bool:
    """Whether umap-learn is installed."""
    return find_spec("umap") is not None


def umap_plane(components: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """Lay rows out by UMAP.

    Parameters
    ----------
    components : ndarray of shape (n_rows, n_components)
    seed : int
    """
    import umap  # noqa: PLC0415  (optional, and slow to import)

    points: NDArray[np.float32] = umap.UMAP(random_state=seed, n_jobs=1).fit_transform(components)
    return points
