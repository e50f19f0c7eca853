"""What an operator has learned, applied to rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from distributed import Future

from balans_dask.passes.corrected import RowSink, correct_rows
from balans_dask.passes.engine import Engine
from balans_dask.passes.rows import Pieces
from balans_dask.prepared import Prepared
from balans_dask.tiling import Partition

__all__ = ["Learned", "correct"]


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
