"""The total: 0.6 of the biology side and 0.4 of the batch side, as in the scIB benchmark."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

__all__ = ["BATCH_SIDE", "BIOLOGY_SIDE", "Totals", "totals"]

BATCH_SIDE = ("ilisi", "kbet", "silhouette_batch", "pcr", "graph_connectivity")
BIOLOGY_SIDE = ("clisi", "nmi", "ari", "silhouette_label")
BATCH_SHARE, BIOLOGY_SHARE = 0.4, 0.6


@dataclass(frozen=True)
class Totals:
    """Plain, unscaled means of the scores of each side, and their weighted sum.

    Attributes
    ----------
    batch : float
        Mean of ``BATCH_SIDE``.
    biology : float
        Mean of ``BIOLOGY_SIDE``.
    total : float
        0.4 batch + 0.6 biology.
    """

    batch: float
    biology: float
    total: float


def totals(scores: Mapping[str, float]) -> Totals:
    """Add up the scores of one embedding.

    Parameters
    ----------
    scores : mapping
        Of ``batch_scores`` and ``biology_scores`` together; others are ignored. A score that is NaN
        is left out of its mean: whether kBET or the batch silhouette exist depends on labels and
        batches alone, so it is the same for every correction of a data set.
    """
    batch = _mean(scores, BATCH_SIDE)
    biology = _mean(scores, BIOLOGY_SIDE)
    return Totals(batch, biology, BATCH_SHARE * batch + BIOLOGY_SHARE * biology)


def _mean(scores: Mapping[str, float], names: tuple[str, ...]) -> float:
    return float(np.nanmean([scores[name] for name in names]))
