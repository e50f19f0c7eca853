"""The adaptive sampler (Algorithm 1): rounds of draws and passes until a rule stops."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from balans_dask.kernels.coverage import Draw, DrawnRows, Reach
from balans_dask.kernels.landmarks import LandmarkBlock, landmark_block
from balans_dask.model.stopping import Drawn, StopRule, Tally, stop_rule
from balans_dask.parameters import ALIGN, AUTO, Parameters
from balans_dask.passes.coverage import Report, cover, cover_again, report, uncovered
from balans_dask.passes.engine import Engine, Future
from balans_dask.passes.round import (
    ElbowSample,
    affinity_rows,
    affinity_rows_again,
    elbows,
    first_rows,
    local_scales,
)
from balans_dask.passes.scores import Scores, pick_landmarks

__all__ = [
    "Round",
    "SamplerState",
    "sample_rows",
]

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
    tally : Tally
        Where the rule that stops stands.
    """

    n_rounds: int
    n_sampled: int
    n_covered: int
    n_rows: int
    tally: Tally


@dataclass
class SamplerState:
    """The landmarks of a run, as the sampler leaves them.

    Attributes
    ----------
    blocks : list of LandmarkBlock
        One a round, in draw order.
    curve : list of Round
    reach : list of Reach
        One a round, like ``blocks``.
    stop_reason : {"share", "patience", "auto", "all_rows", "max_rows", ""}
        Empty while rows are still drawn.
    coverage : list over partitions of Future of RowCoverage
        Empty before the sampler begins or continues.
    drawn : DrawnRows or None
        Rows of the next round.
    n_open : int
        Rows that nothing covers yet and that can be drawn.
    pieces : list of list over partitions of Future, or None
        Rows of A_S on the workers, of one block after another; the first entry stands for all
        blocks of an interrupted run, and ``None`` for a block whose rows were let go.
    kept_bytes : int
        Memory of the pieces on all workers.
    facts : dict of str to float
        What ``align`` has learned of the batches, once it has: ``rho`` and ``kappa``.
    settled : bool
        False for the moment in which a round is added: the state must not be saved then.
    """

    blocks: list[LandmarkBlock] = field(default_factory=list)
    curve: list[Round] = field(default_factory=list)
    reach: list[Reach] = field(default_factory=list)
    stop_reason: str = ""
    coverage: list[Future] = field(default_factory=list)
    drawn: DrawnRows | None = None
    n_open: int = 0
    pieces: list[list[Future] | None] = field(default_factory=list)
    kept_bytes: int = 0
    facts: dict[str, float] = field(default_factory=dict)
    settled: bool = True

    @property
    def n_sampled(self) -> int:
        """Rows sampled so far."""
        return self.curve[-1].n_sampled if self.curve else 0

    @property
    def n_covered(self) -> int:
        """Rows with positive coverage."""
        return self.curve[-1].n_covered if self.curve else 0

    @property
    def tally(self) -> Tally:
        """Where the rule that stops stands."""
        return self.curve[-1].tally if self.curve else Tally()

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

    def pieces_of(self, partition: int) -> list[Future | None]:
        """Pieces of one partition."""
        return [piece if piece is None else piece[partition] for piece in self.pieces]

    def copied(self, engine: Engine) -> "SamplerState":
        """Return the state as it is now, from which a sampler of other limits can go on."""
        return replace(
            self,
            blocks=list(self.blocks),
            curve=list(self.curve),
            reach=list(self.reach),
            coverage=engine.held(self.coverage),
            pieces=list(self.pieces),
        )


def sample_rows(
    engine: Engine,
    scores: Scores,
    parameters: Parameters,
    piece_bytes: int,
    pass_number: int = 0,
    sampled: SamplerState | None = None,
    on_round: Callable[[SamplerState], None] = lambda sampled: None,
) -> SamplerState:
    """Draw landmarks until a rule stops.

    Parameters
    ----------
    piece_bytes : int
        Memory that rows of A_S may take on all workers together; later ones are computed again
        when they are needed.
    pass_number : int
        Of the pass.
    sampled : SamplerState or None
        Rows that an earlier run has sampled, which was interrupted or stopped sooner.
    on_round : callable
        Told about every round, when it is settled.
    """
    n_rows = scores.tiling.n_rows
    n_candidates = n_rows if scores.reference is None else int(scores.reference.sum())
    limit = min(n_candidates, parameters.max_rows or n_candidates)
    rule = stop_rule(parameters, n_rows, n_candidates)
    sampled = sampled or SamplerState()
    if not sampled.coverage:
        draw = Draw(parameters.seed, pass_number, len(sampled.blocks), parameters.block_rows)
        _lay_out(engine, scores, sampled, piece_bytes, draw)
    elbow_sample = None
    if not sampled.stop_reason and _samples_elbows(scores, parameters):
        elbow_sample = ElbowSample.draw(engine, scores, parameters.seed, pass_number)
    while not sampled.stop_reason:
        n_left = limit - sampled.n_sampled
        block, pieces, coverage, found, tally, reason = _one_round(
            engine, scores, parameters, pass_number, sampled, n_left, rule, elbow_sample
        )
        n_sampled = sampled.n_sampled + block.n_landmarks
        n_covered = sampled.n_covered + int(found.reach.n_new.sum())
        kept = sampled.kept_bytes + found.piece_bytes <= piece_bytes
        engine.release(sampled.coverage)
        sampled.settled = False
        sampled.blocks.append(block)
        sampled.reach.append(found.reach)
        sampled.coverage, sampled.drawn, sampled.n_open = coverage, found.drawn, found.n_open
        sampled.pieces.append(pieces if kept else None)
        if not kept:
            engine.release(pieces)
        sampled.kept_bytes += found.piece_bytes if kept else 0
        sampled.curve.append(Round(len(sampled.blocks), n_sampled, n_covered, n_rows, tally))
        if not reason and n_sampled == limit:
            reason = "all_rows" if limit == n_candidates else "max_rows"
        sampled.stop_reason = reason
        sampled.settled = True
        logger.debug("%s", sampled.curve[-1])
        on_round(sampled)
    if elbow_sample is not None:
        engine.release([elbow_sample.tiles])
    return sampled


