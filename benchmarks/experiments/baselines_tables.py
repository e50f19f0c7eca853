"""What `baselines.py` found: tables and plot."""

from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from benchmarks.harness.findings import Findings, median, spread
from benchmarks.harness.pictures import COLOURS, grid
from benchmarks.harness.scoring import main_score
from benchmarks.harness.tables import lines

__all__ = [
    "BEST",
    "COLUMNS",
    "OURS",
    "RETRIEVAL",
    "methods_of",
    "picture",
    "ranked",
    "sets_of",
    "tables",
    "values_of",
]

RETRIEVAL = "cross_batch_map"
LEAST_WIDTH = 0.1
BEST = "displace, 2 passes"
OURS = ("smooth", "displace", BEST)
COLUMNS = {
    "total": "total",
    "batch": "batch side",
    "biology": "biology side",
    "same_label": "same label",
    "batch_mixing": "batch mixing",
    RETRIEVAL: "cross-batch mAP",
}


def tables(findings: Findings) -> list[str]:
    """One table a data set, of the scores that were measured."""
    return [f"## {name}\n\n{_table(findings, name)}" for name in sets_of(findings)]


def _table(findings: Findings, name: str) -> str:
    present = [each for each in COLUMNS if findings.of(set=name)[0].get(each) is not None]
    head = ["method", *(COLUMNS[each] for each in present), "seconds"]
    rows = [
        [method, *(spread(values_of(findings, name, method, each), 3) for each in present),
         spread(values_of(findings, name, method, "seconds"), 2)]
        for method in methods_of(findings, name)
    ]  # fmt: skip
    return lines(head, rows)


def picture(findings: Findings) -> Figure:
    """Medians and ranges of the main score, a panel a data set."""
    score, names = main_score(findings)[0], sets_of(findings)
    figure, axes = grid(len(names), 3)
    for axis, name in zip(axes, names, strict=True):
        _panel(axis, findings, name, score)
    handles = axes[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle("Corrections beside other methods: medians and ranges over seeds")
    return figure


def _panel(axis: Any, findings: Findings, name: str, score: str) -> None:
    shown = [method for method in methods_of(findings) if method != "raw"]
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


def sets_of(findings: Findings) -> list[str]:
    """Names of the sets, in order."""
    return list(dict.fromkeys(run["set"] for run in findings.record["runs"]))


def methods_of(findings: Findings, name: str | None = None) -> list[str]:
    """Names of the methods, of one set or of all, in order."""
    runs = findings.of(set=name) if name else findings.record["runs"]
    return list(dict.fromkeys(run["method"] for run in runs))


def values_of(findings: Findings, name: str, method: str, figure: str) -> list[float]:
    """Return one figure of a method, by seed."""
    runs = findings.of(set=name, method=method)
    return [run[figure] for run in runs if run.get(figure) is not None]


def ranked(findings: Findings, name: str, score: str) -> list[tuple[str, float]]:
    """Medians of all methods on a set, the highest first."""
    methods = methods_of(findings, name)
    found = [(method, median(values_of(findings, name, method, score))) for method in methods]
    return sorted(found, key=lambda each: -each[1])
