"""Batches against labels: where they are confounded, no correction can tell them apart."""

import keyword
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from balans_dask.errors import setting
from balans_dask.labels import BatchLabels, labels_of_column, spelled

__all__ = [
    "CONFOUNDED",
    "LABEL_COLUMNS",
    "RULE",
    "Contingency",
    "Factor",
    "NegativeControls",
    "contingency",
    "factor",
    "labels_beside",
    "negative_controls",
    "said_of_confounding",
    "treated",
]

LABEL_COLUMNS = (
    "Metadata_pert_iname", "Metadata_moa", "Metadata_compound", "Metadata_treatment",
    "Metadata_JCP2022", "Metadata_InChIKey", "Metadata_broad_sample", "Metadata_gene",
    "Metadata_label", "label", "cell_type",
)  # fmt: skip
"""Columns that hold what should stay; the first one that is there is the label."""
CONTROL_COLUMNS = ("Metadata_pert_type", "Metadata_control_type")
NEGATIVE = (
    "negcon", "negative_control", "negative control", "ctl_vehicle", "DMSO", "dmso",
    "JCP2022_033924", "untreated",
)  # fmt: skip
"""What negative controls are called; the last but one is DMSO among the compounds of JUMP."""
CONFOUNDED_SHARE = 0.2
CONFOUNDED_V = 0.5
CONFOUNDED = "confounded"
RULE = (
    f"Batch and label count as {CONFOUNDED} where {CONFOUNDED_SHARE:.0%} of the labels of two rows "
    "or more lie in one batch only, beyond those expected there by chance, or where Cram\u00e9r's "
    f"V, corrected for chance (Bergsma 2013), is {CONFOUNDED_V} or more."
)


