"""The figure of batches against labels."""

import numpy as np
from matplotlib.figure import Figure

from balans_dask.report.page import label_text, name_rows, shown, styled
from balans_dask.workflows.confounding import Contingency

__all__ = ["CELLS", "contingency_figure"]

CELLS = 30
"""Batches, and labels, that the figure shows."""


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
