"""Two passes over the features: moments, then the scatter from which the preprocessor is made."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from distributed import Future
from numpy.typing import NDArray

from balans_dask.errors import InvalidInputError
from balans_dask.kernels.moments import Moments, add_moments, centred_tile, moments_of_tile
from balans_dask.kernels.projection import Projection, centring, principal_components
from balans_dask.passes.engine import Engine, task
from balans_dask.passes.sources import RowSource
from balans_dask.passes.trees import add_arrays, array_sum
from balans_dask.tiling import Tiling, tile_slices

__all__ = ["compute_moments", "fit_projection"]


def compute_moments(engine: Engine, tiling: Tiling, source: RowSource) -> Moments:
    """Sum, range, hash and bad values of every feature: one pass.

    Parameters
    ----------
    engine : Engine
    tiling : Tiling
    source : RowSource
    """
    rows = [source.rows(part.start, part.stop) for part in tiling.partitions()]
    moments: Moments = engine.collect(
        "moments", engine.map("moments", _moments, rows), _combine_moments
    )
    return moments


def fit_projection(
    engine: Engine,
    tiling: Tiling,
    source: RowSource,
    moments: Moments,
    n_components: int | None,
) -> Projection:
    """Fit the preprocessor: one pass over the features.

    Parameters
    ----------
    engine : Engine
    tiling : Tiling
    source : RowSource
    moments : Moments
        Of the same source.
    n_components : int or None
        ``None`` only centres.
    """
    used = np.flatnonzero(~moments.constant)
    preparation = engine.share("mean", (used, moments.mean[used]))
    parts = tiling.partitions()
    rows = [source.rows(part.start, part.stop) for part in parts]
    body = _squares if n_components is None else _scatter
    futures: list[Future] = engine.map("scatter", body, rows, [preparation] * len(parts))
    # Two at a time: a node of the tree is n_features squared.
    total = engine.take([engine.reduce("scatter-sum", futures, add_arrays, arity=2)])[0]
    _require_range(total if total.ndim == 1 else np.diag(total))
    if n_components is None:
        return centring(moments, total)
    return principal_components(moments, total, n_components)


def _require_range(squares: NDArray[np.float64]) -> None:
    n_out = int(np.sum(~np.isfinite(squares) | (squares == 0.0)))
    if n_out:
        raise InvalidInputError(
            f"{n_out} features vary on a scale whose squares leave the range of float64: rescale "
            "these features"
        )


@task
def _moments(rows: Any) -> Moments:
    values = rows.read()
    return add_moments([moments_of_tile(values[tile]) for tile in tile_slices(len(values))])


@task
def _combine_moments(parts: Sequence[Moments]) -> Moments:
    return add_moments(parts)


@task
def _scatter(
    rows: Any, preparation: tuple[NDArray[np.intp], NDArray[np.float64]]
) -> NDArray[np.float64]:
    values = rows.read()
    total = array_sum()
    for tile in tile_slices(len(values)):
        centred = centred_tile(values[tile], *preparation)
        total.push(centred.T @ centred)
    return total.total()


@task
def _squares(
    rows: Any, preparation: tuple[NDArray[np.intp], NDArray[np.float64]]
) -> NDArray[np.float64]:
    values = rows.read()
    total = array_sum()
    for tile in tile_slices(len(values)):
        centred = centred_tile(values[tile], *preparation)
        total.push(np.square(centred, out=centred).sum(axis=0))
    return total.total()
