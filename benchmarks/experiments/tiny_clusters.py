"""Experiment 4: ten thousand tiny clusters, and how many of them the landmarks reach."""

import math
from functools import partial
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from balans_dask import Balans
from balans_dask.workflows.mixture import Mixture
from benchmarks.harness.arrays import Ints
from benchmarks.harness.experiment import Experiment, Setting
from benchmarks.harness.findings import Findings, median, spread
from benchmarks.harness.mixtures import BATCH, TREATMENT
from benchmarks.harness.pictures import COLOURS, panels
from benchmarks.harness.plain_affinities import (
    draws_of_clusters,
    first_to_cover,
    landmarks_of,
    nth_landmark,
    shares_after,
)
from benchmarks.harness.scoring import rows_of_every_label
from benchmarks.harness.tables import lines

N_LOOKED_AT = 20
SPREADS = {"far apart": 3.0, "separated": 1.0}
"""Deviation of cluster means; the second as in our other benchmarks."""
OWN_LANDMARK = "1 landmark"
OWN = {1: OWN_LANDMARK, 2: "2 landmarks", 3: "3 landmarks"}
RULES = {"patience": ":", "auto": "--"}


def reach(mixture: Mixture, max_rows: int) -> dict[str, Any]:
    """Draw by both rules, and count the clusters that are reached after so many rows."""
    values = np.concatenate([rows for _, rows in mixture.slabs(65_536)])
    obs = mixture.annotations()
    batch = obs[BATCH].to_numpy(dtype=str)
    cluster = obs[TREATMENT].cat.codes.to_numpy().astype(np.int64)
    models = {
        rule: Balans(
            operator="smooth",
            n_components=None,
            stopping=rule,
            max_rows=max_rows,
            random_state=mixture.seed,
        ).fit(values, batch=batch)
        for rule in RULES
    }
    stops = {rule: len(model.sampled_rows_) for rule, model in models.items()}
    longest = max(models.values(), key=lambda model: len(model.sampled_rows_))
    looked_at = rows_of_every_label(cluster, N_LOOKED_AT, mixture.seed)
    first = first_to_cover(values, batch, landmarks_of(longest), looked_at)
    draws = {
        "covered": draws_of_clusters(first, cluster[looked_at], 0.5),
        "touched": draws_of_clusters(first, cluster[looked_at], 0.0),
    }
    of_landmarks = cluster[longest.sampled_rows_]
    draws |= {name: nth_landmark(of_landmarks, mixture.n_clusters, t) for t, name in OWN.items()}
    drawn = np.unique(np.geomspace(1, max(stops.values()), 40).round().astype(np.int64))
    return {
        "stops": stops,
        "stopped_by": {rule: model.stop_reason_ for rule, model in models.items()},
        "rows_covered": {
            rule: float((model.coverage_ > 0).mean()) for rule, model in models.items()
        },
        "drawn": drawn.tolist(),
        "shares": {name: shares_after(each, drawn) for name, each in draws.items()},
        "at_stop": {rule: _at(draws, n_drawn) for rule, n_drawn in stops.items()},
        "foreign_only": {
            rule: round(float(_foreign_only(draws, n_drawn)), 6) for rule, n_drawn in stops.items()
        },
        "smallest": int(np.bincount(cluster).min()),
    }


def _at(draws: dict[str, Ints], n_drawn: int) -> dict[str, float]:
    return {name: shares_after(each, np.array([n_drawn]))[0] for name, each in draws.items()}


def _foreign_only(draws: dict[str, Ints], n_drawn: int) -> float:
    """Share of clusters that are covered without a landmark of their own."""
    covered, own = draws["covered"] <= n_drawn, draws[OWN_LANDMARK] <= n_drawn
    return float((covered & ~own).mean())


def measure(findings: Findings, setting: Setting) -> None:
    """Draw landmarks of both kinds of mixtures, once for each seed."""
    sizes = setting.sizes
    for seed in sizes["seeds"]:
        for kind in sizes["kinds"]:
            mixture = Mixture(
                sizes["rows"], n_clusters=sizes["clusters"], cluster_spread=SPREADS[kind], seed=seed
            )
            case = {"kind": kind, "n_rows": sizes["rows"], "n_clusters": sizes["clusters"]}
            bound = math.ceil(sizes["draws_per_cluster"] * sizes["clusters"])
            run = partial(reach, mixture, bound)
            findings.measure(case | {"seed": seed, "bound": bound}, run)


