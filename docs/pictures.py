"""Draw the pictures of the documentation, from runs on small generated screens.

``python docs/pictures.py`` writes them into ``docs/pictures`` as text, with the settings below so
small that a page loads at once. They change only where the program or matplotlib does.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from balans_dask import Balans
from balans_dask.plot import coverage_figure
from balans_dask.report.page import BLUE, GREEN, GREY, ORANGE, RED

PLATES = (BLUE, ORANGE, GREEN)
TREATMENTS = (BLUE, ORANGE, GREEN, RED, "#CC79A7", "#56B4E9")
LANDMARK = 3
"""In draw order; chosen where its circles are easy to tell apart."""
STYLE = {"svg.fonttype": "none", "svg.hashsalt": "balans_dask", "path.simplify": True}


def screen(
    n_rows: int = 180, offset: float = 1.0, lacking: bool = False
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Make three plates of three populations; ``lacking``: two plates, one without the third."""
    rng = np.random.default_rng(4)
    means = np.array([[0.0, 0.0], [6.0, 1.0], [2.5, 5.5]])
    offsets = offset * np.array([[0.0, 0.0], [1.4, -1.0], [-0.6, -1.8]])
    spread = np.array([0.45, 0.7, 0.55])
    population, plate = rng.integers(3, size=n_rows), rng.integers(2 if lacking else 3, size=n_rows)
    if lacking:
        population[(population == 2) & (plate == 1)] = 0
    noise = rng.normal(size=(n_rows, 2)) * spread[plate, None]
    return means[population] + offsets[plate] + noise, plate


def before_after() -> Figure:
    """Draw a screen of 60 features on the first components of what was there before."""
    rng = np.random.default_rng(1)
    treatment, plate = np.tile(np.arange(6), 32), np.repeat(np.arange(3), 64)
    profiles = (
        1.1 * rng.normal(size=(6, 60))[treatment]
        + 0.9 * rng.normal(size=(3, 60))[plate]
        + 0.8 * rng.normal(size=(192, 60))
    )
    basis = PCA(2).fit(profiles)
    figure = Figure(figsize=(9.6, 2.9), layout="constrained")
    row = figure.subplots(1, 4, sharex=True, sharey=True)
    after = Balans().fit_transform(profiles, batch=plate)
    shown = [(values, by) for values in (profiles, after) for by in ("plate", "treatment")]
    for axes, (values, by) in zip(row, shown, strict=True):
        groups, colours = (plate, PLATES) if by == "plate" else (treatment, TREATMENTS)
        points(axes, basis.transform(values), groups, colours)
        when = "before" if values is profiles else "after"
        axes.set_title(f"{when}, coloured by {by}", fontsize=10)
    return figure


def points(
    axes: Axes,
    profiles: NDArray[np.float64],
    plate: NDArray[np.int64],
    colours: tuple[str, ...] = PLATES,
) -> None:
    """Draw profiles in the colours of their plates, or of other groups."""
    for number in np.unique(plate):
        x, y = np.round(profiles[plate == number], 2).T
        axes.plot(x, y, ".", markersize=3.5, color=colours[number], label=f"plate {number + 1}")
    axes.set(xticks=[], yticks=[])
    axes.set_aspect("equal")


def paper(**settings: object) -> Balans:
    """Return an estimator of the published method, with the two features as the embedding."""
    return Balans.paper(n_components=None, **settings)


def local_scales() -> Figure:
    """Draw one landmark and its local scale in every plate."""
    profiles, plate = screen(240)
    model = paper().fit(profiles, batch=plate)
    figure = Figure(figsize=(5.2, 4.4), layout="constrained")
    axes = figure.subplots()
    points(axes, profiles, plate)
    centre = profiles[model.sampled_rows_[LANDMARK]]
    angle = np.linspace(0, 2 * np.pi, 61)
    for column, name in enumerate(model.batches_):
        radius = model.scales_[LANDMARK, column]
        x, y = centre[0] + radius * np.cos(angle), centre[1] + radius * np.sin(angle)
        axes.plot(x, y, color=PLATES[int(name)], linewidth=1.5)
    axes.plot(*centre, "*", color="black", markersize=11, label="landmark")
    axes.legend(frameon=False, loc="upper right")
    return figure


