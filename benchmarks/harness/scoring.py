"""How a correction is scored in every experiment."""

from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from balans_dask.evaluate.neighbours import neighbour_shares
from balans_dask.evaluate.scib import batch_scores, biology_scores
from balans_dask.evaluate.scoring import totals
from benchmarks.harness.arrays import Ints
from benchmarks.harness.findings import Findings

N_SCORED = 3000


def scored_rows(n_rows: int, seed: int, n_scored: int = N_SCORED) -> Ints:
    """Draw the rows that are scored, in order; all of them if there are no more."""
    if n_rows <= n_scored:
        return np.arange(n_rows)
    return np.sort(np.random.default_rng([seed, 99]).choice(n_rows, n_scored, replace=False))


def rows_of_every_label(label: NDArray[Any], n_each: int, seed: int) -> Ints:
    """Draw as many rows of every label, in order; all of a label that has no more.

    Labels then count alike. scib-metrics also compiles itself anew for every size of a label that
    it has not met: sizes that differ from seed to seed cost minutes.
    """
    shuffled = np.random.default_rng([seed, 98]).permutation(len(label))
    by_label = shuffled[np.argsort(label[shuffled], kind="stable")]
    of_row = label[by_label]
    rank = np.arange(len(label)) - np.searchsorted(of_row, of_row)
    return np.sort(by_label[rank < n_each])


def main_score(findings: Findings) -> tuple[str, str]:
    """Name the one figure that a reading looks at, and say what it is.

    The total where scib-metrics is installed; else the share of neighbours with the same label.
    """
    if any("total" in run for run in findings.record["runs"]):
        return "total", "total score"
    return "same_label", "same-label share"


def scores(
    embedding: NDArray[Any], before: NDArray[Any], batch: NDArray[Any], label: NDArray[Any]
) -> dict[str, float]:
    """Score an embedding of the rows that are scored.

    That is ``same_label`` and ``batch_mixing`` of the nearest neighbours, and, where
    scib-metrics is installed, every score of `balans evaluate` with ``batch``, ``biology`` and
    ``total``.
    """
    embedding, before = (np.asarray(each, dtype=np.float64) for each in (embedding, before))
    found = vars(neighbour_shares(embedding, label, batch)).copy()
    if find_spec("scib_metrics"):
        found |= batch_scores(embedding, before, batch, label) | biology_scores(embedding, label)
        found |= vars(totals(found))
    return {name: round(float(value), 5) for name, value in found.items()}
