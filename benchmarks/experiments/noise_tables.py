"""What the experiment on the noise model found: tables and plot."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks.experiments.noise_laws import edge, law
from benchmarks.harness.findings import Findings, median, spread
from benchmarks.harness.pictures import COLOURS, grid
from benchmarks.harness.tables import lines

__all__ = ["MATRICES", "QUANTILES", "RESIDUALS", "SURVIVAL", "picture", "tables"]

MATRICES = ("before the elbow", "kept", "landmark rows")
QUANTILES = np.linspace(0.0, 1.0, 41)
SURVIVAL = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
"""In units of the mean."""
RESIDUALS = ("label means", "low rank")
ENTRIES = {"zero_share": 3, "variation": 2, "ks_entries": 3, "outlier": 2}
MARKERS = ("o", "s", "^", "D", "v")


def tables(findings: Findings) -> list[str]:
    """Write the spectra, then the entries."""
    head = ["data", "matrix", "rows x columns", "KS, label means", "shuffled", "i.i.d. exponential",
            "outside", "of the sum of squares", "KS, low rank", "i.i.d. exponential",
            "removed", "of the sum of squares"]  # fmt: skip
    spectra = lines(head, [_spectra(*case, findings) for case in _cases(findings)])
    head = ["data", "matrix", "entries that are 0", "coefficient of variation", "KS of entries",
            "outlier"]  # fmt: skip
    entries = [
        [*case, *(spread(_values(findings, case, name), n) for name, n in ENTRIES.items())]
        for case in _cases(findings)
    ]
    return [
        f"## Singular values: median (range) over seeds {_seeds(findings)}\n",
        spectra,
        f"## Entries between labels, and the outlier: over seeds {_seeds(findings)}\n",
        lines(head, entries),
    ]


def _spectra(data: str, matrix: str, findings: Findings) -> list[str]:
    runs = findings.of(data=data, matrix=matrix)
    cells = [data, matrix, " x ".join(f"{side:,}" for side in runs[0]["shape"])]
    for residual in RESIDUALS:
        shuffled = ["shuffled"] if residual == "label means" else []
        which = (residual, *shuffled, f"exponential, {residual}")
        cells += [spread([run[each]["ks"] for run in runs], 3) for each in which]
        cells.append(spread([run[residual]["n_outside"] for run in runs], 0))
        cells.append(f"{median([run[residual]['energy_outside'] for run in runs]):.0%}")
    return cells


def picture(findings: Findings) -> Figure:
    """Draw the spectra of both shapes of matrix, the distances to the law, and the entries."""
    figure, (square, wide, distances, entries) = grid(4, 2)
    names = _data(findings)
    for axis, matrix in ((square, "kept"), (wide, "landmark rows")):
        _spectra_panel(axis, findings, matrix, names)
    _distances_panel(distances, findings, names)
    _entries_panel(entries, findings, names)
    handles, labels = square.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle(
        "Residual affinities against independent exponential noise "
        f"\n(first seed; KS distances: median and range over seeds {_seeds(findings)})",
        fontsize=11,
    )
    return figure


def _spectra_panel(axis: Any, findings: Findings, matrix: str, names: list[str]) -> None:
    reach = 0.0
    for name, colour in zip(names, COLOURS, strict=False):
        run = findings.of(data=name, matrix=matrix)[0]
        places, below = law(tuple(run["shape"]))
        expected = np.interp(QUANTILES, below, places) / edge(tuple(run["shape"]))
        seen = np.array(run["quantiles"]) / edge(tuple(run["shape"]))
        axis.plot(expected, seen, color=colour, lw=1.6, label=name)
        reach = max(reach, np.quantile(seen, 0.95))
    axis.axline((0, 0), slope=1, color="black", ls="--", lw=1, label="the law of noise")
    axis.set_xlim(0, 1)
    axis.set_ylim(0, min(max(1.1, 1.3 * reach), 2.0))
    axis.set_xlabel("quantile of noise / its edge")
    axis.set_ylabel("quantile of singular values / edge")
    which = "quarter circle" if matrix == "kept" else "Marchenko-Pastur"
    axis.set_title(f"{matrix}: {which}", fontsize=9)


def _distances_panel(axis: Any, findings: Findings, names: list[str]) -> None:
    kinds = {"label means": "label means", "low rank": "low rank", "shuffled": "shuffled entries",
             "exponential, label means": "i.i.d. exponential"}  # fmt: skip
    for (which, text), marker, colour in zip(kinds.items(), MARKERS, ("k", "k", "0.5", "0.5"),
                                             strict=False):  # fmt: skip
        found = [[run[which]["ks"] for run in findings.of(data=name, matrix="kept")]
                 for name in names]  # fmt: skip
        middle = np.array([median(each) for each in found])
        bars = [middle - [min(each) for each in found], [max(each) for each in found] - middle]
        filled = "none" if which == "low rank" else colour
        axis.errorbar(middle, np.arange(len(names)), xerr=bars, fmt=marker, ms=6, color=colour,
                      mfc=filled, capsize=3, label=text)  # fmt: skip
    axis.set_yticks(np.arange(len(names)), names)
    axis.set_ylim(len(names) + 0.4, -0.5)
    axis.set_xscale("log")
    axis.set_xlabel("KS distance to the quarter circle")
    axis.set_title("misfit of all singular values, kept affinities", fontsize=9)
    axis.legend(fontsize=7, loc="lower center", ncols=2, frameon=False)


def _entries_panel(axis: Any, findings: Findings, names: list[str]) -> None:
    for name, colour in zip(names, COLOURS, strict=False):
        for matrix, style in (("kept", "-"), ("before the elbow", ":")):
            run = findings.of(data=name, matrix=matrix)[0]
            shares = np.array(run["survival"], dtype=float)
            shares[shares == 0] = np.nan
            axis.plot(SURVIVAL, shares, style, marker=".", color=colour)
    for which, style in (("kept", "-"), ("before the elbow", ":"), ("exponential", "--")):
        axis.plot([], [], style, color="black", label=which)
    places = np.geomspace(SURVIVAL[0], 12, 100)
    axis.plot(places, np.exp(-places), "k--", lw=1)
    axis.legend(fontsize=7, loc="lower left", frameon=False)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_ylim(1e-5, 1.3)
    axis.set_xlabel("affinity in units of its mean")
    axis.set_ylabel("share of entries above")
    axis.set_title("entries between labels", fontsize=9)


def _cases(findings: Findings) -> list[tuple[str, str]]:
    return [(data, matrix) for data in _data(findings) for matrix in MATRICES]


def _data(findings: Findings) -> list[str]:
    return list(dict.fromkeys(run["data"] for run in findings.record["runs"]))


def _values(findings: Findings, case: tuple[str, str], name: str) -> list[float]:
    return findings.values(name, data=case[0], matrix=case[1])


def _seeds(findings: Findings) -> str:
    return ", ".join(str(seed) for seed in findings.record["options"]["sizes"]["seeds"])
