"""One table for several corrections of the same rows, with raw and null models beside them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

import numpy as np

from balans_dask.errors import InvalidInputError, printable
from balans_dask.evaluate.null_models import oversmoothed, shuffled
from balans_dask.evaluate.others import PeerMethods, opened, parted
from balans_dask.evaluate.rows import LEAST_ROWS, Embedding, read_embeddings, sampled_rows
from balans_dask.evaluate.scib import library
from balans_dask.evaluate.scoring import RowLabels, all_scores
from balans_dask.evaluate.stores import RAW, corrected_by, open_stores
from balans_dask.passes.stage import OnStage, Stage

__all__ = [
    "BLOCKS",
    "HEADINGS",
    "NULL",
    "OF_CONTROLS",
    "OVERSMOOTHED",
    "SHUFFLED",
    "SPREAD",
    "EvaluationTable",
    "cautions",
    "definitions_of",
    "evaluate_stores",
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
    "variance_kept": "raw scores are not known, or an embedding is not in their unit",
    "map": "no label has two rows",
    "map_significant": "no label has two rows",
    "cross_batch_map": "no label is in two batches",
    "cross_batch_map_significant": "no label is in two batches",
    "control_map": "no negative controls are named (--control), or none beside replicates",
    "control_map_significant": "no negative controls are named (--control)",
    "label_transfer": "no label is in two batches{other}",
}
NULL = "null: "
SHUFFLED = f"{NULL}shuffled labels"
OVERSMOOTHED = f"{NULL}over-smoothed"
KEPT = 0.9
"""Share of raw's precision of replicates below which a correction has lost some: the operators that
keep replicates keep all of it on real profiles."""
LIBRARIES = {"scib_metrics": "scib-metrics", "copairs.map": "copairs"}


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


@dataclass
class EvaluationTable:
    """Scores of raw, of corrections and of null models.

    Attributes
    ----------
    rows : list of dict
        ``name`` and scores by name, the best total first; NaN where a score is undefined.
    definitions : dict
        What every score means, and why one is undefined.
    facts : dict
        ``n_rows``, ``n_sampled``, ``n_ranked`` (in retrieval), ``n_unlabelled`` (left out),
        ``seed``, ``batch_key``, ``label_key``, ``control``, ``compound_key``, ``versions``.
    """

    rows: list[dict[str, Any]]
    definitions: dict[str, str]
    facts: dict[str, Any]

    def cells(self, block: str) -> tuple[list[str], list[list[str]]]:
        """Return the headings and lines of one side, as text; without controls, none of theirs.

        Parameters
        ----------
        block : {"batch side", "biology side", "retrieval"}
        """
        names = [name for name in BLOCKS[block] if self._is_shown(name)]
        lines = [[row["name"], *(_cell(row, name) for name in names)] for row in self.rows]
        return [block, *(HEADINGS[name] for name in names)], lines

    def footnotes(self) -> dict[str, str]:
        """Return what the headings mean; of equal ones, the first says it."""
        found: dict[str, str] = {}
        for name, text in filter(lambda item: self._is_shown(item[0]), self.definitions.items()):
            found.setdefault(HEADINGS[name], text)
        return found

    def _is_shown(self, name: str) -> bool:
        return self.facts["control"] is not None or name not in OF_CONTROLS

    def summary(self) -> str:
        """Say which rows were scored, and by what."""
        facts = self.facts
        text = f"{facts['n_sampled']:,} of {facts['n_rows']:,} rows"
        if facts["n_sampled"] < facts["n_rows"] - facts["n_unlabelled"]:
            text += f" (stratified by batch and label, seed {facts['seed']})"
        if facts["n_unlabelled"]:
            text += f", {facts['n_unlabelled']:,} without a label left out"
        if facts["n_ranked"] < facts["n_sampled"]:
            text += f"; retrieval among {facts['n_ranked']:,} of them"
        if facts["control"]:
            text += f"; controls ({facts['control']}) count as such alone"
        libraries = " ".join(f"{name} {found}" for name, found in facts["versions"].items())
        return f"{text}; batch {facts['batch_key']}, label {facts['label_key']}; {libraries}"

    def markdown(self) -> str:
        """Lay out all scores, with what they mean."""
        parts = []
        for block in BLOCKS:
            headings, lines = self.cells(block)
            rule = ["---", *(["--:"] * (len(headings) - 1))]
            parts.append("\n".join("| " + " | ".join(x) + " |" for x in [headings, rule, *lines]))
        told = [f"- {heading}: {text}" for heading, text in self.footnotes().items()]
        warned = "\n".join(f"- {line}" for line in cautions(self.rows))
        return "\n\n".join(filter(None, [self.summary(), *parts, warned, "\n".join(told)])) + "\n"


def evaluate_stores(
    paths: Sequence[str],
    batch_keys: Sequence[str],
    label_key: str,
    *,
    control: str | None = None,
    compound_key: str | None = None,
    max_rows: int = 20_000,
    seed: int = 0,
    raw: bool = True,
    nulls: bool = True,
    obsm: Sequence[str] = (),
    peers: Sequence[str] = (),
    peers_python: str | None = None,
    tell: OnStage = lambda stage: None,
) -> EvaluationTable:
    """Score corrections of the same rows.

    Parameters
    ----------
    paths : sequence of str
        Stores that `balans correct` or `balans transform` wrote. The first may be their input.
        After it, ``NAME=FILE``: an embedding of the same rows in the same order, in a file of
        ``.npy``, or in the numeric columns of one of ``.parquet``.
    batch_keys : sequence of str
        Columns of ``obs``; several make joint batches. Without any, those of the corrections.
    label_key : str
        Column with what should be told apart. Rows without a label are left out.
    control : str or None
        Query for negative controls, as ``rows_by_query`` takes it. Replicates are ranked against
        them, and they take part in no other score.
    compound_key : str or None
        Rows of the same compound do not vouch for each other's label.
    max_rows : int
        Larger stores are sampled, by batch and label.
    seed : int
        Of the sample, of the shuffled labels and of other methods.
    raw : bool
        Score the inputs that the stores name, too.
    nulls : bool
        Score shuffled labels and over-smoothed profiles, too.
    obsm : sequence of str
        Matrices of ``obsm`` of the first store that others made, to score too.
    peers : sequence of {"harmony", "combat", "sphering"}
        Methods that correct the raw scores, to score too; each in a process of its own.
    peers_python : str or None
        Interpreter that has these; ``None`` for the present one.
    tell : callable
        Told what is being done.

    Returns
    -------
    table : EvaluationTable

    Raises
    ------
    InvalidInputError
        If a store, a column or the query cannot be used, or a library is missing.
    RunError
        If another method fails.
    """
    if max_rows < LEAST_ROWS:
        raise InvalidInputError(f"max_rows must be at least {LEAST_ROWS}, got {max_rows}")
    given, files = parted(paths)
    batch_keys = batch_keys or corrected_by(given)
    stores = open_stores(given, batch_keys, raw)
    others = opened(stores[0], obsm, files)
    asked = PeerMethods(peers, peers_python, stores[0], control)
    corrected = [one.name for one in stores if one.corrected is not None]
    _require_apart([*corrected, *(one.name for one in others), *asked.names])
    chosen = sampled_rows(
        stores[0].store, batch_keys, label_key, control, compound_key, max_rows, seed
    )
    for module in LIBRARIES:
        library(module)
    others += asked.corrected(batch_keys, seed, tell)
    tell(Stage("reading scores"))
    embeddings = read_embeddings(stores, chosen.numbers)
    # The first raw scores are those of the first store, if it has some.
    before = None if stores[0].before is None else embeddings[0].scores
    embeddings += [one.at(chosen.numbers, before) for one in others]
    rows = []
    for one in embeddings:
        tell(Stage(f"scoring {printable(one.name)}"))
        found = all_scores(chosen.labels, one.scores, one.before)
        if not one.is_in_unit:
            found["variance_kept"] = math.nan
        rows.append({"name": one.name, **found})
    if nulls:
        tell(Stage("scoring null models"))
        rows += _null_rows(chosen.labels, embeddings[0], seed)
    return EvaluationTable(
        rows=sorted(rows, key=lambda row: -float(row["total"])),
        definitions=definitions_of(rows, compound_key),
        facts={
            "n_rows": stores[0].store.n_rows,
            "n_sampled": len(chosen.numbers),
            "n_ranked": len(chosen.labels.ranked),
            "n_unlabelled": chosen.n_unlabelled,
            "seed": seed,
            "batch_key": "+".join(batch_keys),
            "label_key": label_key,
            "control": control,
            "compound_key": compound_key,
            "versions": {name: version(name) for name in LIBRARIES.values()} | asked.versions(),
        },
    )


def _require_apart(names: Sequence[str]) -> None:
    """Refuse two embeddings of one name, and names that the table has for others."""
    for place, name in enumerate(names):
        taken = name == RAW or name in names[:place]
        if taken or name.startswith((NULL, f"{RAW} of ")):
            raise InvalidInputError(
                f"{name} is the name of something else in the table: give it another one, as in "
                "NAME=FILE"
            )


def _null_rows(labels: RowLabels, first: Embedding, seed: int) -> list[dict[str, Any]]:
    """Score what a correction should not be mistaken for, made of raw where that is known."""
    kept = ~labels.is_control
    elsewhere = labels.label.copy()
    elsewhere[kept] = shuffled(labels.label[kept], seed)
    by_chance = all_scores(replace(labels, label=elsewhere), first.scores, first.before)
    smooth = all_scores(labels, oversmoothed(first.scores), first.before)
    return [
        {"name": SHUFFLED, **by_chance},
        {"name": OVERSMOOTHED, **smooth},
    ]


def _cell(row: Mapping[str, Any], name: str) -> str:
    if math.isnan(row[name]):
        return "-"
    text = f"{row[name]:.3f}"
    return f"{text} ({row[SPREAD[name]]:.3f})" if name in SPREAD else text
