"""Columns of profiles made comparable: by the controls of every plate, or by ranks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import median_abs_deviation, rankdata
from sklearn.preprocessing import StandardScaler

from balans_dask.errors import InvalidInputError, first_names, warn_of_input
from balans_dask.workflows.preprocess import Preprocessing

__all__ = [
    "BLOM",
    "MAD",
    "ColumnFacts",
    "KeptFeatures",
    "RowGroups",
    "column_facts",
    "correlated",
    "normalized",
    "rank_int",
]

MAD = "mad"
BLOM = 3.0 / 8.0
"""Blom's offset of ranks, as the JUMP recipe has it."""
TO_DEVIATION = 1.4826
"""Standard deviation of normal values over their median absolute deviation."""


@dataclass(frozen=True)
class RowGroups:
    """The plates of a screen.

    Attributes
    ----------
    order : ndarray of shape (n_rows,), intp
        Rows, plate by plate.
    stops : ndarray of shape (n_groups,), intp
        Where each plate ends in ``order``.
    is_control : ndarray of shape (n_rows,), bool, or None
        Rows by which the others are scaled; ``None`` for all.
    """

    order: NDArray[np.intp]
    stops: NDArray[np.intp]
    is_control: NDArray[np.bool_] | None

    @classmethod
    def of(
        cls, codes: NDArray[np.integer], n_groups: int, is_control: NDArray[np.bool_] | None
    ) -> "RowGroups":
        """Group rows by the number of their plate."""
        stops = np.cumsum(np.bincount(codes, minlength=n_groups))
        return cls(np.argsort(codes, kind="stable"), stops, is_control)

    def __iter__(self) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """Yield the rows of a plate, and its controls."""
        for rows in np.split(self.order, self.stops[:-1]):
            yield rows, rows if self.is_control is None else rows[self.is_control[rows]]


def normalized(
    values: NDArray[np.floating], groups: RowGroups, method: str, epsilon: float
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Centre and scale the rows of every plate by its controls.

    Parameters
    ----------
    values : ndarray of shape (n_rows, n_columns)
    method : {"mad", "standardize"}
        Median and median absolute deviation, or mean and standard deviation.
    epsilon : float
        Added to the deviation of ``mad``.

    Returns
    -------
    normalized : ndarray of shape (n_rows, n_columns), float64
    flat : ndarray of shape (n_columns,), bool
        Columns without spread among the controls of some plate.
    """
    result = np.empty(values.shape)
    flat = np.zeros(values.shape[1], dtype=bool)
    # Without a deviation, or beyond the range of floats: whoever calls counts what is not finite.
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        for rows, controls in groups:
            reference = values[controls].astype(np.float64)
            if method == MAD:
                deviation = median_abs_deviation(reference, axis=0, scale=1 / TO_DEVIATION)
                centred = values[rows] - np.median(reference, axis=0)
                result[rows] = centred / (deviation + epsilon)
            else:
                scaler = StandardScaler().fit(reference)
                deviation = scaler.var_
                result[rows] = scaler.transform(values[rows].astype(np.float64))
            flat |= deviation == 0.0
    return result, flat


def rank_int(values: NDArray[np.floating], groups: RowGroups) -> NDArray[np.float64]:
    """Replace values by the normal quantiles of their ranks in their group; equal ones share one.

    NaN stays where it is, and has no part in the ranks of the others.

    Parameters
    ----------
    values : ndarray of shape (n_rows, n_columns)

    Returns
    -------
    transformed : ndarray of shape (n_rows, n_columns), float64
    """
    result = np.empty(values.shape)
    for rows, _ in groups:
        for column in range(values.shape[1]):
            ranks = rankdata(values[rows, column], nan_policy="omit")
            n_ranked = len(rows) - np.isnan(ranks).sum()
            result[rows, column] = ndtri((ranks - BLOM) / (n_ranked - 2 * BLOM + 1))
    return result


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


class KeptFeatures:
    """Features that are left.

    Parameters
    ----------
    names : sequence of str
        Of all features.

    Attributes
    ----------
    places : ndarray of intp
        Of the features that are left, among all.
    dropped : dict of str to list of str
        Features that went, by rule.
    """

    def __init__(self, names: Sequence[str], steps: Preprocessing) -> None:
        self._names = list(names)
        self.steps = steps
        self.places = np.arange(len(self._names))
        self.dropped: dict[str, list[str]] = {}

    def drop(self, rule: str, unwanted: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Drop some of the features that are left; return the others of them.

        Parameters
        ----------
        unwanted : ndarray of bool
            For every feature that is left.

        Raises
        ------
        InvalidInputError
            If none is left then.
        """
        self.dropped[rule] = [*self.dropped.get(rule, ()), *self._named(unwanted)]
        self.places = self.places[~unwanted]
        if not len(self.places):
            counts = ", ".join(f"{name} {len(names)}" for name, names in self.dropped.items())
            raise InvalidInputError(
                f"no feature of {len(self._names)} is left after --select ({counts}): select by "
                "less"
            )
        return ~unwanted

    def drop_missing(self, n_bad: NDArray[np.int64], n_bad_rows: int, n_rows: int) -> None:
        """Drop features with NaN or infinite values, or refuse them.

        Raises
        ------
        InvalidInputError
        """
        bad = n_bad > 0
        if "missing" in self.steps.select:
            self.drop("missing", bad)
        elif bad.any():
            raise InvalidInputError(
                f"{n_bad_rows} of {n_rows} rows hold NaN or infinite values in {int(bad.sum())} "
                f"features ({first_names(self._named(bad))}): add missing to --select to drop "
                "these features"
            )

    def drop_uninformative(self, facts: ColumnFacts) -> NDArray[np.intp]:
        """Drop features that say too little by themselves.

        Parameters
        ----------
        facts : ColumnFacts
            Of the features that are left.

        Returns
        -------
        columns : ndarray of intp
            Those of the facts that stay.
        """
        steps = self.steps
        rules = {
            "missing": facts.bad,
            "flat": facts.flat,
            "variance": facts.variance <= steps.min_variance,
            "frequency": (facts.frequency_ratio < steps.freq_cut)
            | (facts.unique_ratio < steps.unique_cut),
            "outliers": facts.largest > steps.outlier_cutoff,
        }
        columns = np.arange(len(self.places))
        for name, unwanted in rules.items():
            if name in steps.select:
                columns = columns[self.drop(name, unwanted[columns])]
        bad = facts.bad[columns]
        if bad.any():
            n_nan, n_infinite = (int(n[columns].sum()) for n in (facts.n_nan, facts.n_infinite))
            remedy = ", or raise --epsilon" if steps.normalize == "mad" else ""
            warn_of_input(
                f"{int(bad.sum())} of {len(bad)} features hold {n_nan} NaN and {n_infinite} "
                f"infinite values after normalising ({first_names(self._named(bad))}): add missing "
                f"to --select to drop them{remedy}"
            )
        flat = facts.flat[columns] & ~bad
        if flat.any():
            warn_of_input(
                f"{int(flat.sum())} of {len(flat)} features do not vary among the controls of some "
                f"plate ({first_names(self._named(flat))}), where they may become huge: add flat "
                "to --select to drop them"
            )
        return columns

    def _named(self, chosen: NDArray[np.bool_]) -> list[str]:
        return [self._names[place] for place in self.places[chosen].tolist()]
