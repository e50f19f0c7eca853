"""What every score of a table means, why one may be undefined, and which totals mislead."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

__all__ = [
    "BLOCKS",
    "HEADINGS",
    "NULL",
    "OF_CONTROLS",
    "OVERSMOOTHED",
    "RAW",
    "SHUFFLED",
    "SPREAD",
    "cautions",
    "definitions_of",
]

BLOCKS: dict[str, tuple[str, ...]] = {
    "batch side": (
        "total", "batch", "ilisi", "kbet", "silhouette_batch", "pcr", "graph_connectivity",
    ),
    "biology side": ("total", "biology", "clisi", "nmi", "ari", "silhouette_label"),
    "retrieval": (
        "map", "map_significant", "cross_batch_map", "cross_batch_map_significant", "control_map",
        "control_map_significant", "label_transfer", "variance_kept",
    ),
}  # fmt: skip
"""Scores in the order of the tables: what fits a terminal of 100 columns each, or of 80 columns
without those of controls."""
HEADINGS = {
    "total": "total",
    "batch": "mean",
    "biology": "mean",
    "ilisi": "iLISI",
    "kbet": "kBET",
    "silhouette_batch": "batch silh.",
    "pcr": "PCR",
    "graph_connectivity": "graph conn.",
    "clisi": "cLISI",
    "nmi": "NMI",
    "ari": "ARI",
    "silhouette_label": "label silh.",
    "map": "mAP",
    "map_significant": "signif.",
    "cross_batch_map": "cross-b. mAP",
    "cross_batch_map_significant": "signif.",
    "control_map": "control mAP",
    "control_map_significant": "signif.",
    "label_transfer": "1-NN",
    "variance_kept": "var. kept",
}
OF_CONTROLS = ("control_map", "control_map_significant")
"""Scores that need negative controls."""
SPREAD = {"nmi": "nmi_sd", "ari": "ari_sd"}
"""Scores with a standard deviation."""
MEANINGS = {
    "total": "0.4 x mean of the batch side + 0.6 x mean of the biology side, unscaled; an "
    "undefined score is left out of its mean",
    "batch": "plain mean of the side's scores",
    "biology": "plain mean of the side's scores",
    "ilisi": "inverse Simpson index of batches among 90 neighbours, median, scaled: 1 is mixed",
    "kbet": "share of rows whose 50 neighbours have the batches of their label, mean over labels: "
    "1 is mixed",
    "silhouette_batch": "1 - |silhouette of batches| within each label: 1 is mixed",
    "pcr": "share of the variance explained by batch that is gone since raw: 0 for raw itself",
    "graph_connectivity": "share of a label in its largest component of the graph of 15 "
    "neighbours, mean over labels: 1 is connected",
    "clisi": "inverse Simpson index of labels among 90 neighbours, median, scaled: 1 is pure",
    "nmi": "normalised mutual information of labels and k-means of as many clusters, mean of "
    "5 seeds (standard deviation): 1 is agreement",
    "ari": "adjusted Rand index of the same clusters (standard deviation): 1 is agreement, "
    "0 is chance",
    "silhouette_label": "(silhouette of labels + 1) / 2: 1 is separated",
    "map": "mean average precision (cosine): a row ranks all others, its replicates have its label",
    "map_significant": "share of labels whose mAP beats 10,000 shuffled rankings "
    "(Benjamini-Hochberg, p < 0.05)",
    "cross_batch_map": "mAP among rows of other batches alone",
    "cross_batch_map_significant": "as for mAP",
    "control_map": "mAP of replicates in any batch against the negative controls of the own batch",
    "control_map_significant": "as for mAP",
    "label_transfer": "share of rows whose nearest row (cosine) of another batch{other} has their "
    "label, where there is one",
    "variance_kept": "total variance as a share of that of raw",
}
REASONS = {
    "kbet": "no label has 10 rows in two batches, or one has them in more than 70",
    "silhouette_batch": "no label has two batches and two rows in one of them",
    "pcr": "raw scores are not known",
    "variance_kept": "raw scores are not known",
    "map": "no label has two rows",
    "map_significant": "no label has two rows",
    "cross_batch_map": "no label is in two batches",
    "cross_batch_map_significant": "no label is in two batches",
    "control_map": "no negative controls are named (--control), or none beside replicates",
    "control_map_significant": "no negative controls are named (--control)",
    "label_transfer": "no label is in two batches{other}",
}
RAW = "raw"
NULL = "null: "
SHUFFLED = f"{NULL}shuffled labels"
OVERSMOOTHED = f"{NULL}over-smoothed"
KEPT = 0.9
"""Share of raw's precision of replicates below which a correction has lost some: the operators that
keep replicates keep all of it on real profiles."""


def definitions_of(rows: Iterable[Mapping[str, Any]], compound_key: str | None) -> dict[str, str]:
    """Say what the scores of a table mean, and why those are undefined that are.

    Parameters
    ----------
    rows : iterable of mapping
        Scores by name.
    compound_key : str or None
        Column that tells which rows are no independent witnesses of a label.
    """
    rows = list(rows)
    other = "" if compound_key is None else f" and another {compound_key}"
    found = {}
    for name, meaning in MEANINGS.items():
        undefined = name in REASONS and any(np.isnan(row[name]) for row in rows)
        text = f"{meaning}; '-': {REASONS[name]}" if undefined else meaning
        found[name] = text.format(other=other)
    return found


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
