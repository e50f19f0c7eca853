"""Scores as they were before a correction: those of the input, by the preprocessor of the run."""

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from balans_dask.errors import InputWarning
from balans_dask.examine import examine
from balans_dask.fitting import fit_preprocessor
from balans_dask.inputs import plan_run
from balans_dask.io.store import open_store
from balans_dask.kernels.projection import Projection
from balans_dask.parameters import Parameters
from balans_dask.passes.blas import single_threaded_blas
from balans_dask.passes.engine import Engine, embedded_client
from balans_dask.store_run import StoreRun, store_run
from balans_dask.tiling import tile_slices

__all__ = ["Preprocessing", "project", "raw_projection"]


@dataclass(frozen=True)
class Preprocessing:
    """What decides the preprocessor of a run.

    Attributes
    ----------
    path : str
        Of the input.
    batch_keys : tuple of str
    n_components : int or None
    basis : str or None
    anchor : str or None
    """

    path: str
    batch_keys: tuple[str, ...]
    n_components: int | None
    basis: str | None = None
    anchor: str | None = None

    def run(self) -> StoreRun:
        """Check that the input can be preprocessed so; reads no profile."""
        # Of the parameters, the preprocessor knows the components alone; only displace takes
        # anchors, and no memory is planned for landmarks that nobody draws.
        parameters = Parameters(n_components=self.n_components, operator="displace", max_rows=1)
        return store_run(
            open_store(self.path), self.batch_keys, parameters, self.basis, self.anchor
        )


def raw_projection(asked: Preprocessing) -> tuple[Projection, StoreRun]:
    """Fit the preprocessor of a correction again: exact, out of core, on threads.

    Parameters
    ----------
    asked : Preprocessing

    Returns
    -------
    projection : Projection
        As the correction had it, bit for bit where the arithmetic is the same.
    run : StoreRun
        Names the matrix that it projects.
    """
    # What is odd about the input was said when it was corrected.
    with warnings.catch_warnings(), embedded_client() as client, single_threaded_blas():
        warnings.simplefilter("ignore", InputWarning)
        run = asked.run()
        engine = Engine(client)
        plan = plan_run(run.inputs, run.parameters, engine.workers())
        examined = examine(engine, run.inputs, run.parameters, plan.tiling)
        return fit_preprocessor(engine, run.inputs, run.parameters, plan, examined), run


def project(projection: Projection, values: NDArray[np.number]) -> NDArray[np.float64]:
    """Scores of any number of rows."""
    tiles = [projection.scores(values[tile]) for tile in tile_slices(len(values))]
    return np.concatenate(tiles).astype(np.float64)
