"""Tables and plot of what principal components lose."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks.harness.findings import Findings, median, spread
from benchmarks.harness.pictures import COLOURS, grid
from benchmarks.harness.tables import lines

__all__ = [
    "ALL",
    "DEFAULT",
    "RAW",
    "SIGNAL",
    "corrected_of",
    "named",
    "names_of",
    "own_of",
    "picture",
    "tables",
]

ALL, SIGNAL, RAW = "all features", "signal alone", "uncorrected"
DEFAULT = "50"
COLUMNS = {
    "signal_kept": "signal kept",
    "could_be_kept": "could be kept",
    "same_label": "same-label share",
    "batch_mixing": "mixing",
    "batch": "batch side",
    "biology": "biology side",
    "total": "total",
}
STYLES = {ALL: ("#888888", "s--"), SIGNAL: (COLOURS[6], "X:")}
MARKERS = ("v-", "o-", "^-", "D-", "P-")


def names_of(findings: Findings, key: str, **case: Any) -> list[Any]:
    """Return what was measured in these cases, in order."""
    return list(dict.fromkeys(run[key] for run in findings.of(**case)))


def tables(findings: Findings) -> list[str]:
    """Signal kept and scores of every number of components."""
    found = []
    for features in names_of(findings, "features"):
        for rank in sorted(names_of(findings, "rank", features=features)):
            found.append(f"## {features:,} features, signal of rank {rank}\n")
            case = {"features": features, "rank": rank}
            there = [c for c in COLUMNS if c in findings.of(**case)[0]]
            rows = [
                [components, method, *(_cell(findings, c, case, components, method) for c in there)]
                for components in names_of(findings, "components", **case)
                for method in names_of(findings, "method", **case)
            ]
            found.append(lines(["components", "method", *(COLUMNS[c] for c in there)], rows))
    return found


def _cell(
    findings: Findings, figure: str, case: dict[str, Any], components: str, method: str
) -> str:
    return spread(findings.values(figure, components=components, method=method, **case), 3)


def own_of(findings: Findings, features: int) -> str:
    """Components that stand for the default: 50, or what was measured in its place."""
    there = [c for c in names_of(findings, "components", features=features) if c.isdigit()]
    if features <= int(DEFAULT):
        return ALL
    return DEFAULT if DEFAULT in there else there[-1]


def corrected_of(findings: Findings) -> str:
    """Name the method that corrects."""
    return names_of(findings, "method")[-1]


def named(components: str) -> str:
    """Say what distances are taken in."""
    default = " (the default)" if components == DEFAULT else ""
    return f"{components} components{default}" if components.isdigit() else components


def picture(findings: Findings) -> Figure:
    """Signal kept above, same-label share below; a column a number of features."""
    widths, method = names_of(findings, "features"), corrected_of(findings)
    figure, axes = grid(2 * len(widths), len(widths))
    every = [c for c in names_of(findings, "components") if c.isdigit()]
    for column, features in enumerate(widths):
        upper, lower = axes[column], axes[len(widths) + column]
        ranks = sorted(names_of(findings, "rank", features=features))
        there = sorted(names_of(findings, "components", features=features), key=_order)
        for components in there:
            colour, form = STYLES.get(components) or (
                COLOURS[every.index(components)], MARKERS[every.index(components)],
            )  # fmt: skip
            drawn = {"color": colour, "fmt": form, "label": named(components)}
            case = {"features": features, "components": components, "method": method}
            if components.isdigit():
                _points(upper, findings, "signal_kept", ranks, case, drawn)
                could = [median(findings.values("could_be_kept", rank=r, **case)) for r in ranks]
                upper.plot(ranks, could, "_", ms=14, mew=1.5, color=colour)
            _points(lower, findings, "same_label", ranks, case, drawn)
        for axis in (upper, lower):
            axis.set_xscale("log")
            axis.set_xticks(ranks, [f"{rank}" for rank in ranks])
            axis.minorticks_off()
            axis.set_ylim(0, 1.04)
            axis.margins(x=0.2)
        upper.set_title(f"{features:,} features")
        lower.set_xlabel("rank of the signal")
    axes[0].set_ylabel("share of the signal's variance kept\n(bar: the most that could be)")
    axes[len(widths)].set_ylabel(f"same-label share of 5 neighbours\nafter {method}")
    handles: dict[str, Any] = {}
    for axis in axes[len(widths) :]:
        found, labels = axis.get_legend_handles_labels()
        handles |= dict(zip(labels, found, strict=True))
    handles = {name: handles[name] for name in sorted(handles, key=lambda n: _order(n.split()[0]))}
    figure.legend(
        handles.values(),
        handles.keys(),
        loc="outside lower center",
        ncols=len(widths),
        frameon=False,
        fontsize=9,
    )
    n_seeds = max(len(names_of(findings, "seed", features=features)) for features in widths)
    figure.suptitle(
        f"What principal components lose\n(medians and ranges of up to {n_seeds} seeds)",
        fontsize=11,
    )
    return figure


def _order(components: str) -> int:
    return int(components) if components.isdigit() else 10**9


def _points(
    axis: Any,
    findings: Findings,
    figure: str,
    ranks: list[int],
    case: dict[str, Any],
    drawn: dict[str, Any],
) -> None:
    values = [findings.values(figure, rank=rank, **case) for rank in ranks]
    middles = np.array([median(each) for each in values])
    bars = [middles - [min(v) for v in values], np.array([max(v) for v in values]) - middles]
    axis.errorbar(ranks, middles, bars, ms=5, lw=1.2, capsize=2, **drawn)
