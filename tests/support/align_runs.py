"""Runs of `align` that are looked into: what went into every step, and what came out."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pytest

from balans_dask.kernels.affinity import kept_affinities
from balans_dask.kernels.batch_tiles import tile_by_batch
from balans_dask.kernels.elbow import BINS_PER_UNIT
from balans_dask.kernels.landmarks import LandmarkBlock
from balans_dask.kernels.smooth import nearest_landmarks
from balans_dask.tiling import TILE_ROWS
from balans_dask.workflows.run import FitLearner, FrozenLearner
from tests.support import align_reference
from tests.support.reference import ReferenceRun


@dataclass
class Step:
    """One step as a run took it.

    Affinities are those of the kernels, so that no entry at a threshold is here and not there.
    """

    name: str
    P: np.ndarray
    X: np.ndarray
    second: np.ndarray | None
    batch: np.ndarray
    counts: np.ndarray | None
    run: ReferenceRun
    blocks: list[LandmarkBlock]
    total_variance: float
    constant: np.ndarray
    facts: dict[str, float]

    def learned(self, X: np.ndarray, shared: bool = False, uses=None) -> align_reference.Fields:
        """What the equations find in a matrix."""
        return align_reference.learn(
            self.run, self.P, X, self.batch, self.name, self.total_variance, shared, self.counts,
            uses,
        )  # fmt: skip

    def moved(self, X: np.ndarray, shared: bool = False, uncovered: str = "offset", uses=None):
        """What the equations make of a matrix."""
        fields = self.learned(X, shared, uses)
        nearest = self.nearest() if uncovered == "nearest" else None
        return align_reference.move(fields, self.run.affinities, X, self.batch, uncovered, nearest)

    def features_moved(self, X: np.ndarray, **options) -> np.ndarray:
        """The same of the features: constant ones take no part."""
        return self.moved(X, uses=~self.constant, **options)

    def nearest(self) -> np.ndarray:
        """The landmark of least u of every row."""
        assert len(self.P) <= TILE_ROWS
        tiles = tile_by_batch(0, self.P, self.batch, self.counts)
        return nearest_landmarks(tiles, 0, np.arange(len(self.P)), self.blocks)


def dense_affinities(P, batch, counts, blocks) -> np.ndarray:
    """Kept affinities of all landmarks to all rows."""
    tiles = tile_by_batch(0, P, batch, counts)
    A = np.zeros((sum(block.n_landmarks for block in blocks), len(P)))
    first = 0
    for block in blocks:
        for tile in range(tiles.n_tiles):
            rows = kept_affinities(tiles, block, tile)
            i = np.repeat(np.arange(rows.n_landmarks), np.diff(rows.indptr))
            A[first + i, tile * TILE_ROWS + rows.columns.astype(int)] = rows.values
        first += block.n_landmarks
    return A


def _step(engine, prepared, learned) -> Step:
    def whole(source):
        return source.rows(0, prepared.inputs.n_rows).read()

    features = whole(prepared.profiles.features)
    scored = whole(prepared.inputs.scored)
    P = prepared.scores.projection.scores(scored)
    (blocks,) = engine.gather([learned.landmarks.table])
    batch, counts = prepared.scores.codes.astype(int), prepared.scores.reference
    A = dense_affinities(P, batch, counts, blocks)
    scales = np.sqrt(np.concatenate([block.scales for block in blocks]))
    thresholds = np.concatenate([block.thresholds for block in blocks]) / BINS_PER_UNIT
    rows = [int(row) for row in np.concatenate([block.rows for block in blocks])]
    second = None
    if prepared.profiles.embedding is not None:
        second = scored
    elif prepared.profiles.embed_scores:
        second = P
    return Step(
        prepared.step,
        P,
        np.array(features),
        None if second is None else np.array(second),
        batch,
        counts,
        ReferenceRun(rows, scales, thresholds, A, A.sum(axis=0), ""),
        list(blocks),
        prepared.scores.projection.total_variance,
        prepared.profiles.constant,
        learned.facts,
    )


@contextmanager
def watched(learner: type = FitLearner) -> Iterator[list[Step]]:
    """Take down every step that a fit, or a frozen model, takes inside."""
    steps: list[Step] = []
    learn = learner.learn

    def learn_and_tell(self, pass_number, pass_input):
        prepared, learned = learn(self, pass_number, pass_input)
        engine = (self.job if learner is FitLearner else self._job).engine
        [one] = learned
        steps.append(_step(engine, prepared, one))
        return prepared, learned

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(learner, "learn", learn_and_tell)
        yield steps


@contextmanager
def watched_frozen() -> Iterator[list[Step]]:
    """The same of a frozen model."""
    with watched(FrozenLearner) as steps:
        yield steps
