"""Fit a store and correct it, with checkpoints."""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from balans_dask.io.atomic import write_state
from balans_dask.io.run_folder import PassFolder, RunFolder
from balans_dask.kernels.projection import Projection
from balans_dask.model.fit import Fit, fit, fit_preprocessor, learn
from balans_dask.model.frozen import FrozenPass, freeze, model_of
from balans_dask.model.inputs import Examined, Inputs
from balans_dask.model.prepared import Prepared
from balans_dask.model.sampler import SampledRows
from balans_dask.model.saved import save_model
from balans_dask.model.stages import PREPARING, Stage
from balans_dask.model.state import arrays_of, sampled_from
from balans_dask.passes.engine import Engine
from balans_dask.passes.memory import MemoryPlan
from balans_dask.workflows.records import model_record, sampling_record, texts
from balans_dask.workflows.request import StoreRun
from balans_dask.workflows.run import StoreWriter, WriteOptions
from balans_dask.workflows.store_output import PassWriter

__all__ = ["FitWriter"]

State = dict[str, NDArray[Any]]


class FitWriter(StoreWriter):
    """Fit a store and correct it.

    Parameters
    ----------
    engine : Engine
    run : StoreRun
    plan : MemoryPlan
    examined : Examined
    folder : RunFolder
    identity : mapping
    options : WriteOptions
    states : list of dict or None
        State of every pass of an interrupted run; ``None`` where a pass begins afresh.
    """

    def __init__(
        self,
        engine: Engine,
        run: StoreRun,
        plan: MemoryPlan,
        examined: Examined,
        folder: RunFolder,
        identity: Mapping[str, Any],
        options: WriteOptions,
        states: Sequence[State | None],
    ) -> None:
        super().__init__(engine, run, run.inputs, plan, folder, identity, options)
        self._examined = examined
        self._constant = examined.features.constant
        self._states = list(states)
        self._frozen: list[FrozenPass] = []

    def _begin(self, number: int, folder: PassFolder) -> None:
        if number == 0:
            state = self._states[0]
            if state is not None:
                self._options.on_stage(Stage(PREPARING))
                self._projection = Projection.from_arrays(state)
                return
            self._projection = fit_preprocessor(
                self._engine,
                self._run.inputs,
                self._run.parameters,
                self._plan,
                self._examined,
                self._options.on_stage,
            )

    def _one_pass(
        self, number: int, folder: PassFolder, moved: Inputs, writer: PassWriter
    ) -> dict[str, Any]:
        state = self._states[number]
        missing = writer.missing(self._plan.tiling)
        if state is not None and str(state["stop_reason"]) and not missing and not self._kept:
            sampled = sampled_from(state, self._run.parameters.block_rows)
        else:
            if number:
                self._options.on_stage(Stage(PREPARING, number=number))
            labels = self._run.labels_of(number)
            prepared = self._prepared(number, moved.numbered(labels, moved.reference))
            fitted = self._fitted(prepared, folder, state)
            if not self._kept:
                # Only a model asks for it.
                self._engine.release(fitted.sampled.coverage)
            sampled = fitted.sampled
            if missing or self._kept:
                learned = learn(self._engine, fitted, self._options.on_stage)
                writer.write(fitted.prepared, learned, missing, self._options.on_stage)
                if self._kept:
                    self._frozen.append(freeze(self._engine, fitted, learned))
        self._is_landmark[sampled.rows] = True
        labels = self._run.labels_of(number)
        record = sampling_record(sampled, labels, self._projection)
        return record | ({"batches": texts(labels.names)} if self._run.order else {})

    @property
    def _kept(self) -> bool:
        return self._options.model is not None

    def _fitted(self, prepared: Prepared, folder: PassFolder, state: State | None) -> Fit:
        """Sample the rows of a pass; what is there is saved now and then, and at the end."""
        saver = _Saver(folder, self._projection, self._options.checkpoint_seconds)
        try:
            fitted = fit(self._engine, prepared, self._options.on_stage, state, saver.after_round)
        except BaseException:
            with suppress(OSError):
                saver.save()
            raise
        saver.save()
        return fitted

    def _after_writing(self, covered: NDArray[np.bool_]) -> None:
        if self._options.model is None:
            return
        model = model_of(
            self._run.inputs,
            self._run.parameters,
            self._projection,
            self._constant,
            self._frozen,
            model_record(self._identity),
        )
        save_model(model, self._options.model, self._options.replace_model)


class _Saver:
    """Save the sampler's rounds, the last one at least."""

    def __init__(self, folder: PassFolder, projection: Projection, seconds: float) -> None:
        self._folder = folder
        self._projection = projection
        self._seconds = seconds
        self._latest: SampledRows | None = None
        self._saved_at = time.monotonic()

    def after_round(self, sampled: SampledRows) -> None:
        self._latest = sampled
        if time.monotonic() - self._saved_at >= self._seconds:
            self.save()

    def save(self) -> None:
        """Save the last round, unless the next one is just being added to it."""
        if self._latest is not None and self._latest.settled:
            write_state(self._folder.checkpoint, arrays_of(self._projection, self._latest))
            self._saved_at = time.monotonic()
