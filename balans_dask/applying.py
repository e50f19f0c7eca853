"""What an operator has learned, applied to rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from distributed import Future

from balans_dask.model.prepared import Prepared
from balans_dask.passes.correct import RowSink, correct_rows
from balans_dask.passes.engine import Engine
from balans_dask.passes.round import Pieces
from balans_dask.tiling import Partition

__all__ = ["Learned", "MovedRows", "correct"]


@dataclass(frozen=True)
class Learned:
    """What the operator knows of the landmarks, on the workers.

    Attributes
    ----------
    table : Future of list of LandmarkBlock
    pieces : list over partitions of Pieces
        Rows of A_S that wait on the workers.
    correction : list
        The operator, with futures.
    targets : list of Future
        Of ``displace``: where the batches near each landmark meet, for a frozen model.
    """

    table: Future
    pieces: list[Pieces]
    correction: list[Any]
    targets: list[Future]


@dataclass(frozen=True)
class MovedRows:
    """Rows as a pass has left them: numpy arrays, or Dask arrays that are not computed yet.

    Attributes
    ----------
    features : array of shape (n_rows, n_features)
    embedding : array of shape (n_rows, n_columns), or None
        The second matrix, if there is one and it was wanted.
    covered : array of shape (n_rows,), bool
        Rows that some landmark covers.
    displacement : array of shape (n_rows,), float32
        How far each row moved in the matrix in which distances were taken.
    """

    features: Any
    embedding: Any
    covered: Any
    displacement: Any


def correct(
    engine: Engine,
    prepared: Prepared,
    learned: Learned,
    sink: RowSink | None,
    partitions: Sequence[Partition] | None = None,
) -> list[Future]:
    """Correct the rows of one pass, one future of ``CorrectedRows`` a partition.

    Parameters
    ----------
    engine : Engine
    prepared : Prepared
    learned : Learned
    sink : RowSink or None
        Where tasks write the rows; ``None`` to return them.
    partitions : sequence of Partition or None
        Those to correct; ``None`` for all.
    """
    return correct_rows(
        engine,
        prepared.scores,
        prepared.profiles,
        prepared.plan.tiling.partitions() if partitions is None else partitions,
        learned.table,
        learned.pieces,
        learned.correction,
        prepared.parameters.uncovered == "keep",
        prepared.strength,
        prepared.origin,
        sink,
    )
