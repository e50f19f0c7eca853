"""Correct a store by a frozen model."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from balans_dask.io.run_folder import PassFolder, RunFolder
from balans_dask.model.frozen import Model
from balans_dask.model.inputs import Inputs
from balans_dask.model.stages import PREPARING, Stage
from balans_dask.model.transform import adapt, warn_of_uncovered
from balans_dask.passes.engine import Engine
from balans_dask.passes.memory import MemoryPlan
from balans_dask.workflows.request import StoreRun
from balans_dask.workflows.run import StoreWriter, WriteOptions
from balans_dask.workflows.store_output import PassWriter

__all__ = ["TransformWriter"]


class TransformWriter(StoreWriter):
    """Correct a store by a frozen model.

    Parameters
    ----------
    engine : Engine
    run : StoreRun
    inputs : Inputs
        Of the run, with batches numbered by ``known_to``.
    plan : MemoryPlan
    model : Model
    folder : RunFolder
    identity : mapping
    options : WriteOptions
    """

    def __init__(
        self,
        engine: Engine,
        run: StoreRun,
        inputs: Inputs,
        plan: MemoryPlan,
        model: Model,
        folder: RunFolder,
        identity: Mapping[str, Any],
        options: WriteOptions,
    ) -> None:
        super().__init__(engine, run, inputs, plan, folder, identity, options)
        self._model = model
        self._projection = model.projection
        self._constant = model.constant

    def _begin(self, number: int, folder: PassFolder) -> None:
        self._options.on_stage(Stage(PREPARING, number=number))

    def _one_pass(
        self, number: int, folder: PassFolder, moved: Inputs, writer: PassWriter
    ) -> dict[str, Any]:
        frozen = self._model.passes[number]
        missing = writer.missing(self._plan.tiling)
        if missing:
            prepared = self._prepared(number, moved)
            learned = adapt(self._engine, prepared, frozen, len(self._model.batches))
            writer.write(prepared, learned, missing, self._options.on_stage)
        return {
            "stop_reason": frozen.stop_reason,
            "n_sampled": frozen.n_landmarks,
            "n_capped": frozen.n_capped,
            "coverage_curve": {"n_sampled": frozen.curve[:, 0], "n_covered": frozen.curve[:, 1]},
        }

    def _after_writing(self, covered: NDArray[np.bool_]) -> None:
        n_uncovered = int(np.count_nonzero(~covered))
        warn_of_uncovered(n_uncovered, len(covered), self._model.risk)
