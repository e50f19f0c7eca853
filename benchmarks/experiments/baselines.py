"""Other methods that install from Python packages, beside ours.

python -m benchmarks.experiments.baselines [--size tiny|small|full] [--resume]
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from balans_dask import Balans
from balans_dask.evaluate.retrieval import cross_batch_precision
from balans_dask.workflows.mixture import Mixture
from benchmarks.harness.arrays import Bools, Floats, Ints, Texts
from benchmarks.harness.embedded import Embedded, generated, real
from benchmarks.harness.experiment import Experiment, Setting
from benchmarks.harness.findings import Findings, median, spread
from benchmarks.harness.mixtures import SPREADS
from benchmarks.harness.pictures import COLOURS, grid
from benchmarks.harness.real_sets import SETS, RealSet
from benchmarks.harness.scoring import main_score, rows_of_every_label, scores
from benchmarks.harness.tables import lines

OURS: dict[str, dict[str, Any]] = {
    "smooth": {"operator": "smooth"},
    "displace": {"operator": "displace"},
    "displace, 2 passes": {"operator": "displace", "n_passes": 2},
}
PEERS = ("harmonypy", "scanorama", "bbknn", "combat", "sphering")
DRAWS_NOTHING = ("raw", "scanorama", "bbknn", "combat", "sphering")
"""On a real set these give the same for every seed, so they run once there."""
MIXTURE = "mixture"
REAL = {
    "CPJUMP1 by plate": SETS[0],
    "BBBC021 by week": SETS[1],
    "BBBC021 by plate": SETS[2],
    "BBBC021 cells": SETS[3],
}
RETRIEVAL = "cross_batch_map"
LEAST_WIDTH = 0.1
COLUMNS = {
    "total": "total",
    "batch": "batch side",
    "biology": "biology side",
    "same_label": "same label",
    "batch_mixing": "batch mixing",
    RETRIEVAL: "cross-batch mAP",
}


@dataclass(frozen=True)
class DataSet:
    """An embedding, and what its scores look at."""

    embedded: Embedded
    control: Bools
    across: Texts
    scored: Ints


def _generated(rows: int, n_each: int, seed: int) -> DataSet:
    made = generated(Mixture(rows, cluster_spread=SPREADS["overlapping"], seed=seed))
    scored = rows_of_every_label(made.label, n_each, seed)
    return DataSet(made, np.zeros(rows, dtype=bool), made.batch, scored)


def _read(which: RealSet, setting: Setting) -> DataSet:
    assert setting.data is not None
    described = which.annotations(setting.data)
    return DataSet(
        embedded=real(which, setting.data),
        control=(described["Metadata_pert_type"] == "negcon").to_numpy(),
        across=described[which.across].to_numpy(dtype=str),
        scored=np.flatnonzero(which.scored(described)),
    )


def measure(findings: Findings, setting: Setting) -> None:
    """Correct every set by every method and seed."""
    _ours(_generated(200, 1, 0), "displace", 0)  # Compiles.
    for seed in setting.sizes["seeds"]:
        data = _generated(setting.sizes["mixture_rows"], setting.sizes["scored_each"], seed)
        _methods(findings, setting, MIXTURE, data, seed)
    for name in setting.sizes["real"] if setting.data else ():
        data = _read(REAL[name], setting)
        for seed in setting.sizes["seeds"]:
            _methods(findings, setting, name, data, seed)


def _methods(findings: Findings, setting: Setting, name: str, data: DataSet, seed: int) -> None:
    there = setting.peers.versions()
    peers = [peer for peer in setting.sizes["peers"] if peer in there]
    if not data.control.any():
        peers = [peer for peer in peers if peer != "sphering"]
    for method in ("raw", *OURS, *peers):
        if name != MIXTURE and method in DRAWS_NOTHING and seed != setting.sizes["seeds"][0]:
            continue
        case = {"set": name, "method": method, "seed": seed}
        findings.measure(case, partial(_run, setting, data, method, seed))


def _run(setting: Setting, data: DataSet, method: str, seed: int) -> Mapping[str, float]:
    given = data.embedded
    if method == "raw":
        corrected, seconds = given.rows, 0.0
    elif method in OURS:
        corrected, seconds = _ours(data, method, seed)
    else:
        answer = setting.peers.answer(method, given.rows, given.batch, seed, data.control)
        corrected, seconds = answer.embedding, answer.seconds
    rows = data.scored
    found = scores(corrected[rows], given.rows[rows], given.batch[rows], given.label[rows])
    if find_spec("copairs"):
        ranked = cross_batch_precision(corrected[rows], given.label[rows], data.across[rows])
        found["cross_batch_map"] = round(float(np.nanmean(ranked["average_precision"])), 5)
    return {"seconds": round(seconds, 3), **found}


def _ours(data: DataSet, method: str, seed: int) -> tuple[Floats, float]:
    model = Balans(n_components=None, random_state=seed, **OURS[method])
    began = time.perf_counter()
    corrected = model.fit_transform(data.embedded.rows, batch=data.embedded.batch)
    return corrected, time.perf_counter() - began


def tables(findings: Findings) -> list[str]:
    """One table a data set, of the scores that were measured."""
    return [f"## {name}\n\n{_table(findings, name)}" for name in findings.each("set")]


def _table(findings: Findings, name: str) -> str:
    present = [each for each in COLUMNS if findings.of(set=name)[0].get(each) is not None]
    head = ["method", *(COLUMNS[each] for each in present), "seconds"]
    rows = [
        [method, *(spread(values_of(findings, name, method, each), 3) for each in present),
         spread(values_of(findings, name, method, "seconds"), 2)]
        for method in findings.each("method", set=name)
    ]  # fmt: skip
    return lines(head, rows)


def picture(findings: Findings) -> Figure:
    """Medians and ranges of the main score, a panel a data set."""
    score, names = main_score(findings)[0], findings.each("set")
    figure, axes = grid(len(names), 3)
    for axis, name in zip(axes, names, strict=True):
        _panel(axis, findings, name, score)
    handles = axes[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle("Corrections beside other methods: medians and ranges over seeds")
    return figure


def _panel(axis: Any, findings: Findings, name: str, score: str) -> None:
    shown = [method for method in findings.each("method") if method != "raw"]
    raw = median(values_of(findings, name, "raw", score))
    axis.axvline(raw, color=COLOURS[6], lw=1, ls="--", label="uncorrected")
    for label, colour in (("ours", COLOURS[0]), ("other methods", COLOURS[5])):
        axis.plot([], [], "o", color=colour, ms=5, label=label)
    for place, method in enumerate(shown):
        values = values_of(findings, name, method, score)
        if values:
            middle, colour = median(values), COLOURS[0 if method in OURS else 5]
            bar = [[middle - min(values)], [max(values) - middle]]
            axis.errorbar(middle, place, xerr=bar, fmt="o", ms=5, capsize=3, color=colour)
    low, high = axis.get_xlim()
    # Differences that mean nothing should not fill the panel.
    wider = max(0.0, LEAST_WIDTH - (high - low)) / 2
    axis.set_xlim(low - wider, high + wider)
    for place, method in enumerate(shown):
        if not values_of(findings, name, method, score):
            axis.text(low - wider, place, "  not measured", color="0.5", va="center", fontsize=8)
    axis.xaxis.set_major_locator(MaxNLocator(5))
    axis.set_yticks(range(len(shown)), shown)
    axis.set(title=name, xlabel=f"{COLUMNS[score]} (higher is better)", ylim=(len(shown), -1))


def values_of(findings: Findings, name: str, method: str, figure: str) -> list[float]:
    """Return one figure of a method, by seed."""
    runs = findings.of(set=name, method=method)
    return [run[figure] for run in runs if run.get(figure) is not None]


def ranked(findings: Findings, name: str, score: str) -> list[tuple[str, float]]:
    """Medians of all methods on a set, the highest first."""
    methods = findings.each("method", set=name)
    found = [(method, median(values_of(findings, name, method, score))) for method in methods]
    return sorted(found, key=lambda each: -each[1])


EXPERIMENT = Experiment(
    name="baselines",
    sizes={
        "tiny": {"seeds": (0, 1), "mixture_rows": 600, "scored_each": 20, "real": (),
                 "peers": PEERS},
        "small": {"seeds": (0, 1), "mixture_rows": 3000, "scored_each": 50,
                  "real": ("CPJUMP1 by plate", "BBBC021 by week"), "peers": PEERS},
        "full": {"seeds": (0, 1, 2), "mixture_rows": 10_000, "scored_each": 100,
                 "real": tuple(REAL), "peers": (*PEERS, "scvi")},
    },
    measure=measure, tables=tables, picture=picture, beside_peers=True,
)  # fmt: skip
