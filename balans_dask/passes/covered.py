"""Which rows an operator covers, without correcting any."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from distributed import Future
from numpy.typing import NDArray

from balans_dask.kernels.affinity import AffinityRows
from balans_dask.kernels.landmarks import LandmarkBlock
from balans_dask.kernels.operators import covered_by
from balans_dask.passes.engine import Engine, task
from balans_dask.passes.profiles import PartitionAffinities
from balans_dask.passes.rows import Pieces
from balans_dask.passes.scores import Scores

__all__ = ["covered_rows"]


def covered_rows(
    engine: Engine,
    scores: Scores,
    table: Future,
    pieces: Sequence[Pieces],
    correction: list[Any],
) -> NDArray[np.bool_]:
    """Tell which rows an operator covers.

    Parameters
    ----------
    engine : Engine
    scores : Scores
    table : Future of list of LandmarkBlock
    pieces : sequence over partitions of Pieces
    correction : list
        The operator, with futures.

    Returns
    -------
    covered : ndarray of shape (n_rows,), bool
    """
    name, spread = correction[0], correction[1]
    # Only a pseudo-inverse makes weights that may cancel.
    weights = engine.map("weights", _last_column, spread[-1:]) if name == "nystrom" else []
    n = len(scores.partitions)
    futures = engine.map(
        "covered",
        _covered,
        scores.arguments(),
        [list(of_partition) for of_partition in pieces],
        [table] * n,
        [weights] * n,
    )
    return np.concatenate(engine.take(futures))


@task
def _last_column(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.ascontiguousarray(sums[:, -1:])


@task
def _covered(
    argument: Any,
    pieces: Sequence[AffinityRows | None],
    table: Sequence[LandmarkBlock],
    weights: Sequence[NDArray[np.float64]],
) -> NDArray[np.bool_]:
    part = PartitionAffinities(argument, pieces, table)
    covered = np.empty(part.tiles.n_rows, dtype=bool)
    for tile, place in enumerate(part.slices):
        n_rows = place.stop - place.start
        covered[place] = covered_by(part.affinities(tile), n_rows, *weights)
    return covered
