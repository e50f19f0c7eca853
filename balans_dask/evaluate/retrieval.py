"""Retrieval of replicates: average precision of every row, by copairs, with cosine similarity.

Every row is a query that ranks other rows; rows of its own label are positives, and which rows
stand in the list besides is what tells the three scores apart. Precisions are NaN where a row has
no positive or no negative.
"""

from collections.abc import Sequence
from functools import cache
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from balans_dask.evaluate.scib import library

__all__ = [
    "control_precision",
    "cross_batch_precision",
    "replicate_precision",
    "significant_share",
]

COPAIRS = "copairs.map"
JITTER = 1e-7
STRETCH = 1e6


def replicate_precision(embedding: NDArray[np.floating], label: Any) -> pd.DataFrame:
    """Rank all other rows: positives have the row's label, negatives another one.

    Parameters
    ----------
    embedding : ndarray of shape (n_rows, n_components)
        Centred: similarity is the cosine.
    label : array-like of shape (n_rows,)

    Returns
    -------
    precision : DataFrame of n_rows rows
        ``average_precision`` and, for ``significant_share``, ``n_pos_pairs``, ``n_total_pairs``,
        ``normalized_average_precision`` and ``label``.
    """
    return _precision(embedding, {"label": label}, ["label"], [], [], ["label"])


def cross_batch_precision(
    embedding: NDArray[np.floating], label: Any, batch: Any, own_batch_negatives: bool = False
) -> pd.DataFrame:
    """Rank the rows of other batches: positives have the row's label, negatives another one.

    Parameters
    ----------
    embedding : ndarray of shape (n_rows, n_components)
        Centred: similarity is the cosine.
    label, batch : array-like of shape (n_rows,)
    own_batch_negatives : bool
        Rows of other labels in the row's own batch are negatives too; those of its own label never
        are in the list. Harder where batches lie apart.

    Returns
    -------
    precision : DataFrame of n_rows rows
        As of ``replicate_precision``.
    """
    differ = ["label"] if own_batch_negatives else ["label", "batch"]
    columns = {"label": label, "batch": batch}
    return _precision(embedding, columns, ["label"], ["batch"], [], differ)


def control_precision(
    embedding: NDArray[np.floating], label: Any, batch: Any, is_control: Any
) -> pd.DataFrame:
    """Rank replicates in any batch against the negative controls of the row's own batch.

    Parameters
    ----------
    embedding : ndarray of shape (n_rows, n_components)
        Centred: similarity is the cosine.
    label, batch : array-like of shape (n_rows,)
    is_control : array-like of shape (n_rows,), bool
        Negative controls; they are no queries, so their precision is NaN.

    Returns
    -------
    precision : DataFrame of n_rows rows
        As of ``replicate_precision``.
    """
    controls = np.asarray(is_control, dtype=bool)
    columns = {"label": label, "batch": batch, "control": controls}
    found = _precision(embedding, columns, ["label"], [], ["batch"], ["control"])
    found.loc[controls, "average_precision"] = np.nan
    found.loc[controls, "n_pos_pairs"] = 0
    return found


def significant_share(
    precision: pd.DataFrame, threshold: float = 0.05, null_size: int = 10_000, seed: int = 0
) -> float:
    """Return the share of labels whose mean average precision beats shuffled rankings.

    Parameters
    ----------
    precision : DataFrame
        Of one of the functions above.
    threshold : float
        Of the p-value, corrected by Benjamini and Hochberg.
    null_size, seed : int
        Shuffled rankings, and their seed.

    Returns
    -------
    share : float
        NaN if no row has a precision.
    """
    if precision["average_precision"].isna().all():
        return float("nan")
    average = library(COPAIRS).mean_average_precision
    table = average(
        precision,
        ["label"],
        null_size,
        threshold,
        seed,
        progress_bar=False,
        max_workers=1,
        cache_dir=_null_folder().name,
    )
    return float(table["below_corrected_p"].mean())


@cache
def _null_folder() -> TemporaryDirectory[str]:
    """Make a folder for the rankings that copairs shuffles, which are the same for all embeddings.

    They depend on the numbers of positives and negatives and on the seed alone, and making them is
    most of the work. In the home folder, where copairs keeps them unless told otherwise, they stay.
    """
    return TemporaryDirectory(prefix="balans-evaluate-")


def _precision(
    embedding: NDArray[np.floating],
    columns: dict[str, Any],
    positives_same: Sequence[str],
    positives_differ: Sequence[str],
    negatives_same: Sequence[str],
    negatives_differ: Sequence[str],
) -> pd.DataFrame:
    meta = pd.DataFrame({name: np.asarray(value).astype(str) for name, value in columns.items()})
    try:
        found: pd.DataFrame = library(COPAIRS).average_precision(
            meta,
            _directions(embedding),
            list(positives_same),
            list(positives_differ),
            list(negatives_same),
            list(negatives_differ),
            distance=_similarity,
            progress_bar=False,
        )
    except library("copairs.matching").UnpairedException:
        return meta.assign(average_precision=np.nan, n_pos_pairs=0, n_total_pairs=0)
    # Of rows without positives or negatives there is nothing to average.
    lacking = (found["n_pos_pairs"] == 0) | (found["n_pos_pairs"] == found["n_total_pairs"])
    found.loc[lacking, "average_precision"] = np.nan
    return found


def _directions(embedding: NDArray[np.floating]) -> NDArray[np.float64]:
    """Scale rows to length 1, and part those that are equal, at random.

    copairs lists positives first among equals, so an embedding collapsed to few points would score
    best of all.
    """
    rows = np.asarray(embedding, dtype=np.float64)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    noise = np.random.default_rng(0).normal(size=rows.shape)
    return rows / np.where(length > 0, length, 1) + JITTER * noise


def _similarity(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Order pairs of directions as the cosine does.

    copairs keeps similarities, and 1 minus them, in float32, where cosines near 1 are all equal;
    stretched distances between directions are not.
    """
    distance: NDArray[np.float64] = np.linalg.norm(first - second, axis=1)
    return -STRETCH * distance