def elbow() -> Figure:
    """Draw the sorted affinities of the landmark, the chord and the elbow."""
    profiles, plate = screen(240)
    model = paper().fit(profiles, batch=plate)
    squares = ((profiles - profiles[model.sampled_rows_[LANDMARK]]) ** 2).sum(axis=1)
    affinity = np.exp(-squares / model.scales_[LANDMARK, plate] ** 2)
    ranked = np.sort(affinity)[::-1]
    kept = int((ranked > np.exp(-model.thresholds_[LANDMARK])).sum())
    figure = Figure(figsize=(5.2, 3.0), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, len(ranked) - 1], [1, ranked[-1]], color=GREY, linewidth=1, label="chord")
    axes.plot(np.round(ranked, 3), color=BLUE, label="affinities, sorted")
    axes.axvline(kept, color=RED, linestyle=":", label=f"elbow: {kept} rows are kept")
    axes.set(xlabel="rank", ylabel="affinity A")
    axes.legend(frameon=False)
    return figure


def coverage() -> Figure:
    """Draw the coverage curve of a run, as a report does."""
    rng = np.random.default_rng(0)
    population = rng.integers(12, size=6000)
    profiles = 3 * rng.normal(size=(12, 8))[population] + rng.normal(size=(6000, 8))
    model = paper(block_rows=16).fit(profiles, batch=rng.integers(3, size=6000))
    return coverage_figure(model, 6000)


def panels(corrections: dict[str, NDArray[np.float64]], plate: NDArray[np.int64]) -> Figure:
    """Draw the same rows several times on one scale."""
    figure = Figure(figsize=(2.6 * len(corrections), 2.9), layout="constrained")
    row = figure.subplots(1, len(corrections), sharex=True, sharey=True)
    for axes, (title, profiles) in zip(row, corrections.items(), strict=True):
        points(axes, profiles, plate)
        axes.set_title(title, fontsize=10)
    handles, names = row[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3, frameon=False)
    return figure


def operators() -> Figure:
    """Draw a screen before and after each operator."""
    profiles, plate = screen(150)
    models = {"align": Balans(n_components=None)}
    models |= {name: paper(operator=name) for name in ("smooth", "nystrom", "displace")}
    return panels({"input": profiles} | corrected(models, profiles, plate), plate)


def corrected(
    models: dict[str, Balans], profiles: NDArray[np.float64], plate: NDArray[np.int64]
) -> dict[str, NDArray[np.float64]]:
    """Correct the same rows by several estimators."""
    return {name: model.fit_transform(profiles, batch=plate) for name, model in models.items()}


def missing() -> Figure:
    """Draw a screen whose second plate lacks a population: the paper, its guard, and align."""
    profiles, plate = screen(offset=0.6, lacking=True)
    models = {
        "smooth (the paper)": paper(),
        "smooth, limit: auto": paper(max_scale_ratio="auto"),
        "align": Balans(n_components=None),
    }
    return panels({"input": profiles} | corrected(models, profiles, plate), plate)


PICTURES: dict[str, Callable[[], Figure]] = {
    "before_after": before_after,
    "local_scales": local_scales,
    "elbow": elbow,
    "coverage": coverage,
    "operators": operators,
    "missing": missing,
}


def draw(folder: Path) -> None:
    """Write all pictures into a folder."""
    with matplotlib.rc_context(STYLE):
        for name, picture in PICTURES.items():
            picture().savefig(folder / f"{name}.svg", metadata={"Date": None})


if __name__ == "__main__":
    draw(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "pictures")
