"""The adaptive sampler (Algorithm 1): rounds of draws and passes until further rows are idle."""

import logging
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field, replace

import numpy as np
from distributed import Future
from numpy.typing import NDArray

from balans_dask.coverage import Coverage
from balans_dask.kernels.coverage import CoverageGain
from balans_dask.kernels.landmarks import LandmarkBlock, landmark_block
from balans_dask.parameters import AUTO, Parameters
from balans_dask.passes.elbow import elbows
from balans_dask.passes.engine import Engine
from balans_dask.passes.rows import affinity_rows, coverage_gains, first_rows
from balans_dask.passes.scales import local_scales
from balans_dask.passes.scores import Scores, pick_landmarks

__all__ = ["Reach", "Round", "SampledRows", "sample_rows"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Round:
    """What one round left behind.

    Attributes
    ----------
    n_rounds, n_sampled : int
        Rounds and rows so far.
    n_covered, n_rows : int
        Rows that some landmark covers, of all rows.
    n_idle : int
        Consecutive rows, up to the last one, that covered nothing new.
    """

    n_rounds: int
    n_sampled: int
    n_covered: int
    n_rows: int
    n_idle: int


@dataclass(frozen=True)
class Reach:
    """How far the landmarks of one round reach, in draw order.

    Attributes
    ----------
    n_kept : ndarray of shape (n_landmarks,), int64
        Rows of kept affinity, the landmark itself included.
    n_new : ndarray of shape (n_landmarks,), int64
        Rows among them that no landmark drawn before covers.
    """

    n_kept: NDArray[np.int64]
    n_new: NDArray[np.int64]


@dataclass
class SampledRows:
    """The landmarks of a run, as the sampler leaves them.

    Attributes
    ----------
    blocks : list of LandmarkBlock
        One a round, in draw order.
    pieces : list over blocks of list over partitions of Future, or None
        Rows of A_S on the workers; ``None`` for blocks whose rows were let go.
    coverage : Coverage
    curve : list of Round
    reach : list of Reach
        One a round, like ``blocks``.
    stop_reason : {"patience", "all_rows", "max_rows", ""}
        Empty while rows are still drawn.
    n_restored : int
        Blocks of an earlier, interrupted run, whose rows of A_S are gone.
    kept_bytes : int
        Memory of the pieces on all workers.
    settled : bool
        False for the moment in which a round is added: the state must not be saved then.
    """

    coverage: Coverage
    blocks: list[LandmarkBlock] = field(default_factory=list)
    pieces: list[list[Future] | None] = field(default_factory=list)
    curve: list[Round] = field(default_factory=list)
    reach: list[Reach] = field(default_factory=list)
    stop_reason: str = ""
    n_restored: int = 0
    kept_bytes: int = 0
    settled: bool = True

    @property
    def n_sampled(self) -> int:
        """Rows sampled so far."""
        return self.curve[-1].n_sampled if self.curve else 0

    @property
    def rows(self) -> NDArray[np.int64]:
        """Sampled rows in draw order."""
        return np.concatenate([block.rows for block in self.blocks])

    @property
    def n_capped(self) -> int:
        """Sampled rows with a scale beyond the guard's limit."""
        return sum(int(block.capped.sum()) for block in self.blocks)

    @property
    def n_kept(self) -> NDArray[np.int64]:
        """Rows of kept affinity of every sampled row, in draw order."""
        return np.concatenate([reach.n_kept for reach in self.reach])

    @property
    def n_new(self) -> NDArray[np.int64]:
        """Rows that every sampled row covers first, in draw order."""
        return np.concatenate([reach.n_new for reach in self.reach])

    def pieces_of(self, partition: int, first_block: int = 0) -> list[Future | None]:
        """Pieces of one partition, from a block on."""
        return [piece if piece is None else piece[partition] for piece in self.pieces[first_block:]]

    def copied(self) -> "SampledRows":
        """Return the state as it is now, from which a sampler of other limits can go on."""
        return replace(
            self,
            coverage=deepcopy(self.coverage),
            blocks=list(self.blocks),
            pieces=list(self.pieces),
            curve=list(self.curve),
        )


def sample_rows(
    engine: Engine,
    scores: Scores,
    parameters: Parameters,
    piece_bytes: int,
    number: int = 0,
    sampled: SampledRows | None = None,
    on_round: Callable[[SampledRows], None] = lambda sampled: None,
) -> SampledRows:
    """Draw landmarks until further ones cover nothing new.

    Parameters
    ----------
    engine : Engine
    scores : Scores
    parameters : Parameters
    piece_bytes : int
        Memory that rows of A_S may take on all workers together; later ones are computed again
        when they are needed.
    number : int
        Of the pass.
    sampled : SampledRows or None
        Rows that an earlier run has sampled, which was interrupted or stopped sooner.
    on_round : callable
        Told about every round, when it is settled.
    """
    n_rows = scores.tiling.n_rows
    sampled = sampled or SampledRows(Coverage.start(n_rows, scores.reference))
    n_candidates = n_rows if scores.reference is None else int(scores.reference.sum())
    limit = min(n_candidates, parameters.max_rows or n_candidates)
    while not sampled.stop_reason:
        size = min(parameters.block_rows, limit - sampled.n_sampled)
        block, pieces, gains, n_new, n_idle = _one_round(
            engine, scores, parameters, number, sampled, size
        )
        n_bytes = sum(gain.n_bytes for gain in gains)
        kept = sampled.kept_bytes + n_bytes <= piece_bytes
        sampled.settled = False
        sampled.coverage.add(block.rows, gains, n_idle)
        sampled.blocks.append(block)
        sampled.reach.append(Reach(np.sum([gain.n_kept for gain in gains], axis=0), n_new))
        sampled.pieces.append(pieces if kept else None)
        if not kept:
            engine.release(pieces)
        sampled.kept_bytes += n_bytes if kept else 0
        n_sampled = sampled.n_sampled + block.n_landmarks
        sampled.curve.append(
            Round(len(sampled.blocks), n_sampled, sampled.coverage.n_covered, n_rows, n_idle)
        )
        if n_idle >= parameters.patience:
            sampled.stop_reason = "patience"
        elif n_sampled == limit:
            sampled.stop_reason = "all_rows" if limit == n_candidates else "max_rows"
        sampled.settled = True
        logger.debug("%s", sampled.curve[-1])
        on_round(sampled)
    return sampled


def _one_round(
    engine: Engine,
    scores: Scores,
    parameters: Parameters,
    number: int,
    sampled: SampledRows,
    size: int,
) -> tuple[LandmarkBlock, list[Future], list[CoverageGain], NDArray[np.int64], int]:
    """Draw a block and pass over the data three times; changes nothing that was sampled."""
    coverage = sampled.coverage
    rows = coverage.draw(parameters.seed, len(sampled.blocks), size, number)
    block = landmark_block(rows, pick_landmarks(engine, scores, rows), parameters.block_rows)
    n_neighbors = min(parameters.n_neighbors, scores.largest_batch)
    # Anchors are chosen because they are in every batch: none of them can be missing from one.
    guard = parameters.max_scale_ratio
    guard = None if guard == AUTO and scores.reference is not None else guard
    block = local_scales(engine, scores, block, n_neighbors, guard)
    block = elbows(engine, scores, block, parameters.max_neighbors)
    pieces = affinity_rows(engine, scores, block)
    gains = coverage_gains(engine, scores, pieces)
    n_new = coverage.newly_covered(gains, block.n_landmarks)
    n_kept, n_idle = coverage.idle_until(
        n_new,
        parameters.coverage_tol * scores.tiling.n_rows,
        parameters.patience,
    )
    if n_kept < block.n_landmarks:
        block = block.first(n_kept)
        pieces = first_rows(engine, pieces, n_kept)
        gains = coverage_gains(engine, scores, pieces)
    return block, pieces, gains, n_new[:n_kept], n_idle
