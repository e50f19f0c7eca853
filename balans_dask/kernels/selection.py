"""Which features say too little, by the rules of pycytominer."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["ColumnFacts", "column_facts", "correlated"]


@dataclass(frozen=True)
class ColumnFacts:
    """What the values of some columns are like.

    Attributes
    ----------
    variance : ndarray of shape (n_columns,), float64
    frequency_ratio : ndarray of shape (n_columns,), float64
        Occurrences of the second most common value over those of the most common one.
    unique_ratio : ndarray of shape (n_columns,), float64
        Different values over values.
    largest : ndarray of shape (n_columns,), float64
        Of the absolute values.
    flat : ndarray of shape (n_columns,), bool
        Without spread among the controls of some plate.
    """

    variance: NDArray[np.float64]
    frequency_ratio: NDArray[np.float64]
    unique_ratio: NDArray[np.float64]
    largest: NDArray[np.float64]
    flat: NDArray[np.bool_]


def column_facts(values: NDArray[np.floating], flat: NDArray[np.bool_]) -> ColumnFacts:
    """Describe columns.

    Parameters
    ----------
    values : ndarray of shape (n_rows, n_columns)
    flat : ndarray of shape (n_columns,), bool
    """
    n_rows, n_columns = values.shape
    frequency, unique = np.zeros(n_columns), np.zeros(n_columns)
    for column in range(n_columns):
        counts = np.unique(values[:, column], return_counts=True)[1]
        unique[column] = len(counts) / n_rows
        if len(counts) > 1:
            second, first = np.partition(counts, len(counts) - 2)[-2:]
            frequency[column] = second / first
    variance = values.var(axis=0, dtype=np.float64)
    return ColumnFacts(variance, frequency, unique, np.abs(values).max(axis=0), flat)


def correlated(scatter: NDArray[np.float64], threshold: float) -> NDArray[np.bool_]:
    """Find the features to drop so that no two left correlate by more than a threshold.

    Of every such pair the feature goes whose absolute correlations with all features have the
    larger sum, as in pycytominer's ``correlation_threshold``; of equal sums (copies) the later one.

    Parameters
    ----------
    scatter : ndarray of shape (n_features, n_features), float64
        Sum of outer products of deviations from the mean; no feature is constant.
    threshold : float

    Returns
    -------
    dropped : ndarray of shape (n_features,), bool
    """
    deviation = np.sqrt(np.diag(scatter))
    correlation = scatter / np.outer(deviation, deviation)
    order = np.argsort(np.abs(correlation).sum(axis=0), kind="stable")
    rank = np.empty(len(order), dtype=np.intp)
    rank[order] = np.arange(len(order))
    # Of a pair, the one that is correlated with some feature of lower rank goes.
    by_rank = correlation[np.ix_(order, order)] > threshold
    dropped: NDArray[np.bool_] = np.tril(by_rank, k=-1).any(axis=1)[rank]
    return dropped
