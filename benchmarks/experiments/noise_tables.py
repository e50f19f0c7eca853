"""What the experiment on the noise model found: tables, plot and reading."""

from typing import Any

import numpy as np
from findings import Findings, median, spread
from matplotlib.figure import Figure
from noise_laws import edge, law
from pictures import COLOURS, grid
from real_tables import lines

__all__ = ["MATRICES", "QUANTILES", "SURVIVAL", "picture", "reading", "tables"]

MATRICES = ("before the elbow", "kept", "landmark rows")
QUANTILES = np.linspace(0.0, 1.0, 41)
SURVIVAL = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
"""In units of the mean."""
RESIDUALS = ("label means", "low rank")
ENTRIES = {"zero_share": 3, "variation": 2, "ks_entries": 3, "outlier": 2}
FITS = 1.5
"""A residual fits whose KS distance is at most so many times that of noise; our choice."""
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


def reading(findings: Findings) -> str:
    """Say whether the assumption holds."""
    runs = findings.record["runs"]
    kept = [run for run in runs if run["matrix"] == "kept"]
    whole = [run for run in runs if run["matrix"] == "before the elbow"]
    fits = {residual: _n_fits(runs, residual) for residual in RESIDUALS}
    most = max(fits.values())
    verdict = "holds" if most == len(runs) else "holds in part" if most else "does not hold"
    return " ".join(
        [
            f"As a description of these affinities the assumption {verdict}.",
            _misfit(runs, "label means", "When label means are gone"),
            _places(runs),
            _outside(kept),
            _misfit(runs, "low rank", "When so many are removed, of every matrix"),
            _entry_sentence(kept, "kept affinities"),
            _entry_sentence(whole, "affinities before the elbow"),
        ]
    )


def _n_fits(runs: list[dict[str, Any]], residual: str) -> int:
    return sum(run[residual]["ks"] <= FITS * run[f"exponential, {residual}"]["ks"] for run in runs)


def _misfit(runs: list[dict[str, Any]], residual: str, when: str) -> str:
    noise = [run[f"exponential, {residual}"]["ks"] for run in runs]
    seen = [run[residual]["ks"] for run in runs]
    times = median([one / of for one, of in zip(seen, noise, strict=True)])
    return (
        f"{when}, {_n_fits(runs, residual)} of {len(runs)} matrices lie as near to the law as "
        f"i.i.d. exponential entries do, or at most {FITS} times as far: their KS distances are "
        f"{_range(seen, '.3f')}, those of such entries {_range(noise, '.3f')}, and the median "
        f"ratio is {times:.1f}."
    )


def _places(runs: list[dict[str, Any]]) -> str:
    shuffled = median([run["shuffled"]["ks"] for run in runs])
    seen = median([run["label means"]["ks"] for run in runs])
    if shuffled < seen / 2:
        why = "most of the misfit is that entries depend on each other, not how large they are"
    else:
        why = "the sizes of the entries alone keep them from the law"
    return (
        f"In their own places they have a median KS distance of {seen:.3f}, the same entries in "
        f"random places {shuffled:.3f}: {why}."
    )


def _outside(kept: list[dict[str, Any]]) -> str:
    means, low = ([run[residual] for run in kept] for residual in RESIDUALS)
    return (
        f"Of the kept affinities without label means, "
        f"{_range([one['n_outside'] for one in means], ',')} singular values lie outside the "
        f"noise, with {_range([one['energy_outside'] for one in means], '.0%')} of the sum of "
        f"squares, and {_range([one['n_outside'] for one in low], ',')} have to go from the whole "
        f"matrix before none does. The largest value is "
        f"{_range([run['outlier'] for run in kept], '.1f')} times what the positive mean of the "
        "noise predicts (1 were it noise)."
    )


def _entry_sentence(runs: list[dict[str, Any]], which: str) -> str:
    zeros, variation, distance = (
        [run[name] for run in runs] for name in ("zero_share", "variation", "ks_entries")
    )
    return (
        f"Between labels {_range(zeros, '.0%')} of the {which} are 0, and their coefficient of "
        f"variation is {_range(variation, '.1f')} (exponential: 1; KS distance "
        f"{_range(distance, '.2f')})."
    )


def _range(values: list[float], form: str) -> str:
    low, high = (format(each, form) for each in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def _cases(findings: Findings) -> list[tuple[str, str]]:
    return [(data, matrix) for data in _data(findings) for matrix in MATRICES]


def _data(findings: Findings) -> list[str]:
    return list(dict.fromkeys(run["data"] for run in findings.record["runs"]))


def _values(findings: Findings, case: tuple[str, str], name: str) -> list[float]:
    return findings.values(name, data=case[0], matrix=case[1])


def _seeds(findings: Findings) -> str:
    return ", ".join(str(seed) for seed in findings.record["options"]["sizes"]["seeds"])
