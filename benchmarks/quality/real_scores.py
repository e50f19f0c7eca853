"""Every score of one embedding of a real set."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from balans_dask.evaluate.neighbours import batch_purity, nearest_label_elsewhere, profile_means
from balans_dask.evaluate.null_models import paired_bootstrap, shift_followed
from balans_dask.evaluate.retrieval import (
    control_precision,
    cross_batch_precision,
    replicate_precision,
    significant_share,
)
from balans_dask.evaluate.scib import batch_scores, biology_scores, variance_kept
from balans_dask.evaluate.scoring import totals
from benchmarks.harness.real_sets import RealSet

__all__ = ["Scored", "average", "differences", "score"]

PRECISIONS = ("map", "cross_batch_map", "cross_batch_map_own_negatives")


@dataclass(frozen=True)
class Scored:
    """Scores of one method, and the average precision of every row behind them."""

    scores: dict[str, float]
    precision: dict[str, NDArray[np.float64]]


def score(
    real: RealSet,
    rows: pd.DataFrame,
    raw: NDArray[np.float64],
    embedding: NDArray[np.float64],
    label: NDArray[Any],
) -> Scored:
    """Score an embedding of all rows.

    Parameters
    ----------
    real : RealSet
    rows : DataFrame
        Annotations of all rows.
    raw, embedding : ndarray of shape (n_rows, n_components)
    label : ndarray of shape (n_rows,)
        The set's own, or shuffled ones.
    """
    kept = real.scored(rows)
    used, shown, known = rows[kept], embedding[kept], label[kept]
    across = used[real.across]
    tables = {
        "map": replicate_precision(shown, known),
        "cross_batch_map": cross_batch_precision(shown, known, across),
        "cross_batch_map_own_negatives": cross_batch_precision(
            shown, known, across, own_batch_negatives=True
        ),
    }
    scores = batch_scores(shown, raw[kept], used[real.batch], known)
    scores |= biology_scores(shown, known)
    scores |= vars(totals(scores))
    precision = {name: table["average_precision"].to_numpy() for name, table in tables.items()}
    scores |= {name: float(np.nanmean(values)) for name, values in precision.items()}
    scores["map_significant"] = significant_share(tables["map"])
    scores["cross_batch_map_significant"] = significant_share(tables["cross_batch_map"])
    scores["variance_kept"] = variance_kept(raw, embedding)
    if real.mechanism:
        scores |= _of_controls(real, rows, raw, embedding, label)
    return Scored(scores, precision)


def _of_controls(
    real: RealSet,
    rows: pd.DataFrame,
    raw: NDArray[np.float64],
    embedding: NDArray[np.float64],
    label: NDArray[Any],
) -> dict[str, float]:
    controls = (rows["Metadata_pert_type"] == "negcon").to_numpy()
    treated = rows[~controls]
    means, columns = profile_means(
        embedding[~controls],
        treated["Metadata_treatment"],
        label[~controls],
        treated["Metadata_compound"],
        treated[real.across],
    )
    against = control_precision(
        embedding, rows["Metadata_treatment"], rows["Metadata_Plate"], controls
    )
    return {
        "nscb": nearest_label_elsewhere(means, *columns),
        "control_purity": batch_purity(embedding[controls], rows[real.across][controls]),
        "shift_followed": shift_followed(raw, embedding, rows["Metadata_Plate"], controls),
        "control_map": float(against["average_precision"].mean()),
        "control_map_significant": significant_share(against),
    }


def average(found: Sequence[Scored]) -> Scored:
    """Average the scores of one method over its seeds, with the deviation of its total."""
    scores = {name: float(np.mean([one.scores[name] for one in found])) for name in found[0].scores}
    scores["total_sd"] = float(np.std([one.scores["total"] for one in found]))
    precision = {
        name: np.mean([one.precision[name] for one in found], axis=0) for name in PRECISIONS
    }
    return Scored(scores, precision)


def differences(
    real: RealSet, rows: pd.DataFrame, first: Scored, second: Scored
) -> dict[str, tuple[float, float, float]]:
    """Bootstrap the differences of the mean average precisions of two methods."""
    groups = real.groups(rows)[real.scored(rows)]
    return {
        name: paired_bootstrap(first.precision[name], second.precision[name], groups)
        for name in PRECISIONS
    }