def _samples_elbows(scores: Scores, parameters: Parameters) -> bool:
    """Whether elbows are found on a sample: not the paper's, nor where rows of A are counted."""
    counts = scores.reference is not None or parameters.max_neighbors is not None
    return parameters.operator == ALIGN and not counts


def _lay_out(
    engine: Engine, scores: Scores, sampled: SamplerState, piece_bytes: int, draw: Draw
) -> None:
    """Make the workers' part of what is sampled so far, once, and draw the rows of a next round."""
    sampled.coverage = uncovered(engine, scores)
    if sampled.blocks:
        before, n_blocks = sampled.coverage, len(sampled.blocks)
        table = engine.share("landmarks", list(sampled.blocks))
        pieces = affinity_rows_again(engine, scores, table, n_blocks, piece_bytes)
        sampled.coverage = cover_again(engine, scores, before, table, pieces)
        sampled.pieces = [pieces]
        engine.release([*before, table])
    if not sampled.stop_reason:
        found = report(engine, scores, sampled.coverage, draw)
        sampled.drawn, sampled.n_open = found.drawn, found.n_open
        sampled.kept_bytes = found.piece_bytes


def _one_round(
    engine: Engine,
    scores: Scores,
    parameters: Parameters,
    pass_number: int,
    sampled: SamplerState,
    n_left: int,
    rule: StopRule,
    elbow_sample: ElbowSample | None,
) -> tuple[LandmarkBlock, list[Future], list[Future], Report, Tally, str]:
    """Pass over the data, and draw the next block; changes nothing that was sampled."""
    assert sampled.drawn is not None  # every round but the last one draws
    drawn = sampled.drawn.chosen(slice(n_left))
    block = _drawn_block(engine, scores, parameters, drawn)
    n_neighbors = min(parameters.n_neighbors, scores.largest_batch)
    # Anchors are chosen because they are in every batch: none of them can be missing from one. And
    # align asks every row whether its match is one.
    guard = parameters.max_scale_ratio
    unguarded = scores.reference is not None or parameters.operator == ALIGN
    guard = None if guard == AUTO and unguarded else guard
    block = local_scales(engine, scores, block, n_neighbors, guard)
    block = elbows(engine, scores, block, parameters.max_neighbors, elbow_sample)
    pieces = affinity_rows(engine, scores, block)
    coverage = cover(engine, sampled.coverage, block.rows, pieces)
    # A whole block, as a run of a larger limit may go on from here; none after the last row.
    size = parameters.block_rows if block.n_landmarks < n_left else 0
    draw = Draw(parameters.seed, pass_number, len(sampled.blocks) + 1, size)
    found = report(engine, scores, coverage, draw)
    n_sampled = sampled.n_sampled + block.n_landmarks
    seen = Drawn(found.reach.n_new, drawn.was_open, sampled.n_open, found.n_open, n_sampled)
    n_kept, tally, reason = rule.follow(sampled.tally, seen)
    if n_kept < block.n_landmarks:
        block = block.first(n_kept)
        pieces = first_rows(engine, pieces, n_kept)
        engine.release(coverage)
        coverage = cover(engine, sampled.coverage, block.rows, pieces)
        found = report(engine, scores, coverage, replace(draw, size=0))
    return block, pieces, coverage, found, tally, reason


def _drawn_block(
    engine: Engine, scores: Scores, parameters: Parameters, drawn: DrawnRows
) -> LandmarkBlock:
    """Make a block of the rows that the last round has drawn."""
    coordinates = drawn.scores
    if coordinates is None:
        coordinates = pick_landmarks(engine, scores, drawn.rows)
    return landmark_block(drawn.rows, coordinates, parameters.block_rows)
