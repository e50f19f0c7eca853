"""Tables, picture and reading of the experiment on tiny clusters."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks.experiments.wording import bullets, listed, span
from benchmarks.harness.findings import Findings, median, spread
from benchmarks.harness.pictures import COLOURS, panels
from benchmarks.harness.tables import lines

__all__ = ["OWN_LANDMARK", "picture", "reading", "tables"]

OWN_LANDMARK = "1 landmark"
RULES = {"patience": ":", "auto": "--"}
ASKED = {"n_rows": 5_000_000, "n_clusters": 10_000}
"""What the question is of."""


def kinds_of(findings: Findings) -> list[str]:
    """Kinds of mixtures, in order."""
    return list(dict.fromkeys(run["kind"] for run in findings.of()))


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
    for kind in kinds_of(findings):
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
    kinds = kinds_of(findings)
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


def reading(findings: Findings) -> list[str]:
    """Say what was found, first in short."""
    first = findings.of()[0]
    asked = all(first[name] == value for name, value in ASKED.items())
    scaled = [] if asked else [
        f"Scaled down: {first['n_clusters']:,} clusters of {1 / first['n_clusters']:.2%} each in "
        f"{first['n_rows']:,} rows stand for {ASKED['n_clusters']:,} of "
        f"{1 / ASKED['n_clusters']:.2%} in {ASKED['n_rows']:,}."
    ]  # fmt: skip
    foreign = [
        f"{_foreign(findings, kind, 'patience')} ({_foreign(findings, kind, 'auto')} where `auto` "
        f"stops) of those {kind}"
        for kind in kinds_of(findings)
    ]
    return [
        _in_short(findings),
        *scaled,
        bullets(each for kind in kinds_of(findings) for each in _said(findings, kind)),
        "*Covered by others.* Coverage knows affinities, not clusters. Landmarks of other clusters "
        f"alone cover {listed(foreign)}.",
    ]


def _in_short(findings: Findings) -> str:
    kinds, n_clusters = kinds_of(findings), findings.of()[0]["n_clusters"]
    drawn = [median(stops(findings, kind, "patience")) / n_clusters for kind in kinds]
    found = {
        (rule, name): span((median(reached(findings, kind, rule, name)) for kind in kinds), ".1%")
        for rule in RULES
        for name in ("covered", OWN_LANDMARK)
    }
    ended = {_ended(findings, kind, "patience") for kind in kinds}
    return (
        f"With {n_clusters:,} tiny clusters the paper's rule {listed(sorted(ended))} after "
        f"{span((each / np.log(n_clusters) for each in drawn), '.2f')} of K log K rows: "
        f"{found['patience', 'covered']} of the clusters are covered then, and "
        f"{found['patience', OWN_LANDMARK]} have a landmark of their own "
        f"({found['auto', OWN_LANDMARK]} where `auto` stops)."
    )


def _ended(findings: Findings, kind: str, rule: str) -> str:
    bounded = "max_rows" in reasons(findings, kind, rule)
    return "is ended by the bound" if bounded else "stops"


def _said(findings: Findings, kind: str) -> list[str]:
    """Say what is reached where each rule ends."""
    n_clusters = findings.of(kind=kind)[0]["n_clusters"]
    bound = n_clusters * np.log(n_clusters)
    said = []
    alike = stops(findings, kind, "patience") == stops(findings, kind, "auto")
    for rule in ("patience",) if alike else RULES:
        drawn = median(stops(findings, kind, rule))
        named = "`patience`, and `auto` at the same row," if alike else f"`{rule}`"
        covered, touched, own = (
            median(reached(findings, kind, rule, name))
            for name in ("covered", "touched", OWN_LANDMARK)
        )
        said.append(
            f"clusters {kind}: {named} {_ended(findings, kind, rule)} after {drawn:,.0f} rows "
            f"({drawn / n_clusters:.2f} K, {drawn / bound:.2f} of K log K) with {covered:.2%} of "
            f"the clusters covered, {touched:.2%} touched and {own:.2%} with a landmark of their "
            "own"
        )
    return said


def _foreign(findings: Findings, kind: str, rule: str) -> str:
    """Share of clusters that are covered by landmarks of others alone where a rule stops."""
    return f"{median([run['foreign_only'][rule] for run in findings.of(kind=kind)]):.2%}"
