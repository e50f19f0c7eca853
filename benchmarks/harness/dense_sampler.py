"""Algorithm 1 on a dense affinity matrix: quick enough for hundreds of runs, in numpy alone."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Drawn", "draw_landmarks"]

EPS = 1e-3


@dataclass(frozen=True)
class Drawn:
    """Rows in draw order, at least up to the one at which patience ends.

    Attributes
    ----------
    rows : ndarray of shape (n_drawn,), int64
    n_new : ndarray of shape (n_drawn,), int64
        Rows that each is the first to cover.
    n_stop : int
        Rows up to the stopping one.
    """

    rows: NDArray[np.int64]
    n_new: NDArray[np.int64]
    n_stop: int


def draw_landmarks(
    kept: NDArray[np.float64], block_rows: int, seed: int, patience: int = 50, least: int = 0
) -> Drawn:
    """Draw rows as `Balans` does with this seed, but from affinities that are all there.

    Parameters
    ----------
    kept : ndarray of shape (n, n)
        Affinities before the elbow of their row, 0 elsewhere.
    block_rows : int
        Rows drawn before coverage is updated.
    seed : int
        With the number of the round it keys the random numbers, as in `Balans`.
    patience : int
    least : int
        Draw so many rows, even after patience has ended.
    """
    n_rows = len(kept)
    coverage, covered = np.zeros(n_rows), np.zeros(n_rows, dtype=bool)
    rows: list[int] = []
    n_new: list[int] = []
    n_stop = 0
    while len(rows) < n_rows and (len(rows) < least or not n_stop):
        keys = _exponentials(seed, len(rows) // block_rows, n_rows) * (EPS + coverage)
        keys[rows] = np.inf
        block = np.argsort(keys)[: min(block_rows, n_rows - len(rows))]
        for row in block:
            reached = kept[row] > 0
            rows.append(int(row))
            n_new.append(int((reached & ~covered).sum()))
            covered |= reached
            if not n_stop and len(rows) >= patience and not any(n_new[-patience:]):
                n_stop = len(rows)
        coverage += kept[block].sum(axis=0)
    return Drawn(np.array(rows), np.array(n_new), n_stop or n_rows)


def _exponentials(seed: int, n_round: int, n_rows: int) -> NDArray[np.float64]:
    key = np.array([seed, n_round], dtype=np.uint64)
    return -np.log1p(-np.random.Generator(np.random.Philox(key=key)).random(n_rows))
