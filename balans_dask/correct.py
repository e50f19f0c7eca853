"""A whole run from store to store, which any kill can interrupt and ``resume`` continues."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import zarr
from numpy.typing import NDArray

from balans_dask.batches import batch_labels
from balans_dask.errors import InvalidInputError, StoreExistsError
from balans_dask.fitting import (
    Examined,
    Fit,
    Inputs,
    OnStage,
    Stage,
    examine,
    fit,
    require_sizes,
    smooth,
    sum_landmarks,
)
from balans_dask.io.checkpoint import read_state, write_state
from balans_dask.io.layout import create_matrix, create_root, row_layout, write_annotations
from balans_dask.io.output import StoreSink
from balans_dask.io.run_folder import RunFolder, check_output
from balans_dask.io.store import ProfileStore, VisibleArray, is_store, open_store
from balans_dask.io.units import Unit, recorded_units, unit_holds
from balans_dask.kernels.projection import Projection
from balans_dask.memory import MemoryPlan
from balans_dask.parameters import Parameters
from balans_dask.passes.blas import single_threaded_blas
from balans_dask.passes.engine import Engine, task
from balans_dask.passes.smooth import output_dtype
from balans_dask.passes.sources import RowSource, StoredRows
from balans_dask.provenance import (
    correction_record,
    differences,
    fingerprint,
    record_of,
    run_identity,
)
from balans_dask.sampling import SampledRows
from balans_dask.state import arrays_of
from balans_dask.tiling import TILE_ROWS, Partition

__all__ = ["CHECKPOINT_SECONDS", "StoreRun", "correct_store", "store_run"]

SCORES_KEY = "X_pca_balans"
CHECKPOINT_SECONDS = 5.0
"""Least time between two checkpoints: what a kill may cost, besides the round under way."""


@dataclass(frozen=True)
class StoreRun:
    """A correction asked of a store, checked as far as it can be without reading profiles.

    Attributes
    ----------
    store : ProfileStore
    batch_keys : tuple of str
    basis : str or None
        Matrix of ``obsm`` in which distances are taken.
    inputs : Inputs
    parameters : Parameters
    """

    store: ProfileStore
    batch_keys: tuple[str, ...]
    basis: str | None
    inputs: Inputs
    parameters: Parameters

    @property
    def embedding_key(self) -> str | None:
        """Matrix of the output's ``obsm`` that is written, if any."""
        if self.basis is not None:
            return f"{self.basis}_balans"
        return None if self.parameters.n_components is None else SCORES_KEY

    def identity(self, examined: Examined) -> dict[str, Any]:
        """Everything that decides the output."""
        return run_identity(self.inputs, self.parameters, examined, self.batch_keys, self.basis)


