"""A run finds its folder: begin, continue, or see that all is done."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from balans_dask.errors import InvalidInputError, StoreExistsError, warn_of_input
from balans_dask.io.atomic import read_state, write_state
from balans_dask.io.model_store import model_fingerprint
from balans_dask.io.paths import is_store
from balans_dask.io.run_folder import PassFolder, RunFolder
from balans_dask.io.store import open_store
from balans_dask.kernels.projection import Projection
from balans_dask.model.bounds import Sizes
from balans_dask.model.fit import Fit, fit, fit_preprocessor, learn
from balans_dask.model.frozen import FrozenPass, freeze, model_of
from balans_dask.model.inputs import Examined, Inputs
from balans_dask.model.prepared import Prepared
from balans_dask.model.sampler import SampledRows
from balans_dask.model.saved import save_model
from balans_dask.model.stages import PREPARING, Stage
from balans_dask.model.state import arrays_of, is_sound, sampled_from
from balans_dask.passes.engine import Engine
from balans_dask.passes.memory import MemoryPlan
from balans_dask.workflows.records import (
    correction_record,
    differences,
    fingerprint,
    model_record,
    sampling_record,
    texts,
)
from balans_dask.workflows.request import StoreRun
from balans_dask.workflows.run import StoreWriter, WriteOptions
from balans_dask.workflows.store_output import PassWriter

__all__ = [
    "FitWriter",
    "OpenedRun",
]

State = dict[str, NDArray[Any]]


class OpenedRun:
    """A run and the folder in which its output grows.

    Parameters
    ----------
    folder : RunFolder
        Where the output grows.
    identity : mapping
        Everything that decides it.
    inputs : tuple of str
        Paths that must not be touched.
    overwrite, resume : bool
        As ``correct_store`` takes them.
    """

    def __init__(
        self,
        folder: RunFolder,
        identity: Mapping[str, Any],
        inputs: tuple[str, ...],
        overwrite: bool,
        resume: bool,
    ) -> None:
        self.folder = folder
        self.identity = identity
        self.replace = overwrite
        self._target = folder.given
        self._inputs = inputs
        self._resume = resume
        self._continues = False

    def finish(
        self, write: Callable[["OpenedRun"], dict[str, Any]], model: str | None = None
    ) -> dict[str, Any]:
        """Hold the folder and write, unless the output is complete.

        Parameters
        ----------
        write : callable
            Does the work.
        model : str or None
            Path of the model that the run saves beside the output.

        Raises
        ------
        InvalidInputError
            If the unfinished run is another one, or the output is complete without its model.
        StoreExistsError
            If the target exists, or an unfinished run is there that is not to be continued.
        """
        # Looked at again under the lock: another run may have finished meanwhile.
        with self.folder.held():
            self.replace = self.replace or (self._resume and self.folder.replaces)
            record = self._record_of_same() if self._resume else None
            if record is not None:
                self.folder.discard_remains()
                self._require_model(model)
                return record
            self.folder.check(self.replace, self._inputs)
            self._begin()
            return write(self)

    def states(
        self, sizes: Sequence[Sizes], weighted: bool
    ) -> list[dict[str, NDArray[Any]] | None]:
        """Read the state of every pass of the run that is continued; ``None`` for the others.

        Parameters
        ----------
        sizes : sequence of mapping
            Of every pass, as ``is_sound`` takes them.
        weighted : bool
            Scores are principal components.
        """
        if not self._continues:
            return [None] * len(sizes)
        folders = self.folder.passes(len(sizes))
        return [self._state(*of, weighted) for of in zip(folders, sizes, strict=True)]

    def _state(
        self, folder: PassFolder, sizes: Sizes, weighted: bool
    ) -> dict[str, NDArray[Any]] | None:
        state = read_state(folder.checkpoint)
        if state is not None and is_sound(state, sizes, weighted):
            return state
        if folder.checkpoint.exists():
            warn_of_input(f"{folder.checkpoint} is damaged: the rows are sampled anew")
        return None

    def _record_of_same(self) -> dict[str, Any] | None:
        """Read the record of a store that this very run would make; ``None`` for any other."""
        if not is_store(self._target):
            return None
        record = correction_record(open_store(self._target))
        same = record is not None and record.get("fingerprint") == fingerprint(self.identity)
        return record if same else None

    def _require_model(self, model: str | None) -> None:
        if model is not None and model_fingerprint(model) != fingerprint(self.identity):
            raise InvalidInputError(
                f"{self._target} is complete, and {model} is not its model: begin afresh with "
                "--overwrite to save one"
            )

    def _begin(self) -> None:
        """Prepare the folder, and find out whether a run is continued."""
        folder = self.folder
        found = folder.record() if folder.begun else None
        if found is not None and not self._resume and not self.replace:
            raise StoreExistsError(
                f"{folder.path} holds an unfinished run: add --resume to continue it, or "
                "--overwrite to begin afresh"
            )
        if found is not None and self._resume:
            different = differences(found["identity"], self.identity)
            if different:
                raise InvalidInputError(
                    f"{folder.path} holds an unfinished run of other input "
                    f"({'; '.join(different)}): run it as it was, or begin afresh with --overwrite"
                )
            self._continues = True
            return
        if self._resume and folder.begun:
            warn_of_input(f"{folder.path} has lost what it is a run of: it begins afresh")
        folder.clear()
        folder.write_record({"identity": dict(self.identity), "overwrite": self.replace})


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
