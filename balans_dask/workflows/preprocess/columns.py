"""Columns of profiles made comparable: by the controls of every plate, or by ranks."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import median_abs_deviation, rankdata
from sklearn.preprocessing import StandardScaler

__all__ = ["BLOM", "MAD", "STANDARDIZE", "RowGroups", "normalized", "rank_int"]

MAD = "mad"
STANDARDIZE = "standardize"
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
    groups : RowGroups
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
    groups : RowGroups

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
