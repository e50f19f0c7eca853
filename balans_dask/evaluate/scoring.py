"""All scores of one embedding, their totals, and the pair that a sweep goes by."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from balans_dask.errors import InvalidInputError
from balans_dask.evaluate.neighbours import (
    blocks,
    codes_of,
    nearest_elsewhere,
    nearest_label_elsewhere,
    neighbour_shares,
)
from balans_dask.evaluate.retrieval import (
    control_precision,
    cross_batch_precision,
    replicate_precision,
    significant_share,
)
from balans_dask.evaluate.scib import batch_scores, biology_scores, variance_kept

__all__ = [
    "BATCH_SIDE",
    "BIOLOGY_SIDE",
    "SCORES",
    "RowLabels",
    "ScorePair",
    "Totals",
    "all_scores",
    "cross_batch_shares",
    "cross_batch_signal",
    "neighbour_pair",
    "scib_pair",
    "totals",
]

BATCH_SIDE = ("ilisi", "kbet", "silhouette_batch", "pcr", "graph_connectivity")
BIOLOGY_SIDE = ("clisi", "nmi", "ari", "silhouette_label")
BATCH_SHARE, BIOLOGY_SHARE = 0.4, 0.6
MAX_POSITIVES = 10
MIXING_NEIGHBORS = 10
ASKED_ROWS = 5000
"""Rows whose neighbours are looked at; they are sought among all."""


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


@dataclass(frozen=True)
class ScorePair:
    """A pair of scores, each 1 at best.

    Attributes
    ----------
    signal, mixing : str
        Definitions, in a line each.
    measure : callable
        Takes embedding, embedding before, batch and label; returns signal and mixing.
    """

    signal: str
    mixing: str
    measure: Callable[[NDArray[np.floating], NDArray[np.floating], Any, Any], tuple[float, float]]


def cross_batch_signal(
    embedding: NDArray[np.floating],
    batch: Any,
    label: Any,
    max_rows: int = ASKED_ROWS,
    seed: int = 0,
) -> float:
    """Return how well rows find their label in other batches.

    Of every row whose label other batches hold R times, the share of the min(R, 10) nearest rows of
    other batches, by cosine, that have its label; the mean of each label, then of all labels.

    Parameters
    ----------
    embedding : ndarray of shape (n_rows, n_components)
        Centred here.
    batch, label : array-like of shape (n_rows,)
    max_rows : int
        Rows whose neighbours are looked at, chosen at random; they are sought among all.
    seed : int
        Of this choice, and of the order of rows at equal distance.

    Raises
    ------
    InvalidInputError
        If no label is in two batches.
    """
    rows, share = cross_batch_shares(embedding, batch, label, max_rows, seed)
    _, codes, counts = np.unique(codes_of(label)[rows], return_inverse=True, return_counts=True)
    return float((np.bincount(codes, weights=share) / counts).mean())


def cross_batch_shares(
    embedding: NDArray[np.floating],
    batch: Any,
    label: Any,
    max_rows: int = ASKED_ROWS,
    seed: int = 0,
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return what ``cross_batch_signal`` is the mean of.

    Returns
    -------
    rows : ndarray of shape (n_asked,)
        Those that were asked, the same for every embedding of equal batches and labels.
    share : ndarray of shape (n_asked,)
        Of each one's nearest rows of other batches, those that have its label.

    Raises
    ------
    InvalidInputError
        If no label is in two batches.
    """
    order = np.random.default_rng(seed).permutation(len(embedding))
    batch, label = codes_of(batch)[order], codes_of(label)[order]
    table = np.zeros((label.max() + 1, batch.max() + 1), dtype=np.int64)
    np.add.at(table, (label, batch), 1)
    elsewhere = np.minimum(table.sum(axis=1)[label] - table[label, batch], MAX_POSITIVES)
    # Rows are in random order: the first ones are a random choice.
    possible = np.flatnonzero(elsewhere)[:max_rows]
    if not len(possible):
        raise InvalidInputError(
            "no label is in two batches, so that no signal can be measured across them: choose "
            "another --label-key, such as mechanisms or controls"
        )
    directions = _directions(np.asarray(embedding, dtype=np.float64)[order])
    share = np.zeros(len(possible))
    for block in blocks(len(possible)):
        asked = possible[block]
        found = nearest_elsewhere(directions, batch, asked, int(elsewhere[asked].max()))
        counted = np.arange(found.shape[1]) < elsewhere[asked, None]
        same = (label[found] == label[asked, None]) & counted
        share[block] = same.sum(axis=1) / elsewhere[asked]
    return order[possible], share


def _neighbour_pair(
    embedding: NDArray[np.floating], before: NDArray[np.floating], batch: Any, label: Any
) -> tuple[float, float]:
    shares = neighbour_shares(embedding, label, batch, MIXING_NEIGHBORS, ASKED_ROWS)
    # More strangers than perfect mixing would bring is no merit.
    return cross_batch_signal(embedding, batch, label), min(1.0, shares.batch_mixing)


def _scib_pair(
    embedding: NDArray[np.floating], before: NDArray[np.floating], batch: Any, label: Any
) -> tuple[float, float]:
    scores = batch_scores(embedding, before, batch, label) | biology_scores(embedding, label)
    found = totals(scores)
    return found.biology, found.batch


neighbour_pair = ScorePair(
    "share of a row's nearest rows of other batches, as many as have its label but at most 10, "
    "that do; by cosine, mean over labels",
    "share of the 10 nearest rows that are of other batches, over the share expected among rows of "
    "the same label; at most 1",
    _neighbour_pair,
)
scib_pair = ScorePair(
    "mean of scib-metrics' cLISI, NMI, ARI and label silhouette",
    "mean of scib-metrics' iLISI, kBET, batch silhouette, principal-component regression and graph "
    "connectivity",
    _scib_pair,
)
SCORES = {"neighbours": neighbour_pair, "scib": scib_pair}


def _directions(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centre rows and scale them to length 1: Euclidean order is then that of the cosine."""
    rows = rows - rows.mean(axis=0)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    directions: NDArray[np.float64] = rows / np.where(length > 0, length, 1)
    return directions
