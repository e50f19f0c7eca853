"""What scales that depend on the batch buy, beside one bandwidth, one scale a row and a graph."""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from balans_dask import Balans
from balans_dask.workflows.mixture import Mixture
from benchmarks.harness import dense_operators as dense
from benchmarks.harness.arrays import Floats, Ints
from benchmarks.harness.embedded import Embedded, generated, real
from benchmarks.harness.experiment import Experiment, Setting
from benchmarks.harness.findings import Findings, median, spread
from benchmarks.harness.pictures import COLOURS, panels
from benchmarks.harness.real_sets import SETS
from benchmarks.harness.scoring import main_score, rows_of_every_label, scores
from benchmarks.harness.tables import lines

K = 5
MIXTURES: dict[str, dict[str, Any]] = {
    "mixture, equal densities": {},
    "mixture, clusters of unequal width": {"noise_ratio": 4.0},
    "mixture, batches of unequal size": {"batch_ratio": 8.0},
    "mixture, both unequal": {"noise_ratio": 4.0, "batch_ratio": 8.0},
}
CPJUMP = "cpjump1_compound_csn, batch Metadata_Plate"
WEEK, PLATE = (f"bbbc021_well, batch Metadata_{name}" for name in ("week", "Plate"))
SMALL_MIXTURES = ("mixture, equal densities", "mixture, both unequal")
SIZES: dict[str, dict[str, Any]] = {
    "tiny": {"seeds": [0, 1], "rows": 400, "each": 15, "mixtures": SMALL_MIXTURES, "real": ()},
    "small": {"seeds": [0, 1], "rows": 2000, "each": 50, "mixtures": SMALL_MIXTURES,
              "real": (CPJUMP, WEEK)},
    "full": {"seeds": [0, 1, 2], "rows": 5000, "each": 100, "mixtures": tuple(MIXTURES),
             "real": (CPJUMP, WEEK, PLATE)},
}  # fmt: skip
Corrected = Callable[[], tuple[Floats, dict[str, float]]]
GRAPH = "graph per batch"
UNCORRECTED, BY_BATCH, GUARDED = "uncorrected", "a scale a batch", "a scale a batch, guarded"
COLUMNS = {
    "ilisi": "batch LISI",
    "clisi": "cLISI",
    "same_label": "same-label share",
    "batch_mixing": "mixing",
    "batch": "batch side",
    "biology": "biology side",
    "total": "total",
    "uncovered": "uncovered",
    "kept_a_landmark": "rows a landmark keeps",
}
STYLES = {
    "one bandwidth, k": (COLOURS[0], "v"),
    "one bandwidth, k x batches": (COLOURS[1], "v"),
    "one scale a row, k": (COLOURS[2], "^"),
    "one scale a row, k x batches": (COLOURS[3], "^"),
    BY_BATCH: (COLOURS[6], "o"),
    GUARDED: (COLOURS[5], "P"),
    GRAPH: (COLOURS[4], "s"),
    UNCORRECTED: ("#888888", "X"),
}


def measure(findings: Findings, setting: Setting) -> None:
    """Correct every set by every variant."""
    for seed in setting.sizes["seeds"]:
        for name, profiles, scored in _sets(setting, seed):
            for variant, corrected in _variants(profiles, seed).items():
                case = {"set": name, "variant": variant, "seed": seed}
                findings.measure(case, functools.partial(_scored, profiles, scored, corrected))


def _sets(setting: Setting, seed: int) -> Iterator[tuple[str, Embedded, Ints]]:
    """Name, rows and the rows that are scored of every set."""
    for name in setting.sizes["mixtures"]:
        made = generated(Mixture(setting.sizes["rows"], seed=seed, **MIXTURES[name]))
        yield name, made, rows_of_every_label(made.label, setting.sizes["each"], seed)
    for one in SETS if setting.data else ():
        if one.name in setting.sizes["real"]:
            scored = np.flatnonzero(one.scored(one.annotations(setting.data)))
            yield one.name, real(one, setting.data), scored


def _scored(profiles: Embedded, rows: Ints, corrected: Corrected) -> Mapping[str, Any]:
    values, facts = corrected()
    return facts | scores(
        values[rows], profiles.rows[rows], profiles.batch[rows], profiles.label[rows]
    )


def _variants(profiles: Embedded, seed: int) -> dict[str, Corrected]:
    """Name every variant, with what makes of the profiles their correction and facts of it."""
    scales = Scales(profiles, seed)
    many = K * len(np.unique(profiles.batch))
    return {
        UNCORRECTED: lambda: (profiles.rows, {}),
        "one bandwidth, k": lambda: scales.smoothed(scales.bandwidth(K)),
        "one bandwidth, k x batches": lambda: scales.smoothed(scales.bandwidth(many)),
        "one scale a row, k": lambda: scales.smoothed(scales.of_rows(K)),
        "one scale a row, k x batches": lambda: scales.smoothed(scales.of_rows(many)),
        BY_BATCH: lambda: scales.smoothed(scales.of_batches()),
        GUARDED: lambda: _package(profiles, seed),
        GRAPH: lambda: (dense.graph_per_batch(profiles.rows, profiles.batch, K, profiles.rows), {}),
    }


