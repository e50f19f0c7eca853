"""The rows of which a report scores and draws, read once: before and after, in one basis."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from balans_dask.evaluate.rows import LEAST_ROWS, read_embeddings, rows_to_judge, stratified_rows
from balans_dask.evaluate.stores import EvaluatedStore, corrected_scores, recorded_scores
from balans_dask.evaluate.sweep import EVAL_ROWS
from balans_dask.evaluate.verdict import Change, measured, meetings
from balans_dask.kernels.projection import Projection
from balans_dask.report.page import shown
from balans_dask.report.source import Reported

__all__ = ["Sample", "sampled"]

SEED = 0
MET = 20
"""Batches whose meetings are counted."""
MET_ROWS = 5000


@dataclass(frozen=True)
class Sample:
    """Scores of some rows: what distances of the run were taken in.

    Attributes
    ----------
    rows : ndarray of shape (n_rows,), int64
        In the store, in increasing order.
    before : ndarray of shape (n_rows, n_components), or None
        ``None`` if the input is not there.
    after : ndarray of shape (n_rows, n_components)
    change : Change or None
        ``None`` without the scores before.
    met : list of int
        Batches whose meetings are counted, the largest ones in natural order.
    met_before, met_after : ndarray of shape (n_met, n_met), or None
    """

    rows: NDArray[np.int64]
    before: NDArray[np.float64] | None
    after: NDArray[np.float64]
    change: Change | None
    met: list[int]
    met_before: NDArray[np.float64] | None
    met_after: NDArray[np.float64]

    @property
    def typical_distance(self) -> float:
        """Median distance of two rows, before if that is known, chosen at random."""
        scores = self.after if self.before is None else self.before
        order = np.random.default_rng(SEED).permutation(len(scores))
        partner = np.roll(order, 1)
        return float(np.median(np.linalg.norm(scores[order] - scores[partner], axis=1)))


def sampled(asked: Reported) -> Sample:
    """Read the rows of a report, and score them as ``sweep`` does.

    Parameters
    ----------
    asked : Reported
    """
    batch = asked.batch
    label = asked.labels[0] if asked.labels else None
    rows, label = rows_to_judge(batch.codes, label, EVAL_ROWS, SEED)
    met = shown(batch.sizes, batch.names, MET)
    place = np.full(batch.n_batches, -1)
    place[met] = np.arange(len(met))
    # Of many batches, a sample of all rows holds too few of each.
    inside = np.flatnonzero(place[batch.codes] >= 0)
    met_rows = inside[stratified_rows(batch.codes[inside], MET_ROWS, SEED)]
    read = np.union1d(rows, met_rows)
    scored, counted = np.searchsorted(read, rows), np.searchsorted(read, met_rows)
    before, after = _scores(asked, read)
    change, met_before = None, None
    if before is not None:
        met_before = meetings(before[counted], place[batch.codes[met_rows]], len(met))
        names = None if label is None else label.of(rows).astype(str)
        before = before[scored]
        if len(rows) >= LEAST_ROWS:
            is_in_unit = not asked.is_sphered
            change = measured(before, after[scored], batch.codes[rows], names, is_in_unit)
    met_after = meetings(after[counted], place[batch.codes[met_rows]], len(met))
    return Sample(rows, before, after[scored], change, met.tolist(), met_before, met_after)


def _scores(
    asked: Reported, rows: NDArray[np.int64]
) -> tuple[NDArray[np.float64] | None, NDArray[np.float64]]:
    """Read scores before, if they are known, and after."""
    store, record = asked.store, asked.record
    before = None if asked.source is None else recorded_scores(asked.source, record)
    projection = Projection.from_arrays(record["preprocessor"])
    made = EvaluatedStore(store.path, store, corrected_scores(store, record), projection, before)
    *_, found = read_embeddings([made], rows)
    return found.before, found.scores
