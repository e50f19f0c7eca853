"""All scores of one embedding."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from balans_dask.evaluate.biology_side import biology_scores, variance_kept
from balans_dask.evaluate.retrieval import (
    control_precision,
    cross_batch_precision,
    replicate_precision,
    significant_share,
)
from balans_dask.evaluate.scib import batch_scores
from balans_dask.evaluate.summary import totals
from balans_dask.evaluate.transfer import nearest_label_elsewhere

__all__ = ["RowLabels", "all_scores"]


@dataclass(frozen=True)
class RowLabels:
    """What is known of the scored rows.

    Attributes
    ----------
    batch, label : ndarray of shape (n_rows,), text
    compound : ndarray of shape (n_rows,), text, or None
    is_control : ndarray of shape (n_rows,), bool
        Negative controls: all other scores leave them out.
    ranked : ndarray of shape (n_ranked,), int64
        Rows of the retrieval, whose cost is quadratic.
    """

    batch: NDArray[Any]
    label: NDArray[Any]
    compound: NDArray[Any] | None
    is_control: NDArray[np.bool_]
    ranked: NDArray[np.int64]


def all_scores(
    rows: RowLabels, scores: NDArray[np.floating], before: NDArray[np.floating] | None
) -> dict[str, float]:
    """Score an embedding.

    Parameters
    ----------
    rows : RowLabels
    scores : ndarray of shape (n_rows, n_components)
    before : ndarray of shape (n_rows, n_components), or None
        Raw scores; without them, what compares with them is NaN.
    """
    kept = ~rows.is_control
    batch, label, shown = rows.batch[kept], rows.label[kept], scores[kept]
    compared = scores if before is None else before
    found = batch_scores(shown, compared[kept], batch, label)
    found["variance_kept"] = variance_kept(compared, scores)
    if before is None:
        found["pcr"] = found["variance_kept"] = math.nan
    found |= biology_scores(shown, label)
    found |= vars(totals(found))
    compound = None if rows.compound is None else rows.compound[kept]
    found["label_transfer"] = nearest_label_elsewhere(shown, label, compound, batch)
    return found | _retrieval(rows, scores)


def _retrieval(rows: RowLabels, scores: NDArray[np.floating]) -> dict[str, float]:
    is_control = rows.is_control[rows.ranked]
    treated = rows.ranked[~is_control]
    batch, label, shown = rows.batch[treated], rows.label[treated], scores[treated]
    found = _means("map", replicate_precision(shown, label))
    found |= _means("cross_batch_map", cross_batch_precision(shown, label, batch))
    if not is_control.any():
        return found | {"control_map": math.nan, "control_map_significant": math.nan}
    every = rows.ranked
    against = control_precision(scores[every], rows.label[every], rows.batch[every], is_control)
    return found | _means("control_map", against)


def _means(name: str, precision: pd.DataFrame) -> dict[str, float]:
    return {
        name: float(precision["average_precision"].mean()),
        f"{name}_significant": significant_share(precision),
    }
