"""What is sampled: landmarks, the curve of the rounds, and the workers' part of both."""

from dataclasses import dataclass, field, replace

import numpy as np
from distributed import Future
from numpy.typing import NDArray

from balans_dask.kernels.coverage import DrawnRows, Reach
from balans_dask.kernels.landmarks import LandmarkBlock
from balans_dask.model.stopping import Tally
from balans_dask.passes.engine import Engine

__all__ = ["Round", "SampledRows"]


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
class SampledRows:
    """The landmarks of a run, as the sampler leaves them.

    Attributes
    ----------
    blocks : list of LandmarkBlock
        One a round, in draw order.
    curve : list of Round
    reach : list of Reach
        One a round, like ``blocks``.
    stop_reason : {"patience", "auto", "all_rows", "max_rows", ""}
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

    def copied(self, engine: Engine) -> "SampledRows":
        """Return the state as it is now, from which a sampler of other limits can go on."""
        return replace(
            self,
            blocks=list(self.blocks),
            curve=list(self.curve),
            reach=list(self.reach),
            coverage=engine.held(self.coverage),
            pieces=list(self.pieces),
        )
