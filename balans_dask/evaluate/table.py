"""One table for several corrections of the same rows, with raw and null models beside them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

from balans_dask.errors import InvalidInputError
from balans_dask.evaluate.definitions import (
    BLOCKS,
    HEADINGS,
    OF_CONTROLS,
    OVERSMOOTHED,
    SHUFFLED,
    SPREAD,
    cautions,
    definitions_of,
)
from balans_dask.evaluate.null_models import oversmoothed, shuffled
from balans_dask.evaluate.rows import LEAST_ROWS, Embedding, read_embeddings, sampled_rows
from balans_dask.evaluate.scib import library
from balans_dask.evaluate.scoring import RowLabels, all_scores
from balans_dask.evaluate.stores import open_stores

__all__ = ["EvaluationTable", "evaluate_stores"]

LIBRARIES = {"scib_metrics": "scib-metrics", "copairs.map": "copairs"}


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
) -> EvaluationTable:
    """Score corrections of the same rows.

    Parameters
    ----------
    paths : sequence of str
        Stores that `balans correct` or `balans transform` wrote. The first may be their input.
    batch_keys : sequence of str
        Columns of ``obs``; several make joint batches.
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
        Of the sample and of the shuffled labels.
    raw : bool
        Score the inputs that the stores name, too.
    nulls : bool
        Score shuffled labels and over-smoothed profiles, too.

    Returns
    -------
    table : EvaluationTable

    Raises
    ------
    InvalidInputError
        If a store, a column or the query cannot be used, or a library is missing.
    """
    if max_rows < LEAST_ROWS:
        raise InvalidInputError(f"max_rows must be at least {LEAST_ROWS}, got {max_rows}")
    stores = open_stores(paths, batch_keys, raw)
    chosen = sampled_rows(
        stores[0].store, batch_keys, label_key, control, compound_key, max_rows, seed
    )
    for module in LIBRARIES:
        library(module)
    embeddings = read_embeddings(stores, chosen.numbers)
    rows = [
        {"name": one.name, **all_scores(chosen.labels, one.scores, one.before)}
        for one in embeddings
    ]
    if nulls:
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
            "versions": {name: version(name) for name in LIBRARIES.values()},
        },
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
