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
        Of the absolute values; infinite where a value is not finite.
    n_nan, n_infinite : ndarray of shape (n_columns,), int64
        Values that are not finite, before they became ranks.
    flat : ndarray of shape (n_columns,), bool
        Without spread among the controls of some plate.
    """

    variance: NDArray[np.float64]
    frequency_ratio: NDArray[np.float64]
    unique_ratio: NDArray[np.float64]
    largest: NDArray[np.float64]
    n_nan: NDArray[np.int64]
    n_infinite: NDArray[np.int64]
    flat: NDArray[np.bool_]

    @property
    def bad(self) -> NDArray[np.bool_]:
        """Columns with a value that is not finite."""
        return self.n_nan + self.n_infinite > 0


def column_facts(
    values: NDArray[np.floating],
    flat: NDArray[np.bool_],
    unranked: NDArray[np.floating] | None = None,
) -> ColumnFacts:
    """Describe columns.

    Parameters
    ----------
    values : ndarray of shape (n_rows, n_columns)
    flat : ndarray of shape (n_columns,), bool
    unranked : ndarray of shape (n_rows, n_columns) or None
        What the ranks are of, where the values are ranks.
    """
    n_rows, n_columns = values.shape
    frequency, unique = np.zeros(n_columns), np.zeros(n_columns)
    for column in range(n_columns):
        counts = np.unique(values[:, column], return_counts=True)[1]
        unique[column] = len(counts) / n_rows
        if len(counts) > 1:
            second, first = np.partition(counts, len(counts) - 2)[-2:]
            frequency[column] = second / first
    before = values if unranked is None else unranked
    n_nan, n_infinite = np.isnan(before).sum(axis=0), np.isinf(before).sum(axis=0)
    bad = n_nan + n_infinite > 0
    with np.errstate(invalid="ignore"):
        variance = values.var(axis=0, dtype=np.float64)
        largest = np.where(bad, np.inf, np.abs(values).max(axis=0))
    return ColumnFacts(variance, frequency, unique, largest, n_nan, n_infinite, flat)


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
