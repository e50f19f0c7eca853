"""The settings of the experiment on stopping, and what they change."""

from typing import Any

from benchmarks.harness.findings import Findings
from benchmarks.harness.real_sets import SETS

__all__ = ["DEFAULT", "KINDS", "REAL", "chosen_of", "paired", "ratio"]

REAL = SETS[0]
DEFAULT: dict[str, Any] = {
    "patience": 50,
    "block_rows": 64,
    "coverage_tol": 0.0,
    "stopping": "patience",
}
KINDS = {
    "patience": "patience",
    "block_rows": "rows a block",
    "coverage_tol": "tolerance",
    "stopping": "rule",
}


def _beside(findings: Findings, run: dict[str, Any]) -> dict[str, Any]:
    same = {name: run[name] for name in ("data", "operator", "seed")}
    return findings.of(**same, **DEFAULT)[0]


def ratio(findings: Findings, runs: list[dict[str, Any]], key: str) -> list[float]:
    """One figure over that of the default with the same seed."""
    return [run[key] / _beside(findings, run)[key] for run in runs]


def paired(findings: Findings, runs: list[dict[str, Any]], key: str) -> list[float]:
    """One figure minus that of the default with the same seed."""
    return [run[key] - _beside(findings, run)[key] for run in runs]


def chosen_of(findings: Findings, data: str, operator: str) -> list[dict[str, Any]]:
    """List the settings that were run, in order."""
    runs = findings.of(data=data, operator=operator)
    every = [{name: run[name] for name in DEFAULT} for run in runs]
    chosen = [each for place, each in enumerate(every) if each not in every[:place]]
    return sorted(chosen, key=_place)


def _place(chosen: dict[str, Any]) -> list[Any]:
    """Order of a setting: the default, then one parameter after the other."""
    changed = [name for name in DEFAULT if chosen[name] != DEFAULT[name]]
    places = [list(DEFAULT).index(name) for name in changed]
    return [len(changed), places, [chosen[name] for name in changed]]