@dataclass(frozen=True)
class Factor:
    """A column of labels as groups of rows.

    Attributes
    ----------
    column : str
    codes : ndarray of shape (n_rows,), integer
        Place in ``names``; -1 where it is missing.
    names : list of str
    """

    column: str
    codes: NDArray[np.integer]
    names: list[str]

    def of(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Names of the groups of some rows."""
        names = np.array([*self.names, "(missing)"], dtype=object)
        return np.asarray(names[self.codes[rows]])


def factor(column: Any, name: str) -> Factor:
    """Make groups of a column's values; missing ones are in none."""
    codes, values = labels_of_column(column, name)
    return Factor(name, codes, [spelled(value) for value in values])


def labels_beside(y: Any, n_rows: int) -> Factor | None:
    """Make groups of what a caller of an estimator calls ``y``; ``None`` if it is no labels.

    Parameters
    ----------
    y : object
        An estimator ignores it, so it may be anything.
    """
    if y is None:
        return None
    try:
        # What Dask is to compute has a graph.
        if getattr(y, "__dask_graph__", lambda: None)() is not None:
            return None
        return factor(y, "y") if np.ndim(y) == 1 and len(y) == n_rows else None
    except (TypeError, ValueError):
        return None


@dataclass(frozen=True)
class NegativeControls:
    """Rows that are there to be compared.

    Attributes
    ----------
    query : str
        Which names them.
    rows : ndarray of shape (n_rows,), bool
    """

    query: str
    rows: NDArray[np.bool_]

    def advice(self, labels: BatchLabels) -> str:
        """Say how to use them, if they are in every batch."""
        n_batches = len(np.unique(labels.codes[self.rows]))
        found = (
            f"{int(self.rows.sum()):,} negative controls are in {n_batches:,} of "
            f"{labels.n_batches:,} batches"
        )
        if n_batches < labels.n_batches:
            return f"{found} only, and tell nothing of the others"
        return f"{found}: give {setting('controls', self.query)}"


def negative_controls(obs: pd.DataFrame, label_key: str | None = None) -> NegativeControls | None:
    """Find negative controls by how they are called, in the usual columns first.

    Parameters
    ----------
    obs : DataFrame
        Annotations of the rows.
    label_key : str or None
        A column in which to look before others.

    Returns
    -------
    controls : NegativeControls or None
        Two rows at least, and not all of them.
    """
    asked = [] if label_key is None else [label_key]
    there = [*CONTROL_COLUMNS, *asked, *LABEL_COLUMNS, *obs.columns]
    for name in dict.fromkeys(there):
        column = obs.get(name)
        # A name that several columns have gives a table.
        if not isinstance(column, pd.Series) or column.dtype.kind != "O":
            continue
        found = column[column.isin(NEGATIVE)]
        for value in filter(set(found).__contains__, NEGATIVE):
            rows = (column == value).to_numpy(dtype=bool, na_value=False)
            if 2 <= rows.sum() < len(rows):
                return NegativeControls(_query(str(name), value), rows)
    return None


def _query(name: str, value: str) -> str:
    if name.isidentifier() and not keyword.iskeyword(name):
        return f"{name} == '{value}'"
    # In a shell, backticks ask for quotes of the other kind around them.
    return f'`{name.replace("`", "``")}` == "{value}"'


@dataclass(frozen=True)
class Contingency:
    """Rows by batch and label, as the pairs that occur.

    Attributes
    ----------
    batches, labels : sequence of str
    batch, label : ndarray of shape (n_pairs,), integer
        Places in ``batches`` and ``labels``.
    n_rows : ndarray of shape (n_pairs,), int64
    """

    batches: Sequence[str]
    labels: Sequence[str]
    batch: NDArray[np.integer]
    label: NDArray[np.integer]
    n_rows: NDArray[np.int64]

    @property
    def batch_sizes(self) -> NDArray[np.int64]:
        """Labelled rows of every batch."""
        return self._sums(self.batch, len(self.batches))

    @property
    def label_sizes(self) -> NDArray[np.int64]:
        """Rows of every label."""
        return self._sums(self.label, len(self.labels))

    @property
    def repeated(self) -> NDArray[np.bool_]:
        """Labels that could lie in several batches: those of two rows or more."""
        return np.asarray(self.label_sizes >= 2)

    @property
    def single(self) -> NDArray[np.bool_]:
        """Repeated labels that lie in one batch only."""
        n_batches = np.bincount(self.label, minlength=len(self.labels))
        return np.asarray(self.repeated & (n_batches == 1))

    @property
    def is_one_to_one(self) -> bool:
        """Whether every batch is a label, and every label a batch."""
        n_batches, n_labels = len(np.unique(self.batch)), len(np.unique(self.label))
        named = (len(self.batches), len(self.labels))
        return len(self.n_rows) > 1 and {len(self.n_rows)} == {n_batches, n_labels, *named}

    @property
    def excess_single(self) -> float:
        """Share of repeated labels in a single batch, of those that chance does not put there."""
        if not self.repeated.any() or len(self.batches) < 2:
            return 0.0
        shares = self.batch_sizes / self.n_rows.sum()
        sizes, n_labels = np.unique(self.label_sizes[self.repeated], return_counts=True)
        expected = [float((shares**size).sum()) for size in sizes]
        by_chance = float(np.average(expected, weights=n_labels))
        found = float(self.single.sum() / self.repeated.sum())
        return max(0.0, (found - by_chance) / (1.0 - by_chance)) if by_chance < 1.0 else 0.0

    @property
    def cramers_v(self) -> float:
        """Cram\u00e9r's V with Bergsma's correction, from 0 to 1."""
        n = int(self.n_rows.sum())
        r, c = (int((sizes > 0).sum()) for sizes in (self.batch_sizes, self.label_sizes))
        if min(r, c) < 2:
            return 0.0
        expected = self.batch_sizes[self.batch] * self.label_sizes[self.label].astype(float)
        phi2 = float((self.n_rows.astype(float) ** 2 / expected).sum()) - 1.0
        phi2 = max(0.0, phi2 - (r - 1) * (c - 1) / (n - 1))
        rows, columns = r - (r - 1) ** 2 / (n - 1), c - (c - 1) ** 2 / (n - 1)
        most = min(rows, columns) - 1.0
        return min(1.0, float(np.sqrt(phi2 / most))) if most > 0 else 0.0

    @property
    def is_confounded(self) -> bool:
        """Whether ``RULE`` holds."""
        return self.excess_single >= CONFOUNDED_SHARE or self.cramers_v >= CONFOUNDED_V

    @property
    def summary(self) -> str:
        """Both figures of the rule, in words."""
        return (
            f"{int(self.single.sum()):,} of {int(self.repeated.sum()):,} labels of two rows or "
            f"more lie in one batch only; Cram\u00e9r's V {self.cramers_v:.2f}"
        )

    def _sums(self, places: NDArray[np.integer], size: int) -> NDArray[np.int64]:
        return np.bincount(places, self.n_rows, minlength=size).astype(np.int64)


def contingency(
    batch: NDArray[np.integer],
    batches: Sequence[str],
    label: NDArray[np.integer],
    labels: Sequence[str],
) -> Contingency:
    """Count rows by batch and label.

    Parameters
    ----------
    batch, label : ndarray of shape (n_rows,), integer
        Places in ``batches`` and ``labels``; a row without a label has -1.
    batches, labels : sequence of str
    """
    known = np.asarray(label) >= 0
    pairs = np.asarray(batch)[known].astype(np.int64) * len(labels) + np.asarray(label)[known]
    found, n_rows = np.unique(pairs, return_counts=True)
    first, second = np.divmod(found, max(len(labels), 1))
    return Contingency(batches, labels, first, second, n_rows)


def said_of_confounding(
    labels: BatchLabels,
    label: Factor,
    controls: NegativeControls | None = None,
    name: str = "batch",
    tied: bool = False,
) -> str:
    """Say that a correction cannot tell labels from batches; empty where it can.

    Parameters
    ----------
    controls : NegativeControls or None
        They are in every batch on purpose, and would hide that the rest is not.
    name : str
        What makes the batches.
    tied : bool
        The correction uses controls, so it need not tell.
    """
    whole = contingency(labels.codes, labels.names, label.codes, label.names)
    if whole.is_one_to_one:
        return (
            f"the {labels.n_batches:,} batches of {name} are the {len(label.names):,} labels of "
            f"{label.column}: to align them is to remove what tells labels apart, so choose "
            f"another {setting('batch')}"
        )
    counts = treated(labels, label, controls)
    if tied or not counts.is_confounded:
        return ""
    advice = f"name negative controls, if every batch has some, by {setting('controls')}"
    if controls is not None:
        advice = controls.advice(labels)
    found = f"labels of {label.column} keep to few batches of {name} each"
    if counts.excess_single >= CONFOUNDED_SHARE:
        found = (
            f"{int(counts.single.sum()):,} of {int(counts.repeated.sum()):,} labels of "
            f"{label.column} with two rows or more lie in one {name} only"
        )
    return (
        f"treatments are confined to batches: {found} (Cram\u00e9r's V {counts.cramers_v:.2f}), so "
        "no correction over all rows can tell what they do from what their batch does, and it may "
        f"remove both; {advice}"
    )


def treated(
    labels: BatchLabels, label: Factor, controls: NegativeControls | None = None
) -> Contingency:
    """Count rows by batch and label, but for controls."""
    counted = slice(None) if controls is None else ~controls.rows
    return contingency(labels.codes[counted], labels.names, label.codes[counted], label.names)
