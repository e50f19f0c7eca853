"""Where a total misleads: corrections that mix batches by losing what they should keep."""

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["NULL", "OVERSMOOTHED", "RAW", "SHUFFLED", "cautions"]

RAW = "raw"
NULL = "null: "
SHUFFLED = f"{NULL}shuffled labels"
OVERSMOOTHED = f"{NULL}over-smoothed"
KEPT = 0.9
"""Share of raw's precision of replicates below which a correction has lost some: the operators that
keep replicates keep all of it on real profiles."""


def cautions(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say which corrections their total makes look better than they are.

    Parameters
    ----------
    rows : sequence of mapping
        ``name`` and scores by name, of an ``EvaluationTable``.

    Returns
    -------
    lines : list of str
    """
    by_name = {row["name"]: row for row in rows}
    lines = []
    for row in rows:
        name = row["name"]
        if name.startswith((NULL, f"{RAW} of ")) or name == RAW:
            continue
        null = by_name.get(OVERSMOOTHED)
        if null is not None and row["total"] <= null["total"]:
            lines.append(f"{name} scores no better than over-smoothing: do not use it")
        elif null is not None and row["biology"] <= null["biology"]:
            lines.append(f"{name} keeps no more biology than over-smoothing: do not use it")
        if RAW in by_name and row["map"] < KEPT * by_name[RAW]["map"]:
            kept = row["map"] / by_name[RAW]["map"]
            lines.append(f"{name} keeps {kept:.0%} of raw's mAP: replicates were lost")
    return lines
