"""What the experiment on the pseudo-inverse found: tables."""

from collections.abc import Sequence
from typing import Any

from benchmarks.experiments.pseudo_inverse_operators import LIMITS, OPERATORS, known, values_of
from benchmarks.harness.findings import Findings, spread
from benchmarks.harness.tables import lines

__all__ = ["tables"]

FIGURES = {
    "amplified": "amplified",
    "small_leaked": "leaked, small clusters",
    "small_same_label": "same label, small clusters",
    "leaked": "leaked, all",
    "same_label": "same label, all",
    "mixing": "mixing",
}


def tables(findings: Findings) -> list[str]:
    """Write every mixture and operator."""
    shown = [name for name in FIGURES if any(name in run for run in findings.record["runs"])]
    head = ["sizes, noise, operator", *(f"error, {limit}" for limit in LIMITS),
            *(FIGURES[name] for name in shown), "rows of small clusters", "landmarks"]  # fmt: skip
    parts = []
    for clusters in values_of(findings, "clusters"):
        rows = [
            _row(findings.of(clusters=clusters, ratio=ratio, noise_ratio=noise, operator=operator),
                 f"1:{ratio:,}, 1:{noise}, {operator}", shown)
            for ratio in values_of(findings, "ratio")
            for noise in values_of(findings, "noise_ratio")
            for operator in ("raw", *OPERATORS, *LIMITS)
        ]  # fmt: skip
        parts += [f"## {clusters}: median (range) over seeds\n", lines(head, rows)]
    return parts


def _row(runs: list[dict[str, Any]], name: str, shown: Sequence[str]) -> list[str]:
    errors = [
        spread([run["errors"][limit] for run in runs if "errors" in run], 2) for limit in LIMITS
    ]
    figures = [spread(known(runs, each), 3) for each in shown]
    counts = [spread([run[each] for run in runs], 0) for each in ("small_rows", "n_landmarks")]
    return [name, *errors, *figures, *counts]