def stops(findings: Findings, kind: str, rule: str) -> list[float]:
    """Rows drawn by a rule, by seed."""
    return [run["stops"][rule] for run in findings.of(kind=kind)]


def reached(findings: Findings, kind: str, rule: str, name: str) -> list[float]:
    """Share of clusters that are reached where a rule stops, by seed."""
    return [run["at_stop"][rule][name] for run in findings.of(kind=kind)]


def reasons(findings: Findings, kind: str, rule: str) -> list[str]:
    """Why runs of a rule ended, each once."""
    return sorted({run["stopped_by"][rule] for run in findings.of(kind=kind)})


def tables(findings: Findings) -> list[str]:
    """Write what is reached where the rules stop."""
    first = findings.of()[0]
    n_clusters = first["n_clusters"]
    names = list(first["shares"])
    head = ["clusters", "rule", "ended by", "rows drawn", "of K", "of K log K", "rows covered, %",
            *(f"{name}, %" for name in names)]  # fmt: skip
    rows = []
    for kind in findings.each("kind"):
        for rule in RULES:
            drawn = stops(findings, kind, rule)
            covered = [100 * run["rows_covered"][rule] for run in findings.of(kind=kind)]
            shares = [[100 * share for share in reached(findings, kind, rule, name)]
                      for name in names]  # fmt: skip
            rows.append([kind, rule, ", ".join(reasons(findings, kind, rule)), spread(drawn, 0),
                         f"{median(drawn) / n_clusters:.2f}",
                         f"{median(drawn) / (n_clusters * np.log(n_clusters)):.2f}",
                         spread(covered, 2), *(spread(each, 2) for each in shares)])  # fmt: skip
    head_line = (
        f"{n_clusters:,} clusters in {first['n_rows']:,} rows; the smallest has "
        f"{first['smallest']:,} rows. Columns from *covered* on are shares of the clusters.\n"
    )
    return [head_line, lines(head, rows)]


def picture(findings: Findings) -> Figure:
    """Draw the share of clusters that are reached over rows drawn."""
    kinds = findings.each("kind")
    figure, axes = panels(len(kinds))
    for axis, kind in zip(axes, kinds, strict=True):
        _of_kind(findings, axis, kind)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", frameon=False, fontsize=8)
    return figure


def _of_kind(findings: Findings, axis: Any, kind: str) -> None:
    runs = findings.of(kind=kind)
    for name, colour in zip(runs[0]["shares"], COLOURS, strict=False):
        for number, run in enumerate(runs):
            label = f"clusters: {name}" if number == 0 else None
            axis.plot(run["drawn"], run["shares"][name], "-", color=colour, lw=1.2, label=label)
    for rule, style in RULES.items():
        stop = median(stops(findings, kind, rule))
        ends = "bound" if reasons(findings, kind, rule) == ["max_rows"] else "stop"
        axis.axvline(stop, color="0.3", ls=style, lw=1, label=f"{ends} of {rule}")
    n_clusters = runs[0]["n_clusters"]
    for t in (1, 2):
        mark = t * n_clusters * np.log(n_clusters)
        axis.axvline(
            mark, color="#D55E00", ls="-.", lw=1, label=None if t > 1 else "t K log K, t above"
        )
        axis.text(mark, 1.03, f"{t}", color="#D55E00", fontsize=7, ha="center")
    axis.set(xscale="log", ylim=(0, 1.08), xlabel="rows drawn", ylabel="share of clusters")
    title = f"{n_clusters:,} clusters {kind},\n{runs[0]['n_rows']:,} rows, one line a seed"
    axis.set_title(title, fontsize=9)


EXPERIMENT = Experiment(
    name="tiny_clusters",
    sizes={
        "tiny": {"rows": 3000, "clusters": 30, "kinds": ("far apart",), "draws_per_cluster": 8,
                 "seeds": (0,)},
        "small": {"rows": 200_000, "clusters": 1000, "kinds": tuple(SPREADS),
                  "draws_per_cluster": 8, "seeds": (0, 1)},
        "full": {"rows": 5_000_000, "clusters": 10_000, "kinds": ("far apart",),
                 "draws_per_cluster": 1.6, "seeds": (0,)},
    },
    measure=measure, tables=tables, picture=picture,
)  # fmt: skip
