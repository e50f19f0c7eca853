"""Batches against labels: where they are confounded, no correction can tell them apart."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from balans_dask.report.page import label_text, name_rows, shown, styled

__all__ = ["CONFOUNDED", "RULE", "Contingency", "contingency", "contingency_figure"]

CONFOUNDED_SHARE = 0.2
CONFOUNDED_V = 0.5
CONFOUNDED = "confounded"
RULE = (
    f"Batch and label count as {CONFOUNDED} where {CONFOUNDED_SHARE:.0%} of the labels of two rows "
    "or more lie in one batch only, beyond those expected there by chance, or where Cram\u00e9r's "
    f"V, corrected for chance (Bergsma 2013), is {CONFOUNDED_V} or more."
)
CELLS = 30
"""Batches, and labels, that the figure shows."""


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


@styled
def contingency_figure(counts: Contingency) -> Figure:
    """Draw the share of every label's rows that lies in every batch; the largest of both.

    Parameters
    ----------
    counts : Contingency
    """
    columns, rows = shown(counts.batch_sizes, CELLS), shown(counts.label_sizes, CELLS)
    # Of controls, which do not count, the name alone is left.
    rows = rows[counts.label_sizes[rows] > 0]
    shares = np.zeros((len(counts.labels), len(columns)))
    inside = np.isin(counts.batch, columns)
    place = np.searchsorted(columns, counts.batch[inside])
    label = counts.label[inside]
    shares[label, place] = counts.n_rows[inside] / counts.label_sizes[label]
    figure = Figure(figsize=(4.2, 1.6 + 0.17 * len(rows)), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares[rows], aspect="auto", cmap="Blues", vmin=0, vmax=1)
    name_rows(axes, [counts.labels[i] for i in rows])
    names = [label_text(counts.batches[i]) for i in columns]
    axes.set_xticks(range(len(columns)), names, rotation=90, fontsize=7)
    figure.colorbar(image, label="share of the label's rows", location="top", aspect=30)
    return figure