def store_run(
    store: ProfileStore,
    batch_keys: Sequence[str],
    parameters: Parameters,
    basis: str | None = None,
) -> StoreRun:
    """Check the labels and shapes of a store; reads no profile.

    Parameters
    ----------
    store : ProfileStore
    batch_keys : sequence of str
        Columns of ``obs``; several make joint batches.
    parameters : Parameters
    basis : str or None
        Take distances in this matrix of ``obsm``, and correct it too.

    Raises
    ------
    InvalidInputError
        If a column, label, matrix or row is missing.
    """
    labels = batch_labels(
        [store.column(key) for key in batch_keys],
        [f"obs column {key!r}" for key in batch_keys],
        store.n_rows,
    )
    place = str(Path(store.path).resolve())
    features = StoredRows(VisibleArray(store.features, place))
    embedding = None
    if basis is not None:
        embedding = StoredRows(VisibleArray(store.embedding(basis), place))
    if 0 in features.shape:
        raise InvalidInputError(
            f"{store.path} has {features.shape[0]} rows and {features.shape[1]} features: give at "
            "least 2 rows and 1 feature"
        )
    inputs = Inputs(
        features=features,
        labels=labels,
        feature_names=[str(name) for name in store.var.index],
        embedding=embedding,
        shard_tiles=max(1, row_layout(None, _widest_row(features, embedding))[1] // TILE_ROWS),
        table_bytes=int(store.obs.memory_usage(deep=True).sum()),
    )
    require_sizes(inputs)
    return StoreRun(store, tuple(batch_keys), basis, inputs, parameters)


def correct_store(
    engine: Engine,
    run: StoreRun,
    plan: MemoryPlan,
    target: str,
    overwrite: bool = False,
    resume: bool = False,
    on_stage: OnStage = lambda stage: None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> dict[str, Any]:
    """Correct a store into a new one.

    Parameters
    ----------
    engine : Engine
    run : StoreRun
    plan : MemoryPlan
    target : str
        Path of the new store.
    overwrite : bool
        Replace a store that is there, once the new one is complete, and drop an unfinished run.
    resume : bool
        Continue an unfinished run of the same identity. Begins afresh if there is none, and
        changes nothing if the target is complete.
    on_stage : callable
        Told what the run is doing.
    checkpoint_seconds : float
        Least time between two checkpoints.

    Returns
    -------
    record : dict
        What the new store says about its correction, as ``correction_record`` reads it.

    Raises
    ------
    InvalidInputError
        If the values cannot be corrected, or the unfinished run is another one.
    StoreExistsError
        If the target exists, or an unfinished run is there that is not to be continued.
    """
    if not (resume and is_store(target)):
        check_output(target, overwrite, (run.store.path,))
    engine.task_bytes = plan.task_bytes
    with single_threaded_blas():
        examined = examine(engine, run.inputs, run.parameters, plan.tiling)
        identity = run.identity(examined)
        folder = RunFolder(target)
        if resume and is_store(target):
            done = _complete(target, identity)
            if done is not None:
                if folder.exists and not folder.store.exists():
                    folder.discard()
                return done
            if not (folder.begun and (folder.record() or {}).get("overwrite")):
                check_output(target, overwrite, (run.store.path,))
        with folder.held():
            resumed = _resumed_state(folder, identity, overwrite, resume)
            writer = _StoreWriter(engine, run, plan, examined, folder, identity, checkpoint_seconds)
            return writer.run(resumed, on_stage)


def _complete(target: str, identity: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the record of a target that this very run would make; ``None`` for any other."""
    record = correction_record(open_store(target))
    if record is None or record["fingerprint"] != fingerprint(identity):
        return None
    return record


def _resumed_state(
    folder: RunFolder, identity: Mapping[str, Any], overwrite: bool, resume: bool
) -> dict[str, NDArray[Any]] | None:
    """Prepare the folder, and return the state of the run that is continued, if one is."""
    found = folder.record() if folder.begun else None
    if found is not None and not resume and not overwrite:
        raise StoreExistsError(
            f"{folder.path} holds an unfinished run: add --resume to continue it, or --overwrite "
            "to begin afresh"
        )
    if found is not None and resume:
        different = differences(found["identity"], identity)
        if different:
            raise InvalidInputError(
                f"{folder.path} holds an unfinished run of other input ({'; '.join(different)}): "
                "run it as it was, or begin afresh with --overwrite"
            )
        return read_state(folder.checkpoint)
    folder.clear()
    folder.write_record({"identity": dict(identity), "overwrite": overwrite})
    return None


class _StoreWriter:
    """One run in its folder: fit with checkpoints, write what is missing, publish."""

    def __init__(
        self,
        engine: Engine,
        run: StoreRun,
        plan: MemoryPlan,
        examined: Examined,
        folder: RunFolder,
        identity: Mapping[str, Any],
        checkpoint_seconds: float,
    ) -> None:
        self._checkpoint_seconds = checkpoint_seconds
        self._engine = engine
        self._run = run
        self._plan = plan
        self._examined = examined
        self._folder = folder
        self._identity = identity
        self._latest: tuple[Projection, SampledRows] | None = None
        self._saved_at = time.monotonic()

    def run(self, resumed: dict[str, NDArray[Any]] | None, on_stage: OnStage) -> dict[str, Any]:
        """Do what is left to do."""
        try:
            fitted = fit(
                self._engine,
                self._run.inputs,
                self._run.parameters,
                self._plan,
                self._examined,
                on_stage,
                resumed,
                self._after_round,
            )
        except BaseException:
            self._save()
            if not self._folder.begun:
                self._folder.discard()
            raise
        self._save()
        on_stage(Stage("writing"))
        return self._write(fitted)

    def _after_round(self, projection: Projection, sampled: SampledRows) -> None:
        self._latest = (projection, sampled)
        if time.monotonic() - self._saved_at >= self._checkpoint_seconds:
            self._save()

    def _save(self) -> None:
        """Save the last round, unless the next one is just being added to it."""
        if self._latest is not None and self._latest[1].settled:
            write_state(self._folder.checkpoint, arrays_of(*self._latest))
            self._saved_at = time.monotonic()

    def _write(self, fitted: Fit) -> dict[str, Any]:
        root = self._root()
        sink = self._sink(root, fitted)
        self._folder.units.mkdir(exist_ok=True)
        missing = _unfinished(fitted.plan.tiling.partitions(), self._sound_units())
        if missing:
            landmarks = sum_landmarks(self._engine, fitted)
            self._engine.gather(smooth(self._engine, fitted, landmarks, sink, missing))
        displacement = np.empty(fitted.inputs.n_rows, dtype=np.float32)
        for unit in recorded_units(self._folder.units):
            displacement[unit.start : unit.stop] = unit.displacement()
        record = record_of(fitted, self._identity)
        write_annotations(
            root,
            {
                "obs": _annotated(self._run.store.obs, fitted.sampled, displacement),
                "var": self._run.store.var,
                "uns/balans": record,
            },
        )
        zarr.consolidate_metadata(str(self._folder.store))
        self._folder.publish()
        return record

    def _sound_units(self) -> list[Unit]:
        """Finished rows of an earlier attempt; records that do not hold are dropped."""
        units = recorded_units(self._folder.units)
        futures = self._engine.map("verify", _unit_holds, units)
        holds = self._engine.gather(futures)
        for unit, sound in zip(units, holds, strict=True):
            if not sound:
                unit.path.unlink()
        return [unit for unit, sound in zip(units, holds, strict=True) if sound]

    def _root(self) -> zarr.Group:
        """Open the store of an earlier attempt, or make one."""
        try:
            root = zarr.open_group(self._folder.store, mode="r+", use_consolidated=False)
            if root.attrs.get("encoding-type") == "anndata" and "varp" in root:
                return root
        except (OSError, ValueError, KeyError):
            pass
        self._folder.clear_store()
        return create_root(str(self._folder.store))

    def _sink(self, root: zarr.Group, fitted: Fit) -> StoreSink:
        run = self._run
        n_rows, n_features = run.inputs.features.shape
        layout = row_layout(n_rows, _widest_row(run.inputs.features, run.inputs.embedding))
        dtype = output_dtype(run.inputs.features.dtype)
        features = self._matrix(root, "X", (n_rows, n_features), dtype, layout)
        embedding = None
        if run.embedding_key is not None:
            source = run.inputs.embedding
            width = fitted.scores.projection.n_components if source is None else source.shape[1]
            kind = np.dtype(np.float32) if source is None else output_dtype(source.dtype)
            name = f"obsm/{run.embedding_key}"
            embedding = self._matrix(root, name, (n_rows, width), kind, layout)
        return StoreSink(features, embedding, self._folder.store, self._folder.units)

    def _matrix(
        self,
        root: zarr.Group,
        name: str,
        shape: tuple[int, int],
        dtype: np.dtype[Any],
        layout: tuple[int, int],
    ) -> zarr.Array:
        """Create a matrix whose shards an earlier attempt may have left: they stay."""
        (self._folder.store / name / "zarr.json").unlink(missing_ok=True)
        return create_matrix(root, name, shape, dtype, layout)


@task
def _unit_holds(unit: Unit) -> bool:
    return unit_holds(unit)


def _unfinished(partitions: Sequence[Partition], units: Sequence[Unit]) -> list[Partition]:
    """Partitions with a row that no unit holds; units are in row order, of any sizes."""
    missing = []
    for part in partitions:
        reached = part.start
        for unit in units:
            if unit.start <= reached < unit.stop:
                reached = unit.stop
        if reached < part.stop:
            missing.append(part)
    return missing


def _widest_row(features: RowSource, embedding: RowSource | None) -> int:
    """Bytes of the wider output row: both matrices share one layout."""
    sources = [features] if embedding is None else [features, embedding]
    return max(source.shape[1] * output_dtype(source.dtype).itemsize for source in sources)


def _annotated(
    obs: pd.DataFrame, sampled: SampledRows, displacement: NDArray[np.float32]
) -> pd.DataFrame:
    return obs.assign(
        balans_covered=sampled.coverage.coverage > 0.0,
        balans_is_landmark=sampled.coverage.drawn,
        balans_displacement=displacement,
    )
