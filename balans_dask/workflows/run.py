"""A run in its folder: pass after pass, then annotate and publish."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from balans_dask.io.atomic import sync_files
from balans_dask.io.files import make_folder
from balans_dask.io.layout import consolidate, write_annotations
from balans_dask.io.paths import path_from
from balans_dask.io.run_folder import PassFolder, RunFolder
from balans_dask.io.trial import require_readable
from balans_dask.kernels.projection import Projection
from balans_dask.model.frozen import Model
from balans_dask.model.inputs import Inputs
from balans_dask.model.prepared import Prepared, prepare
from balans_dask.model.stages import FINISHING, PREPARING, OnStage, Stage
from balans_dask.model.transform import adapt, warn_of_uncovered
from balans_dask.parameters import CHECKPOINT_SECONDS
from balans_dask.passes.engine import Engine
from balans_dask.passes.memory import MemoryPlan
from balans_dask.workflows.records import fingerprint, record_of
from balans_dask.workflows.request import ADDED_COLUMNS, StoreRun
from balans_dask.workflows.store_output import PassWriter, WrittenRows

__all__ = [
    "StoreWriter",
    "TransformWriter",
    "WriteOptions",
]


@dataclass(frozen=True)
class WriteOptions:
    """How a run writes; nothing of it changes what is written.

    Attributes
    ----------
    replace : bool
        Replace a store that is at the target.
    checkpoint_seconds : float
        Least time between two checkpoints.
    model : str or None
        Where to save the frozen model.
    replace_model : bool
        Replace a store that is there.
    on_stage : callable
        Told what the run is doing.
    """

    replace: bool = False
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    model: str | None = None
    replace_model: bool = False
    on_stage: OnStage = lambda stage: None


class StoreWriter(ABC):
    """One run of a store, new or continued; the driver holds its folder."""

    def __init__(
        self,
        engine: Engine,
        run: StoreRun,
        inputs: Inputs,
        plan: MemoryPlan,
        folder: RunFolder,
        identity: Mapping[str, Any],
        options: WriteOptions,
    ) -> None:
        self._engine = engine
        self._run = run
        self._inputs = inputs
        self._plan = plan
        self._folder = folder
        self._identity = identity
        self._options = options
        self._projection: Projection
        self._constant: NDArray[np.bool_]
        self._is_landmark = np.zeros(inputs.n_rows, dtype=bool)

    def run(self) -> dict[str, Any]:
        """Do what is left to do."""
        n_passes = self._run.parameters.n_passes
        moved, all_written, facts = self._inputs, [], []
        for number, folder in enumerate(self._folder.passes(n_passes)):
            make_folder(folder.path)
            self._begin(number, folder)
            is_last = number + 1 == n_passes
            writer = PassWriter(
                self._engine,
                folder,
                self._inputs,
                self._run.embedding_key if is_last or self._run.basis else None,
                self._projection,
                fingerprint({**self._identity, "pass": number}),
                self._run.features_key if is_last else "X",
            )
            facts.append(self._one_pass(number, folder, moved, writer))
            all_written.append(writer.written())
            if not is_last:
                moved = writer.moved(self._inputs)
            self._engine.release()
        return self._finish(writer.root, all_written, facts)

    @abstractmethod
    def _begin(self, number: int, folder: PassFolder) -> None:
        """Make ready what the first pass fits and later ones use."""

    @abstractmethod
    def _one_pass(
        self, number: int, folder: PassFolder, moved: Inputs, writer: PassWriter
    ) -> dict[str, Any]:
        """Write the rows of a pass that are missing; return what the store says about it."""

    @abstractmethod
    def _after_writing(self, covered: NDArray[np.bool_]) -> None:
        """Do what is left before the store is published."""

    def _prepared(self, number: int, moved: Inputs) -> Prepared:
        return prepare(
            self._engine,
            moved,
            self._run.parameters,
            self._plan,
            self._projection,
            self._constant,
            number,
            origin=self._inputs,
        )

    def _finish(
        self, root: zarr.Group, written: Sequence[WrittenRows], facts: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        self._options.on_stage(Stage(FINISHING))
        covered = np.logical_and.reduce([rows.covered for rows in written])
        record = record_of(
            self._run.inputs,
            self._run.parameters,
            self._projection,
            self._constant,
            self._identity,
            int(np.count_nonzero(~covered)),
            facts,
            path_from(str(self._folder.target), self._run.store.path),
        )
        added = (covered, self._is_landmark, written[-1].displacement)
        columns = dict(zip(ADDED_COLUMNS, added, strict=True))
        write_annotations(root, self._run.annotations(columns, record))
        store = self._folder.last.store
        consolidate(store)
        require_readable(store, "look at the disk, and continue with --resume")
        # Tasks have waited for the files that they recorded.
        sync_files(store, {file for unit in written[-1].units for file in unit.paths()})
        self._after_writing(covered)
        self._folder.publish(self._options.replace)
        return record


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
