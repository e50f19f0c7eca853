"""The operators of the experiment on the pseudo-inverse, and their figures."""

from typing import Any

from benchmarks.harness.findings import Findings

__all__ = ["LIMITS", "LIMIT_OF", "OPERATORS", "known", "values_of"]

LIMIT_OF = {
    "smooth": "A^T A",
    "landmark-normalised": "A^T Lambda A",
    "nystrom": "A",
    "nystrom, by row": "A",
}
"""What each operator becomes when every row is a landmark."""
OPERATORS = tuple(LIMIT_OF)
LIMITS = tuple(dict.fromkeys(LIMIT_OF.values()))


def known(runs: list[dict[str, Any]], name: str) -> list[float]:
    """One figure of the runs that have it; the error is that against the dense A."""
    if name == "error":
        return [run["errors"]["A"] for run in runs]
    return [run[name] for run in runs if run.get(name) is not None]


def values_of(findings: Findings, name: str) -> list[Any]:
    """List the values of a part of the cases, in order."""
    return list(dict.fromkeys(run[name] for run in findings.record["runs"]))
