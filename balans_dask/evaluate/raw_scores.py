"""Scores as they were before a correction: those of the input, by the preprocessor of the run."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from balans_dask.errors import InputWarning
from balans_dask.io.store import ProfileStore
from balans_dask.kernels._blas import single_threaded_blas
from balans_dask.kernels.projection import Projection
from balans_dask.model.fit import fit_preprocessor
from balans_dask.model.inputs import examine, plan_run
from balans_dask.parameters import Parameters
from balans_dask.passes.engine import Engine, embedded_client
from balans_dask.tiling import tile_slices
from balans_dask.workflows.request import store_run

__all__ = ["RawScores", "default_scores", "project", "recorded_scores"]


@dataclass(frozen=True)
class RawScores:
    """Where the scores before a correction come from.

    Attributes
    ----------
    store : ProfileStore
        The input.
    basis : str or None
        Embedding of the input in which distances were taken.
    projection : Projection
    """

    store: ProfileStore
    basis: str | None
    projection: Projection

    @property
    def identity(self) -> tuple[str, str | None, str]:
        """Equal for corrections of one input by one preprocessor."""
        digest = blake2b()
        for array in self.projection.arrays().values():
            digest.update(np.ascontiguousarray(array).tobytes())
        return self.store.path, self.basis, digest.hexdigest()

    @property
    def matrix(self) -> zarr.Array:
        """What is projected."""
        return self.store.features if self.basis is None else self.store.embedding(self.basis)


def recorded_scores(store: ProfileStore, record: Mapping[str, Any]) -> RawScores:
    """Take the preprocessor that a correction recorded.

    Parameters
    ----------
    store : ProfileStore
        The input.
    record : mapping
        By ``correction_record``.
    """
    basis = str(record["parameters"]["basis"])
    projection = Projection.from_arrays(record["preprocessor"])
    return RawScores(store, None if basis == "X" else basis, projection)


def default_scores(store: ProfileStore, batch_keys: Sequence[str]) -> RawScores:
    """Fit the preprocessor that a correction would have by default: out of core, on threads.

    Parameters
    ----------
    store : ProfileStore
    batch_keys : sequence of str
    """
    # No memory is planned for landmarks that nobody draws.
    run = store_run(store, tuple(batch_keys), Parameters(max_rows=1), writes=False)
    # What is odd about the input is said when it is corrected.
    with warnings.catch_warnings(), embedded_client() as client, single_threaded_blas():
        warnings.simplefilter("ignore", InputWarning)
        engine = Engine(client)
        plan = plan_run(run.inputs, run.parameters, engine.workers())
        examined = examine(engine, run.inputs, run.parameters, plan.tiling)
        projection = fit_preprocessor(engine, run.inputs, run.parameters, plan, examined)
    return RawScores(store, None, projection)


def project(projection: Projection, values: NDArray[np.number]) -> NDArray[np.float64]:
    """Scores of any number of rows."""
    tiles = [projection.scores(values[tile]) for tile in tile_slices(len(values))]
    return np.concatenate(tiles).astype(np.float64)