class Scales:
    """Squared scales of every kind for the landmarks of one draw, and what they smooth to."""

    def __init__(self, profiles: Embedded, seed: int) -> None:
        self._profiles, self._seed = profiles, seed

    @functools.cached_property
    def _rows(self) -> Ints:
        model = Balans.paper(n_components=None, random_state=self._seed)
        return model.fit(self._profiles.rows, batch=self._profiles.batch).sampled_rows_

    @functools.cached_property
    def _squared(self) -> Floats:
        return dense.squared_distances(self._profiles.rows, self._rows)

    def bandwidth(self, k: int) -> Floats:
        """Median over all rows of the distance to the k-th neighbour."""
        every = np.arange(len(self._profiles.rows))
        squared = dense.squared_distances(self._profiles.rows, every)
        return np.median(dense.kth_squared_distance(squared, every, k), keepdims=True)

    def of_rows(self, k: int) -> Floats:
        """Distance of every landmark to its k-th neighbour in all batches."""
        return dense.kth_squared_distance(self._squared, self._rows, k)[:, None]

    def of_batches(self) -> Floats:
        """Definition 2.1."""
        return dense.batch_scales(self._squared, self._rows, self._profiles.batch, K)

    def smoothed(self, scales: Floats) -> tuple[Floats, dict[str, float]]:
        """Smooth by the affinities of some scales."""
        floor = 2.0**-40 * self._profiles.rows.var(axis=0).sum()
        found = dense.affinity_rows(self._squared, self._rows, scales, floor)
        facts = {
            "n_landmarks": len(self._rows),
            "uncovered": float(1 - found.covered.mean()),
            "kept_a_landmark": float(np.median((found.kept > 0).sum(axis=1))),
        }
        return dense.smooth(found, self._profiles.rows), facts


def _package(profiles: Embedded, seed: int) -> tuple[Floats, dict[str, float]]:
    model = Balans(operator="smooth", n_components=None, random_state=seed)
    corrected = model.fit_transform(profiles.rows, batch=profiles.batch)
    facts = {
        "n_landmarks": len(model.sampled_rows_),
        "uncovered": float((model.coverage_ == 0).mean()),
    }
    return corrected, facts


def mixing_score(findings: Findings) -> tuple[str, str]:
    """Name the figure that tells of mixing, and say what it is."""
    if main_score(findings)[0] == "total":
        return "ilisi", "batch LISI"
    return "batch_mixing", "mixing with other batches"


def tables(findings: Findings) -> list[str]:
    """Scores of every set, then differences from Definition 2.1."""
    found = []
    for name in findings.each("set"):
        there = [c for c in COLUMNS if any(c in run for run in findings.of(set=name))]
        rows = []
        for variant in findings.each("variant"):
            runs = findings.of(set=name, variant=variant)
            cells = [
                spread([run[c] for run in runs if c in run], 0 if c == "kept_a_landmark" else 3)
                for c in there
            ]
            rows.append([variant, *cells])
        found += [f"## {name}\n", lines(["scales", *(COLUMNS[c] for c in there)], rows)]
    return found


def picture(findings: Findings) -> Figure:
    """Three figures of every set and variant, medians with ranges."""
    score, name = main_score(findings)
    same = ("same_label", "share of 30 neighbours\nwith the same label")
    shown = dict([mixing_score(findings), (score, name), same])
    sets, variants = findings.each("set"), findings.each("variant")
    figure, axes = panels(len(shown))
    figure.set_size_inches(4.2 * len(shown), 1.6 + 1.25 * len(sets))
    for axis, key in zip(axes, shown, strict=True):
        for place, variant in enumerate(variants):
            _points(axis, findings, key, sets, variant, 0.8 * place / len(variants) - 0.35)
        axis.set_xlabel(f"{shown[key]}\n(higher is better)")
        axis.set_yticks(range(len(sets)), [_two_lines(one) for one in sets])
        axis.set_ylim(len(sets) - 0.5, -0.5)
        axis.hlines(np.arange(len(sets) - 1) + 0.5, *axis.get_xlim(), color="#dddddd", lw=0.8)
        axis.grid(axis="x", color="#eeeeee")
    for axis in axes[1:]:
        axis.set_yticklabels([])
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    n_seeds = len(findings.each("seed"))
    figure.suptitle(
        f"Smoothing by different scales: medians and ranges of {n_seeds} seeds", fontsize=11
    )
    return figure


def _two_lines(name: str) -> str:
    return name.replace(", ", ",\n", 1)


def _points(
    axis: Any, findings: Findings, key: str, sets: list[str], variant: str, shift: float
) -> None:
    colour, marker = STYLES[variant]
    values = [findings.values(key, set=one, variant=variant) for one in sets]
    middles = [median(each) for each in values]
    below = [m - min(each) for m, each in zip(middles, values, strict=True)]
    above = [max(each) - m for m, each in zip(middles, values, strict=True)]
    axis.errorbar(middles, np.arange(len(sets)) + shift, xerr=[below, above], fmt=marker, ms=5,
                  lw=1, capsize=2, color=colour, label=variant)  # fmt: skip


EXPERIMENT = Experiment(
    name="scale_ablation", sizes=SIZES, measure=measure, tables=tables, picture=picture
)
