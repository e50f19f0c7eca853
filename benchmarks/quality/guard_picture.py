"""Protection against mixing, for every guard of the study: drawn from its figures alone.

python benchmarks/guard_picture.py benchmarks/results/guard_study.json OUT.png
"""

import argparse
import json
import re
from pathlib import Path
from typing import Any

from balans_dask.parameters import OPERATORS

FAMILIES = {
    "none": ("#000000", "no guard (the paper)"),
    "cap": ("#0072B2", "constant cap, by ratio"),
    "drop": ("#E69F00", "batches beyond a ratio left out"),
    "limit": ("#009E73", "limit by the spread of the data, by least ratio"),
    "mutual": ("#CC79A7", "mutual kernel, by power"),
    "k by batch size": ("#56B4E9", "k in proportion to batch size"),
    "shrinkage": ("#D55E00", "larger shrinkage of displacements"),
}
"""Colour and meaning of every family of guards; Okabe and Ito's colours."""
DEFAULT = "the package's default"
SHAPES = ("separated", "overlapping")


def draw(figures: list[dict[str, Any]], path: Path) -> None:
    """Draw the mixtures with 4 of 20 clusters in one batch only.

    Parameters
    ----------
    figures : list of dict
        As ``guard_study.py`` writes them.
    path : Path
        Of the PNG.
    """
    import matplotlib  # noqa: PLC0415  (the plot extra)

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, axes = plt.subplots(2, 3, figsize=(13, 8.2), sharex="row", layout="constrained")
    for line, shape in zip(axes, SHAPES, strict=True):
        of_case = [entry for entry in figures if entry["case"] == f"{shape}, 4 of 20"]
        for axis, operator in zip(line, OPERATORS, strict=True):
            _panel(axis, of_case, operator)
            axis.set_title(f"{shape} clusters, {operator}")
    for axis in axes[1]:
        axis.set_xlabel("batch mixing (higher is better)")
    for axis in axes[:, 0]:
        axis.set_ylabel("same-label share of clusters\nin one batch only (higher is better)")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    known = dict(zip(labels, handles, strict=True))
    handles, labels = axes[0, 2].get_legend_handles_labels()
    known |= dict(zip(labels, handles, strict=True))
    figure.legend(known.values(), known.keys(), loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle("4 of 20 clusters are in one batch only: what each guard protects and costs")
    figure.savefig(path, dpi=75)


def _panel(axis: Any, of_case: list[dict[str, Any]], operator: str) -> None:
    raw = next(entry["raw"]["affected"][0] for entry in of_case if entry["guard"] == "raw")
    axis.axhline(raw, color="#888888", lw=1, ls=":", label="raw profiles")
    for family, (colour, meaning) in FAMILIES.items():
        value = re.compile(rf"{family} ?([0-9.]*)")
        points = [
            (entry[operator]["mixing"][0], entry[operator]["affected"][0], found[1])
            for entry in of_case
            if operator in entry and (found := value.fullmatch(entry["guard"]))
        ]
        if points:
            across, up, _values = zip(*points, strict=True)
            axis.plot(across, up, "o-", ms=5, lw=1, color=colour, label=meaning)
            for x, y, text in points:
                axis.annotate(text, (x, y), xytext=(4, 3), textcoords="offset points", fontsize=7)
    default = next(entry[operator] for entry in of_case if entry["guard"] == DEFAULT)
    place = (default["mixing"][0], default["affected"][0])
    axis.plot(*place, "*", ms=15, mfc="none", mec="#000000", label="the default")


def main() -> None:
    """Draw what a study has written."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("figures", type=Path, help="the study's JSON file")
    parser.add_argument("picture", type=Path)
    given = parser.parse_args()
    draw(json.loads(given.figures.read_text())["figures"], given.picture)


if __name__ == "__main__":
    main()
