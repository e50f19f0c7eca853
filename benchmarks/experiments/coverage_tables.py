"""Tables and picture of the experiment on coverage."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks.experiments.coverage_figures import (
    BALANS,
    MARKS,
    at_stop,
    bound_of,
    cluster_cases,
    covered_at_auto,
    each_of,
    kinds_of,
    needed,
    of_clusters,
    samplers_of,
    sets_of,
    stops,
)
from benchmarks.harness.findings import Findings, median, spread
from benchmarks.harness.pictures import COLOURS, grid, spread_line
from benchmarks.harness.tables import lines

__all__ = ["picture", "tables"]


def tables(findings: Findings) -> list[str]:
    """Write samplers, stops, and numbers of clusters."""
    return [
        "## Samplers\n",
        _samplers(findings),
        "## Where the rules stop\n",
        _stops(findings),
        "## Rows for every cluster\n",
        _clusters(findings),
    ]


def _samplers(findings: Findings) -> str:
    shares = list(findings.of(part="samplers")[0]["samplers"][BALANS]["needed"])
    head = ["set", "sampler", *(f"rows to {float(share):.0%}" for share in shares),
            "covered at the stop, %", "clusters, %"]  # fmt: skip
    rows = []
    for name in sets_of(findings):
        for sampler in samplers_of(findings):
            cells = [_finite(needed(findings, name, sampler, share)) for share in shares]
            for figure in ("rows", "clusters"):
                percent = [100 * value for value in at_stop(findings, name, sampler, figure)]
                cells.append(spread(percent, 2))
            rows.append([name, sampler, *cells])
    return lines(head, rows)


def _finite(values: list[float]) -> str:
    """Write rows drawn; some seeds may not have come there."""
    reached = [value for value in values if np.isfinite(value)]
    if not reached:
        return "not reached"
    missing = len(values) - len(reached)
    return spread(reached, 0) + (f", {missing} of {len(values)} not" if missing else "")


def _stops(findings: Findings) -> str:
    rows = []
    for name in sets_of(findings):
        case = {"part": "samplers", "set": name}
        n_rows, n_clusters = (findings.of(**case)[0][key] for key in ("n_rows", "n_clusters"))
        uncovered = [100 * (1 - at) for at in covered_at_auto(findings, name)]
        rows.append([name, f"{n_rows:,}", f"{n_clusters:,}",
                     *(spread(stops(findings, rule, **case), 0) for rule in MARKS),
                     spread(uncovered, 2)])  # fmt: skip
    head = ["set", "rows", "clusters", "patience", "auto", "uncovered at the stop of auto, %"]
    return lines(head, rows)


def _clusters(findings: Findings) -> str:
    ts = each_of(findings)
    head = ["K", "sizes", "smallest", "every cluster covered", "patience stops", "auto stops"]
    for t in ts:
        head += [f"{t} each: BALANS", "uniform", bound_of(t)]
    rows = []
    for case in cluster_cases(findings):
        cells = [f"{case['n_clusters']:,}", case["clusters"],
                 spread(findings.values("smallest", **case), 0),
                 _finite(of_clusters(findings, "covered", None, case)),
                 *(spread(stops(findings, rule, **case), 0) for rule in MARKS)]  # fmt: skip
        for t in ts:
            cells += [_finite(of_clusters(findings, figure, t, case))
                      for figure in ("landmarks", "uniform", "bound")]  # fmt: skip
        rows.append(cells)
    return lines(head, rows)


def picture(findings: Findings) -> Figure:
    """Draw uncovered rows over rows drawn for each set, and rows over clusters."""
    names = sets_of(findings)
    kinds = kinds_of(findings)
    figure, axes = grid(len(names) + len(kinds), 3)
    for axis, name in zip(axes, names, strict=False):
        _of_set(findings, axis, name)
    axes[0].legend(frameon=False, fontsize=7, loc="lower left")
    for axis, kind in zip(axes[len(names) :], kinds, strict=True):
        _of_clusters(findings, axis, kind)
    axes[len(names)].legend(frameon=False, fontsize=7)
    return figure


def _of_set(findings: Findings, axis: Any, name: str) -> None:
    runs = findings.of(part="samplers", set=name)
    n_rows = runs[0]["n_rows"]
    for sampler, colour in zip(samplers_of(findings), COLOURS, strict=False):
        for number, run in enumerate(runs):
            uncovered = [1 - share for share in run["samplers"][sampler]["rows"]]
            label = sampler if number == 0 else None
            width = 1.6 if sampler == BALANS else 0.9
            axis.plot(run["drawn"], uncovered, "-", color=colour, lw=width, label=label)
    for rule, style in MARKS.items():
        stop = median(stops(findings, rule, part="samplers", set=name))
        axis.axvline(stop, color="0.4", ls=style, lw=1, label=f"stop of {rule}")
    axis.set_yscale("symlog", linthresh=10 / n_rows, linscale=0.3)
    axis.set(xscale="log", ylim=(0, 1.1), xlabel="rows drawn", ylabel="share of rows uncovered")
    axis.set_title(f"{name}, {n_rows:,} rows, one line a seed", fontsize=9)


def _of_clusters(findings: Findings, axis: Any, kind: str) -> None:
    cases = [case for case in cluster_cases(findings) if case["clusters"] == kind]
    numbers = [case["n_clusters"] for case in cases]
    drawn = [("all covered, BALANS", "covered", None, "o-")]
    drawn += [(f"{t} each, BALANS", "landmarks", t, "s-") for t in each_of(findings)]
    drawn += [(f"{t} each, uniform", "uniform", t, "^-") for t in each_of(findings)]
    for (label, figure, t, fmt), colour in zip(drawn, COLOURS, strict=False):
        found = [(k, of_clusters(findings, figure, t, case)) for k, case in zip(numbers, cases,
                 strict=True)]  # fmt: skip
        found = [(k, values) for k, values in found if np.isfinite(values).all()]
        if found:
            spread_line(axis, [k for k, _ in found], [values for _, values in found], label,
                        color=colour, fmt=fmt)  # fmt: skip
    for t, style in zip(each_of(findings), ("--", ":"), strict=False):
        bound = [int(t) * k * np.log(k) for k in numbers]
        axis.plot(numbers, bound, style, color="0.4", lw=1, label=bound_of(t))
    axis.set(xscale="log", yscale="log", xlabel="clusters K", ylabel="rows drawn")
    axis.set_title(f"{kind} clusters: rows until all have t landmarks", fontsize=9)
