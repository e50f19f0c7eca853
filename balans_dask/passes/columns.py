"""Sums over all partitions, for some columns of the profiles at a time."""

from collections.abc import Callable, Sequence
from typing import Any

from distributed import Future

from balans_dask.passes.engine import Engine
from balans_dask.passes.profiles import Profiles
from balans_dask.passes.rows import Pieces
from balans_dask.passes.scores import Scores

__all__ = ["cut_columns", "sum_columns"]


def cut_columns(n_columns: int, at_once: int) -> list[slice]:
    """Slices of at most ``at_once`` columns."""
    firsts = range(0, n_columns, at_once)
    return [slice(first, min(first + at_once, n_columns)) for first in firsts]


def sum_columns(
    engine: Engine,
    name: str,
    body: Callable[..., Any],
    combine: Callable[[list[Any]], Any],
    scores: Scores,
    profiles: Profiles,
    table: Future,
    pieces: Sequence[Pieces],
    cuts: Sequence[slice],
) -> list[Future]:
    """Reduce over all partitions, one pass after another, so that few sums wait at a time.

    Parameters
    ----------
    engine : Engine
    name : str
        Of the pass.
    body : callable
        Made by ``task``; takes what makes ``PartitionRows``, and the columns as a slice.
    combine : callable
        Made by ``task``; takes consecutive nodes of one level.
    scores : Scores
    profiles : Profiles
    table : Future of list of LandmarkBlock
        All blocks of landmarks, in draw order.
    pieces : sequence over partitions of Pieces
        Rows of A_S.
    cuts : sequence of slice
        Columns of every pass.

    Returns
    -------
    sums : list of Future
        One a pass.
    """
    sums = []
    for columns in cuts:
        both = [profiles.arguments(part.start, part.stop) for part in scores.partitions]
        futures = engine.map(
            name,
            body,
            scores.arguments(),
            [list(pair) for pair in both],
            [list(of_partition) for of_partition in pieces],
            [table] * len(both),
            [columns] * len(both),
        )
        # Two at a time: a node of the tree is as large as the result.
        sums.append(engine.reduce(f"{name}-merge", futures, combine, arity=2))
        engine.wait(sums[-1:])
    return sums
