"""The figures of `real_profiles.py` as Markdown."""

from collections.abc import Mapping
from typing import Any

from benchmarks.harness.tables import interval, lines

__all__ = ["markdown"]

COLUMNS = {
    "total": "total",
    "batch": "batch side",
    "biology": "biology side",
    "ilisi": "iLISI",
    "kbet": "kBET",
    "silhouette_batch": "batch silhouette",
    "pcr": "PCR",
    "graph_connectivity": "graph conn.",
    "clisi": "cLISI",
    "nmi": "NMI",
    "ari": "ARI",
    "silhouette_label": "label silhouette",
}
RETRIEVAL = {
    "map": "mAP",
    "map_significant": "significant",
    "cross_batch_map": "cross-batch mAP",
    "cross_batch_map_significant": "significant",
    "cross_batch_map_own_negatives": "with own batch's negatives",
    "nscb": "NSCB",
    "control_purity": "DMSO week purity",
    "shift_followed": "shift followed",
    "control_map": "mAP against DMSO",
    "control_map_significant": "significant",
    "variance_kept": "variance kept",
}
INTERVALS = {
    "map": "mAP",
    "cross_batch_map": "cross-batch mAP",
    "cross_batch_map_own_negatives": "with own batch's negatives",
}
HEAD = """# Corrections of real profiles

Made by `python -m benchmarks.quality.real_profiles`; seed {seed} throughout.

- Scored: {embedding}.
- harmonypy gets the raw scores and its own defaults; its row is the mean over random_state
  {harmony_seeds} (standard deviation of the total), the precision of every query likewise.
  *best seed*: the one of the highest cross-batch mAP.
- *no guard*: `--max-scale-ratio none`; *anchors*: DMSO wells, by whose deviation features are
  standardised: *raw, anchors* are the raw scores of these rows. Other options are the defaults.
- total = 0.4 batch side + 0.6 biology side, each the plain mean of its scores, which are those of
  scib-metrics. kBET is per label and skips labels of less than 10 rows; where none is larger it is
  left out of the mean. The batch silhouette skips labels with one row a batch: of the 302 compounds
  of cpjump1_compound_csn it sees the 18 that lie twice on every plate.
  NMI and ARI: k-means of as many clusters as labels, mean of five seeds (standard deviation).
- mAP: copairs, cosine. cross-batch mAP: positives in other batches (of bbbc021_well: other weeks),
  negatives likewise; *with own batch's negatives*: negatives in any batch, harder where batches lie
  apart. *significant*: share of labels above 10,000 shuffled rankings at corrected p < 0.05.
- NSCB: nearest mean profile of a treatment (cosine) of another compound and another week has the
  same mechanism; over the treatments for which one exists. DMSO week purity: share of the 10
  Euclidean nearest DMSO wells, among DMSO wells, that are of the well's own week.
- *shift followed*: how far treated wells moved along the mean move of their plate's DMSO wells; 0
  where only DMSO wells are corrected, which DMSO purity and NSCB together would reward.
- Differences: mean and 95 % interval of a paired bootstrap that draws whole compounds (of
  bbbc021_singlecell: fields of view).
- Labels of bbbc021_well are mechanisms; DMSO wells are corrected, but not scored by label.
- `null: shuffled labels` and `null: over-smoothed` (each row three times the mean of its nearest
  quarter) are there to read the others by.
"""


def markdown(record: Mapping[str, Any]) -> str:
    """Write all tables."""
    seeds = ", ".join(str(seed) for seed in record["harmony_seeds"])
    parts = [HEAD.format(**(dict(record) | {"harmony_seeds": seeds}))]
    machine, versions = record["machine"], record["versions"]
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    parts.append(f"Machine: {machine['cpus']} x {machine['processor']}. Versions: {listed}.\n")
    for name, methods in record["sets"].items():
        parts.append(f"## {name}\n")
        parts.append(_table(COLUMNS, methods))
        parts.append(_table(RETRIEVAL, methods))
        parts.extend(
            _intervals(other, methods) for other in ("harmonypy", "raw") if other in methods
        )
    return "\n".join(parts)


def _table(columns: Mapping[str, str], methods: Mapping[str, Any]) -> str:
    present = [c for c in columns if any(c in m["scores"] for m in methods.values())]
    head = ["method", *(columns[c] for c in present)]
    rows = [[name, *(_cell(m["scores"], c) for c in present)] for name, m in methods.items()]
    return lines(head, rows)


def _cell(scores: Mapping[str, float | None], name: str) -> str:
    value, spread = scores.get(name), scores.get(f"{name}_sd")
    if value is None:
        return "-"
    return f"{value:.3f}" if spread is None else f"{value:.3f} ({spread:.3f})"


def _intervals(other: str, methods: Mapping[str, Any]) -> str:
    rows = [
        [name, *(interval(m["differences"][other][c]) for c in INTERVALS)]
        for name, m in methods.items()
        if other in m["differences"]
    ]
    return lines([f"minus {other}", *INTERVALS.values()], rows)
