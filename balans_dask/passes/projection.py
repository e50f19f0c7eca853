"""Two passes over the features: moments, then the scatter from which the preprocessor is made."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from balans_dask.errors import InvalidInputError
from balans_dask.io.sources import RowSource
from balans_dask.kernels.projection import (
    Moments,
    Projection,
    add_moments,
    centred_tile,
    centring,
    moments_of_tile,
    principal_components,
)
from balans_dask.passes.engine import Engine, Future, task
from balans_dask.tiling import PairwiseSum, Partition, Tiling, tile_slices, tree_sum

__all__ = [
    "add_combine",
    "array_sum",
    "compute_moments",
    "compute_scatter",
    "fit_projection",
]


def array_sum() -> PairwiseSum[NDArray[np.float64]]:
    """Start the sum of a partition's tiles; adds in place."""
    return PairwiseSum(_add_in_place)


@task
def add_combine(parts: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Sum consecutive nodes of one level."""
    return tree_sum(parts, np.add)


def _add_in_place(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.add(a, b, out=a)


def compute_moments(
    engine: Engine,
    tiling: Tiling,
    source: RowSource,
    reference: NDArray[np.bool_] | None = None,
) -> Moments:
    """Sum, range, hash and bad values of every feature: one pass.

    Parameters
    ----------
    reference : ndarray of shape (n_rows,), bool, or None
        Rows that count; ``None`` for all.
    """
    parts = tiling.partitions()
    rows = [source.rows(part.start, part.stop) for part in parts]
    leaves = engine.leaves("moments", _moments_chunk, rows, _masks(reference, parts))
    moments: Moments = engine.collect("moments-merge", leaves, _moments_combine)
    return moments


def fit_projection(
    engine: Engine,
    tiling: Tiling,
    source: RowSource,
    moments: Moments,
    n_components: int | None,
    reference: NDArray[np.bool_] | None = None,
) -> Projection:
    """Fit the preprocessor: one pass over the features.

    Parameters
    ----------
    moments : Moments
        Of the reference rows of the same source.
    n_components : int or None
        ``None`` only centres.
    reference : ndarray of shape (n_rows,), bool, or None
        Rows by which features are centred and standardised; ``None`` for all.
    """
    preparation = _shared_mean(engine, moments)
    parts = tiling.partitions()
    rows = [source.rows(part.start, part.stop) for part in parts]
    body = _squares_chunk if n_components is None else _scatter_chunk
    total = _summed(engine, body, rows, preparation)
    squares = total if total.ndim == 1 else np.diag(total)
    _require_range(squares)
    if n_components is None:
        return centring(moments, total, tiling.n_rows)
    if reference is not None:
        masks = _masks(reference, parts)
        leaves = engine.leaves("squares", _squares_chunk, rows, [preparation] * len(parts), masks)
        squares = engine.take([engine.reduce("squares-sum", leaves, add_combine)])[0]
    return principal_components(moments, squares, total, tiling.n_rows, n_components)


def compute_scatter(
    engine: Engine, tiling: Tiling, source: RowSource, moments: Moments
) -> NDArray[np.float64]:
    """Sum the outer products of all rows' deviations from the mean: one pass.

    Parameters
    ----------
    moments : Moments
        Of all rows.

    Returns
    -------
    scatter : ndarray of shape (n_used, n_used), float64
        Of the features that are not constant.
    """
    rows = [source.rows(part.start, part.stop) for part in tiling.partitions()]
    return _summed(engine, _scatter_chunk, rows, _shared_mean(engine, moments))


def _shared_mean(engine: Engine, moments: Moments) -> Future:
    used = np.flatnonzero(~moments.constant)
    return engine.share("mean", (used, moments.mean[used]))


def _summed(
    engine: Engine, body: Callable[..., Any], rows: Sequence[Any], preparation: Future
) -> NDArray[np.float64]:
    leaves = engine.leaves("scatter", body, rows, [preparation] * len(rows))
    # Two at a time: a node of the tree is n_features squared.
    total: NDArray[np.float64] = engine.take(
        [engine.reduce("scatter-sum", leaves, add_combine, arity=2)]
    )[0]
    return total


def _masks(
    reference: NDArray[np.bool_] | None, parts: Sequence[Partition]
) -> list[NDArray[np.bool_] | None]:
    return [None if reference is None else reference[part.start : part.stop] for part in parts]


def _require_range(squares: NDArray[np.float64]) -> None:
    n_out = int(np.sum(~np.isfinite(squares) | (squares == 0.0)))
    if n_out:
        raise InvalidInputError(
            f"{n_out} features vary on a scale whose squares leave the range of float64: rescale "
            "these features"
        )


@task
def _moments_chunk(rows: Any, mask: NDArray[np.bool_] | None) -> Moments:
    values = rows.read()
    tiles = tile_slices(len(values))
    if mask is None:
        return add_moments([moments_of_tile(values[tile]) for tile in tiles])
    return add_moments([moments_of_tile(values[tile][mask[tile]]) for tile in tiles])


@task
def _moments_combine(parts: Sequence[Moments]) -> Moments:
    return add_moments(parts)


@task
def _scatter_chunk(
    rows: Any, preparation: tuple[NDArray[np.intp], NDArray[np.float64]]
) -> NDArray[np.float64]:
    values = rows.read()
    total = array_sum()
    for tile in tile_slices(len(values)):
        centred = centred_tile(values[tile], *preparation)
        total.push(centred.T @ centred)
    return total.total()


@task
def _squares_chunk(
    rows: Any,
    preparation: tuple[NDArray[np.intp], NDArray[np.float64]],
    mask: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:
    values = rows.read()
    total = array_sum()
    for tile in tile_slices(len(values)):
        chosen = values[tile] if mask is None else values[tile][mask[tile]]
        centred = centred_tile(chosen, *preparation)
        total.push(np.square(centred, out=centred).sum(axis=0))
    return total.total()
