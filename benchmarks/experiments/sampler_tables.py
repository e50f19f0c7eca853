"""What the experiment on blocks of draws found: tables and plot."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

from benchmarks.experiments.sampler_comparisons import ALONE, Tested, tested
from benchmarks.harness.findings import Findings, spread
from benchmarks.harness.pictures import COLOURS, grid
from benchmarks.harness.tables import lines

__all__ = ["picture", "tables"]

TICKS = (-30, -10, -3, -1, 0, 1, 3, 10, 30)


def tables(findings: Findings) -> list[str]:
    """Write every test, and how the sampler compares with the package."""
    head = ["mixture, figure", "block", "one at a time", "difference", "95 % interval",
            "p, mean", "p, distribution", "detectable", "margin", "verdict"]  # fmt: skip
    rows = [_row(test) for test in tested(findings)]
    head_runs = ["mixture", "block", "runs", "rows drawn", "same-label share", "batch mixing",
                 "first rows as Balans draws them"]  # fmt: skip
    runs = [
        [run["mixture"], f"{run['block_rows']}", f"{len(run['rows_drawn'])}",
         spread(run["rows_drawn"], 0), spread(run["same_label"], 3), spread(run["mixing"], 3),
         f"{run['as_package']:.0%}"]
        for run in findings.record["runs"]
    ]  # fmt: skip
    n_tests = sum(len(test.p_values) for test in tested(findings))
    return [
        "## At the stop: median (range) over runs\n",
        lines(head_runs, runs),
        f"## Beside one row at a time: p-values corrected for {n_tests} tests\n",
        lines(head, rows),
    ]


def _row(test: Tested) -> list[str]:
    place = [f"{test.mixture}: {test.name}", f"{test.block}"]
    if test.found is None:
        return [*place, "-", "-", "-", "-", f"{test.p_values[0]:.3f}", "-", "-", test.verdict]
    digits = ".1f" if test.figure == "rows_drawn" else ".4f"
    interval = f"[{test.found.low:+{digits}}, {test.found.high:+{digits}}]"
    numbers = (test.smallest, test.margin)
    return [
        *place,
        f"{test.mean:{digits}}",
        f"{test.found.difference:+{digits}}",
        interval,
        *(f"{p:.3f}" for p in test.p_values),
        *(f"{number:{digits}}" for number in numbers),
        test.verdict,
    ]


def picture(findings: Findings) -> Figure:
    """Draw differences in units of their margin, and the landmarks of clusters by size."""
    kinds = list(dict.fromkeys(run["mixture"] for run in findings.record["runs"]))
    figure, axes = grid(2 * len(kinds), 2)
    figure.set_size_inches(11, 4.6 * len(kinds))
    tests = tested(findings)
    for number, kind in enumerate(kinds):
        here = [test for test in tests if test.mixture == kind and test.found is not None]
        _differences_panel(axes[2 * number], here, kind)
        _clusters_panel(axes[2 * number + 1], findings, kind)
    known = dict(zip(*axes[1].get_legend_handles_labels()[::-1], strict=True))
    margin = axes[0].patches[0]
    figure.legend(
        [*known.values(), margin], [*known, margin.get_label()],
        loc="outside lower center", ncols=6, frameon=False, fontsize=9,
    )  # fmt: skip
    n_seeds = len(findings.record["options"]["sizes"]["seeds"])
    figure.suptitle(f"Rows drawn in blocks beside one row at a time ({n_seeds} runs a group)")
    return figure


def _differences_panel(axis: Any, tests: list[Tested], kind: str) -> None:
    names = list(dict.fromkeys(test.name for test in tests))
    blocks = list(dict.fromkeys(test.block for test in tests))
    for number, block in enumerate(blocks):
        here = [test for test in tests if test.block == block]
        places = np.arange(len(here)) + 0.22 * (number - (len(blocks) - 1) / 2)
        middle = np.array([test.found.difference / test.margin for test in here])
        low = np.array([test.found.low / test.margin for test in here])
        high = np.array([test.found.high / test.margin for test in here])
        axis.errorbar(middle, places, xerr=[middle - low, high - middle], fmt="o", ms=4, capsize=2,
                      color=COLOURS[number + 1], label=f"blocks of {block}")  # fmt: skip
    axis.axvspan(-1, 1, color="0.92", zorder=0, label="within the margin")
    axis.axvline(0, color="black", lw=0.8)
    axis.set_yticks(np.arange(len(names)), names, fontsize=8)
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.set_xscale("symlog", linthresh=1)
    axis.set_xticks(TICKS, [f"{tick:g}" for tick in TICKS])
    axis.set_xticks([], minor=True)
    reach = max(1.6, 1.3 * max(abs(side) / test.margin for test in tests
                               for side in (test.found.low, test.found.high)))  # fmt: skip
    axis.set_xlim(-reach, reach)
    axis.set_xlabel("difference of means / margin (bars: 95 % interval)")
    axis.set_title(f"{kind} clusters", fontsize=10)


def _clusters_panel(axis: Any, findings: Findings, kind: str) -> None:
    first = min(findings.record["options"]["sizes"]["after"])
    for number, run in enumerate(findings.of(mixture=kind)):
        order = np.argsort(run["cluster_sizes"])
        counts = np.array(run[f"clusters_{first}"], dtype=float)[:, order]
        error = counts.std(axis=0, ddof=1) / np.sqrt(len(counts))
        block = run["block_rows"]
        label = "one at a time" if block == ALONE else f"blocks of {block}"
        sizes = np.array(run["cluster_sizes"])[order] * (1 + 0.012 * (number - 1.5))
        axis.errorbar(sizes, counts.mean(axis=0), yerr=1.96 * error, fmt="o-", ms=3, lw=0.8,
                      capsize=2, color=COLOURS[number], label=label)  # fmt: skip
    known = np.sort(findings.of(mixture=kind)[0]["cluster_sizes"])
    axis.plot(known, first * known / known.sum(), "k--", lw=1, label="in proportion to size")
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter(ScalarFormatter())
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_xlabel("rows of the cluster")
    axis.set_ylabel(f"landmarks of the first {first}\n(mean, bars: 95 % interval)")
    axis.set_title(f"{kind} clusters", fontsize=10)
