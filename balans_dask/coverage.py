"""Coverage of every row, the draws that it weighs, and the count of idle rows; on the driver."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from balans_dask.kernels.coverage import CoverageGain

__all__ = ["COVERAGE_OFFSET", "Coverage"]

COVERAGE_OFFSET = 1e-3
"""eps of the draw: an uncovered row is drawn with weight 1 / eps."""


@dataclass
class Coverage:
    """Coverage of every row, and the rule that stops.

    Attributes
    ----------
    coverage : ndarray of shape (n_rows,), float64
        c of the paper: the sum of kept affinities of the rows sampled so far.
    drawn : ndarray of shape (n_rows,), bool
        Rows that cannot be drawn: those sampled so far, and those that are no landmarks for the
        run.
    n_idle : int
        Consecutive rows that covered nothing new.
    """

    coverage: NDArray[np.float64]
    drawn: NDArray[np.bool_]
    n_idle: int = 0

    @classmethod
    def start(cls, n_rows: int, reference: NDArray[np.bool_] | None = None) -> "Coverage":
        """Nothing covered; landmarks are drawn among the reference rows, mostly all."""
        drawn = np.zeros(n_rows, dtype=bool) if reference is None else ~reference
        return cls(np.zeros(n_rows), drawn)

    @property
    def n_covered(self) -> int:
        """Rows with positive coverage."""
        return int(np.count_nonzero(self.coverage))

    def draw(self, seed: int, n_round: int, size: int, number: int = 0) -> NDArray[np.int64]:
        """Draw rows with probability proportional to 1 / (eps + coverage), without replacement.

        Exponential clocks: row j rings at E_j (eps + c_j), and the first ones to ring are drawn, in
        that order. The generator is keyed by seed and round and runs over global row numbers, so
        the draw knows nothing of chunks, workers or earlier rounds.

        Parameters
        ----------
        seed, n_round : int
        size : int
            At most the number of rows not drawn yet.
        number : int
            Of the pass: each draws its own landmarks.
        """
        key = np.array([seed, (number << 32) + n_round], dtype=np.uint64)
        clocks = np.random.Generator(np.random.Philox(key=key))
        rings = clocks.standard_exponential(len(self.coverage))
        rings *= COVERAGE_OFFSET + self.coverage
        rings[self.drawn] = np.inf
        first = np.argpartition(rings, size - 1)[:size]
        return first[np.lexsort((first, rings[first]))].astype(np.int64)

    def newly_covered(self, gains: list[CoverageGain], n_drawn: int) -> NDArray[np.int64]:
        """Rows that each drawn row covers first: a new row belongs to the first in draw order."""
        new = np.zeros(n_drawn, dtype=np.int64)
        for gain in gains:
            first = gain.first[self.coverage[gain.rows] == 0.0]
            new += np.bincount(first, minlength=n_drawn)
        return new

    def idle_until(
        self, new: NDArray[np.int64], at_most_new: float, patience: int
    ) -> tuple[int, int]:
        """Count idle rows in draw order, up to the row that exhausts the patience.

        Returns
        -------
        n_kept : int
            Rows up to and including the stopping row; all rows where none stops.
        n_idle : int
            Consecutive idle rows at that point: ``patience`` if the loop is over.
        """
        n_idle = self.n_idle
        for place, n_new in enumerate(new):
            n_idle = n_idle + 1 if n_new <= at_most_new else 0
            if n_idle >= patience:
                return place + 1, n_idle
        return len(new), n_idle

    def add(self, rows: NDArray[np.int64], gains: list[CoverageGain], n_idle: int) -> None:
        """Take sampled rows and what they cover."""
        self.drawn[rows] = True
        for gain in gains:
            self.coverage[gain.rows] += gain.gain
        self.n_idle = n_idle
