"""A run in its folder: fit with checkpoints, write what is missing, publish."""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import zarr
from numpy.typing import NDArray

from balans_dask.errors import RunError
from balans_dask.examine import Examined
from balans_dask.fitting import Fit, OnStage, Stage, correct, fit, learn
from balans_dask.io.checkpoint import sync_file, write_state
from balans_dask.io.layout import create_matrix, create_root, row_layout, write_annotations
from balans_dask.io.output import StoreSink
from balans_dask.io.run_folder import RunFolder
from balans_dask.io.units import Unit, recorded_units, unit_files
from balans_dask.kernels.projection import Projection
from balans_dask.memory import MemoryPlan
from balans_dask.passes.engine import Engine, task
from balans_dask.passes.profiles import output_dtype
from balans_dask.provenance import fingerprint, record_of
from balans_dask.sampling import SampledRows
from balans_dask.state import arrays_of
from balans_dask.store_run import ADDED_COLUMNS, StoreRun, widest_row
from balans_dask.tiling import Partition

__all__ = ["CHECKPOINT_SECONDS", "StoreWriter"]

CHECKPOINT_SECONDS = 5.0
"""Least time between two checkpoints: what a kill may cost, besides the round under way."""


class StoreWriter:
    """One run of a store, new or continued; the driver holds its folder."""

    def __init__(
        self,
        engine: Engine,
        run: StoreRun,
        plan: MemoryPlan,
        examined: Examined,
        folder: RunFolder,
        identity: Mapping[str, Any],
        replace: bool,
        checkpoint_seconds: float,
    ) -> None:
        self._replace = replace
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
            with suppress(OSError):
                self._save()
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
        missing = _unfinished(fitted.plan.tiling.partitions(), self._sound_units(sink))
        if missing:
            learned = learn(self._engine, fitted)
            self._engine.take(correct(self._engine, fitted, learned, sink, missing))
        displacement = np.empty(fitted.inputs.n_rows, dtype=np.float32)
        units = self._finished_units(sink, fitted.inputs.n_rows)
        for unit in units:
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
        _sync(self._folder.store, {file for unit in units for file in unit.paths()})
        self._folder.publish(self._replace)
        return record

    def _units(self, sink: StoreSink) -> list[Unit]:
        """Read the records of this run that name all their files; any other record is removed."""
        units = []
        for unit in recorded_units(self._folder.units):
            needed = unit_files(sink.units, sink.store, sink.arrays, unit.start, unit.stop)
            if unit.run == sink.run and unit.vouches_for(needed):
                units.append(unit)
            else:
                unit.path.unlink()
        return units

    def _sound_units(self, sink: StoreSink) -> list[Unit]:
        """Finished rows of an earlier attempt; records that do not hold are removed."""
        units = self._units(sink)
        futures = self._engine.map("verify", _holds, units)
        holds = self._engine.take(futures)
        for unit, sound in zip(units, holds, strict=True):
            if not sound:
                unit.path.unlink()
        return [unit for unit, sound in zip(units, holds, strict=True) if sound]

    def _finished_units(self, sink: StoreSink, n_rows: int) -> list[Unit]:
        """All units, when they cover every row and their files are there."""
        units = self._units(sink)
        whole = [Partition(0, 0, n_rows)]
        n_lost = sum(not unit.is_there() for unit in units)
        if n_lost or _unfinished(whole, units):
            raise RunError(
                f"{n_lost} of {len(units)} written parts of {self._folder.store} have changed or "
                "vanished: keep other processes out of it, and continue with --resume"
            )
        return units

    def _root(self) -> zarr.Group:
        """Open the store of an earlier attempt, or make one."""
        try:
            root = zarr.open_group(self._folder.store, mode="r+", use_consolidated=False)
            names = [name for name, _ in root.groups()]
            if root.attrs.get("encoding-type") == "anndata" and "varp" in names:
                return root
        except (OSError, ValueError, KeyError):
            pass
        self._folder.clear_store()
        return create_root(str(self._folder.store))

    def _sink(self, root: zarr.Group, fitted: Fit) -> StoreSink:
        run = self._run
        n_rows, n_features = run.inputs.features.shape
        layout = row_layout(n_rows, widest_row(run.inputs.features, run.inputs.embedding))
        dtype = output_dtype(run.inputs.features.dtype)
        features = self._matrix(root, "X", (n_rows, n_features), dtype, layout)
        embedding = None
        if run.embedding_key is not None:
            source = run.inputs.embedding
            width = fitted.scores.projection.n_components if source is None else source.shape[1]
            kind = np.dtype(np.float32) if source is None else output_dtype(source.dtype)
            name = f"obsm/{run.embedding_key}"
            embedding = self._matrix(root, name, (n_rows, width), kind, layout)
        run_name = fingerprint(self._identity)
        return StoreSink(features, embedding, self._folder.store, self._folder.units, run_name)

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
def _holds(unit: Unit) -> bool:
    return unit.holds()


def _sync(store: Path, recorded: set[Path]) -> None:
    """Wait until all files are on disk; tasks have waited for those that they recorded."""
    for file in store.rglob("*"):
        if file.is_file() and file not in recorded:
            sync_file(file)


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


def _annotated(
    obs: pd.DataFrame, sampled: SampledRows, displacement: NDArray[np.float32]
) -> pd.DataFrame:
    added = (sampled.coverage.coverage > 0.0, sampled.coverage.drawn, displacement)
    return obs.assign(
        **dict(zip(ADDED_COLUMNS, added, strict=True)),
    )
