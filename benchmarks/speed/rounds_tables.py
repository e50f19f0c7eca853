"""The figures of `rounds.py` as Markdown and as a plot."""

from collections.abc import Collection
from typing import Any

from matplotlib.figure import Figure

from benchmarks.harness.findings import Findings, median, spread
from benchmarks.harness.pictures import panels
from benchmarks.harness.tables import lines

__all__ = ["INLINE", "picture", "table"]

INLINE = "one thread, no Dask"


def table(
    findings: Findings, cases: list[dict[str, Any]], clusters: Collection[str], n_workers: int
) -> str:
    """Write all cases."""
    head = ["case", "rows a block", "partitions", "tasks a round", "round, ms", "ms a task",
            "tasks' own work, ms", "not their work, ms a task", "share of the round"]  # fmt: skip
    return lines(head, [_row(findings, case, n_workers, cluster)
                        for case in cases for cluster in clusters])  # fmt: skip


def _row(findings: Findings, case: dict[str, Any], n_workers: int, cluster: str) -> list[str]:
    milliseconds = [1000 * s for s in _rounds(findings, case, cluster)]
    own = [1000 * s / n_workers for s in _rounds(findings, case, INLINE)]
    n_tasks = findings.of(**case, engine=INLINE)[0]["n_tasks"]
    run = findings.of(**case, engine=cluster)[0]
    rest = median(milliseconds) - median(own)
    return [
        f"{case['partitions']}, {cluster}",
        f"{case['block_rows']}",
        f"{run['n_partitions']:,} of {run['partition_rows']:,} rows",
        f"{n_tasks:,}",
        spread(milliseconds, 0),
        f"{median(milliseconds) / n_tasks:.2f}",
        spread(own, 0),
        f"{rest / n_tasks:.2f}",
        f"{rest / median(milliseconds):.0%}",
    ]


def _rounds(findings: Findings, case: dict[str, Any], engine: str) -> list[float]:
    return [seconds for run in findings.of(**case, engine=engine) for seconds in run["rounds"]]


def picture(
    findings: Findings, cases: list[dict[str, Any]], clusters: Collection[str], n_workers: int
) -> Figure:
    """Draw every round as a bar: the tasks' own work, and the rest."""
    figure, axes = panels(len(cases))
    for axis, case in zip(axes, cases, strict=True):
        whole = [median(_rounds(findings, case, cluster)) for cluster in clusters]
        own = median(_rounds(findings, case, INLINE)) / n_workers
        axis.bar(list(clusters), [own] * len(whole), label="tasks' own work")
        rest = [max(0.0, seconds - own) for seconds in whole]
        axis.bar(list(clusters), rest, bottom=[own] * len(whole), label="the rest")
        title = f"{case['partitions']} partitions, blocks of {case['block_rows']}"
        axis.set(title=title, ylabel="seconds a round")
        axis.legend(frameon=False, fontsize=8)
    return figure
