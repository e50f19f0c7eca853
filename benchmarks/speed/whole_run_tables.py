"""The figures of `whole_run.py` as Markdown and as a plot."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from balans_dask.errors import format_bytes
from benchmarks.harness.findings import Findings, median, spread
from benchmarks.harness.pictures import panels, spread_line
from benchmarks.harness.tables import lines

__all__ = ["HARMONY", "picture", "startup_table", "table"]

HARMONY = "harmonypy"
ALONE = "run_harmony alone"
COLUMNS = ["method", "seconds", "of harmonypy", "peak memory", "planned", "landmarks",
           "rare covered", "total", "biology", "batch"]  # fmt: skip
COVERED = 0.5


def startup_table(findings: Findings) -> str:
    """Start-up: a whole run of a thousand rows."""
    rows = []
    for kept, meaning in ((True, "kernels from an earlier run"), (False, "kernels compiled")):
        starts = dict.fromkeys(run["start"] for run in findings.of(kernels_kept=kept))
        for name in starts:
            seconds = findings.values("seconds", start=name, kernels_kept=kept)
            rows.append([f"{name}, {meaning}", spread(seconds)])
    return "## Start-up: 1,000 rows\n\n" + lines(["balans correct", "seconds"], rows)


def table(findings: Findings, case: Mapping[str, Any]) -> str:
    """One data set's figures."""
    names = list(dict.fromkeys(run["method"] for run in findings.of(**case)))
    beside = median(findings.values("seconds", **case, method=HARMONY))
    rows = [_row(name, findings.of(**case, method=name), beside) for name in names]
    rows += _harmony_alone(findings.of(**case, method=HARMONY), beside)
    rows += _raw(findings.of(**case))
    title = f"{case['n_rows']:,} rows, {case['n_batches']} batches, {case['clusters']} clusters"
    return f"## {title}\n\n{lines(COLUMNS, rows)}"


def _row(name: str, runs: Sequence[Mapping[str, Any]], beside: float) -> list[str]:
    seconds = [run["seconds"] for run in runs]
    first = runs[0]
    rare = first.get("rare_covered")
    n_covered = sum(share >= COVERED for share in rare or [])
    return [
        name,
        spread(seconds),
        _ratio(seconds, beside),
        format_bytes(max(run["peak_bytes"] for run in runs)),
        format_bytes(first["planned_bytes"]) if "planned_bytes" in first else "-",
        f"{first['n_landmarks']:,}" if "n_landmarks" in first else "-",
        f"{n_covered} of {len(rare)}" if rare else "-",
        *_scores(next((run["scores"]["corrected"] for run in runs if "scores" in run), None)),
    ]


def _harmony_alone(runs: Sequence[Mapping[str, Any]], beside: float) -> list[list[str]]:
    if not runs:
        return []
    seconds = [run["steps"]["harmony"] for run in runs]
    row = [ALONE, spread(seconds), _ratio(seconds, beside)]
    return [row + ["-"] * (len(COLUMNS) - len(row))]


def _ratio(seconds: Sequence[float], beside: float) -> str:
    return "-" if math.isnan(beside) else f"{median(seconds) / beside:.2f}"


def _raw(runs: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    found = [run["scores"]["raw"] for run in runs if "scores" in run]
    return [["raw", *["-"] * 6, *_scores(found[0])]] if found else []


def _scores(scores: Mapping[str, float] | None) -> list[str]:
    names = ("total", "biology", "batch")
    return ["-"] * 3 if scores is None else [f"{scores[name]:.3f}" for name in names]


def picture(findings: Findings, cases: Sequence[Mapping[str, Any]]) -> Figure:
    """Seconds over rows, a panel for every number of batches and kind of clusters."""
    kinds = list(dict.fromkeys((case["clusters"], case["n_batches"]) for case in cases))
    figure, axes = panels(len(kinds))
    for axis, (clusters, n_batches) in zip(axes, kinds, strict=True):
        case = {"clusters": clusters, "n_batches": n_batches}
        for name in dict.fromkeys(run["method"] for run in findings.of(**case)):
            sizes = sorted({run["n_rows"] for run in findings.of(**case, method=name)})
            seconds = [findings.values("seconds", **case, method=name, n_rows=n) for n in sizes]
            spread_line(axis, sizes, seconds, name)
        axis.set(
            xscale="log",
            yscale="log",
            title=f"{clusters}, {n_batches} batches",
            xlabel="rows",
            ylabel="seconds",
        )
        axis.legend(frameon=False, fontsize=8)
    return figure
