"""The figures of `leave_one_plate_out.py` as Markdown."""

from collections.abc import Mapping
from typing import Any

from benchmarks.harness.tables import interval, lines

__all__ = ["POOLED", "markdown"]

POOLED = "each plate when left out"
GOAL = 0.01
HEAD = """# A plate that the fit did not see: CPJUMP1

Made by `python -m benchmarks.quality.leave_one_plate_out`. Three plates are fitted by
`balans correct --model`, the fourth is corrected by `balans transform`; *refitted*: all four by
`balans correct`. Options are the defaults but for those named.

- cross-batch mAP over all four plates: queries rank the wells of other plates; positives are wells
  of the same compound. Of the queries of the plate left out, and of all queries.
- Difference: left out minus refitted, with the 95 % interval of a paired bootstrap that draws whole
  compounds. Goal: not more than {goal} below.
- own plate: share of the 10 Euclidean nearest neighbours that are of the query's own plate. It is
  here because raw profiles would meet the goal too where a correction moves retrieval little
  (see *raw*): an unseen plate that stayed apart would show here. Compare with *refitted*.
- bytes: whether every file of the input and output stores of the three plates and of the model has
  the same hash after `transform` as before.
- The last row of a method takes every well once, from the run that left its plate out.
"""
COLUMNS = [
    "plate left out", "queries", "raw", "refitted", "left out", "difference",
    "own plate: raw", "refitted", "left out", "uncovered", "bytes",
]  # fmt: skip
QUERIES = {"left_out_queries": "of that plate", "all_queries": "all"}


def markdown(record: Mapping[str, Any]) -> str:
    """Write a table for every method, and whether the goal is met."""
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    parts = [HEAD.format(goal=GOAL), f"Versions: {versions}.\n"]
    for method, plates in record["methods"].items():
        parts.append(f"## {method}\n")
        rows = [
            _row(plate, words, found[kind], found)
            for plate, found in plates.items()
            for kind, words in QUERIES.items()
            if kind in found
        ]
        parts.append(lines(COLUMNS, rows))
        parts.append(_verdict(plates) + "\n")
    return "\n".join(parts)


def _row(plate: str, words: str, means: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    kinds = ("raw", "refitted", "left_out")
    return [
        plate,
        words,
        *(f"{means[kind]['cross_batch_map']:.4f}" for kind in kinds),
        interval(means["difference"]),
        *(f"{means[kind]['own_plate']:.3f}" for kind in kinds),
        f"{found['uncovered']:.3f}",
        "unchanged" if found["unchanged"] else "CHANGED",
    ]


def _verdict(plates: Mapping[str, Any]) -> str:
    found = [one[kind]["difference"] for one in plates.values() for kind in QUERIES if kind in one]
    lowest, end = min(found)[0], min(low for _, low, _ in found)
    met = "Met" if lowest >= -GOAL else "Missed"
    return (
        f"{met}: the lowest difference is {lowest:+.4f}, the lowest end of an interval {end:+.4f}."
    )
