"""Write the rows of one pass into its store: what an earlier attempt has finished stays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from balans_dask.errors import RunError
from balans_dask.io.atomic import sync_files
from balans_dask.io.files import make_folder, many, remove_all_but, remove_file
from balans_dask.io.layout import (
    consolidate,
    create_matrix,
    create_root,
    row_layout,
    write_annotations,
)
from balans_dask.io.output import StoreSink, Unit, recorded_units, unit_files
from balans_dask.io.paths import path_from
from balans_dask.io.run_folder import PassFolder, RunFolder
from balans_dask.io.sources import StoredRows
from balans_dask.io.trial import require_readable
from balans_dask.kernels.projection import Projection
from balans_dask.model.inputs import Inputs
from balans_dask.model.pass_data import FittedOperator, PassData, Preprocessor, correct_pass
from balans_dask.passes.engine import Engine, task
from balans_dask.passes.profiles import output_dtype
from balans_dask.passes.stage import FINISHING, WRITING, Stage
from balans_dask.tiling import Partition, Tiling
from balans_dask.workflows.records import fingerprint, record_of
from balans_dask.workflows.request import ADDED_COLUMNS, CorrectionRequest, widest_row
from balans_dask.workflows.run import Job, Learner

__all__ = ["PassWriter", "StoreOutput", "WrittenRows"]


@dataclass(frozen=True)
class WrittenRows:
    """What the tasks of one pass have met, row by row.

    Attributes
    ----------
    displacement : ndarray of shape (n_rows,), float32
    covered : ndarray of shape (n_rows,), bool
    units : list of Unit
    """

    displacement: NDArray[np.float32]
    covered: NDArray[np.bool_]
    units: list[Unit]


class PassWriter:
    """The store of one pass, new or continued.

    Parameters
    ----------
    embedding_key : str or None
        Matrix of ``obsm`` that is written beside the features.
    run : str
        Fingerprint of the run.
    features_key : str or None
        Place of the features in the store; ``None`` to leave them out.
    """

    def __init__(
        self,
        engine: Engine,
        folder: PassFolder,
        inputs: Inputs,
        embedding_key: str | None,
        projection: Projection,
        run: str,
        features_key: str | None = "X",
    ) -> None:
        self._engine = engine
        self._folder = folder
        self._inputs = inputs
        make_folder(folder.path)
        self.root = self._opened_root(features_key, embedding_key)
        self._sink = self._opened_sink(features_key, embedding_key, projection, run)
        make_folder(folder.units)

    def missing(self, tiling: Tiling) -> list[Partition]:
        """Find the partitions that no earlier attempt has finished; unsound records go."""
        return _unfinished(tiling.partitions(), self._sound_units())

    def write(
        self,
        prepared: PassData,
        learned: FittedOperator,
        missing: Sequence[Partition],
    ) -> None:
        """Correct and write some partitions."""
        n_total = prepared.plan.tiling.n_partitions
        stage = Stage(
            WRITING,
            number=prepared.pass_number,
            n_done=n_total - len(missing),
            n_total=n_total,
            total_bytes=sum(array.nbytes for array in self._sink.arrays),
        )
        with self._engine.following(stage, ("correct",)):
            self._engine.take(correct_pass(self._engine, prepared, learned, self._sink, missing))

    def written(self) -> WrittenRows:
        """Read what the tasks have met.

        Raises
        ------
        RunError
            If a file of a finished row has changed or vanished.
        """
        n_rows = self._inputs.n_rows
        units = self._finished_units(n_rows)
        displacement = np.empty(n_rows, dtype=np.float32)
        covered = np.empty(n_rows, dtype=bool)

        def read(unit: Unit) -> None:
            rows = slice(unit.start, unit.stop)
            displacement[rows], covered[rows] = unit.facts()

        many(read, units)
        return WrittenRows(displacement, covered, units)

    def moved(self, inputs: Inputs) -> Inputs:
        """Return the rows of the first pass as this one has left them."""
        embedding = None if inputs.embedding is None else StoredRows(self._sink.embedding)
        return inputs.moved(StoredRows(self._sink.features), embedding)

    def _units(self) -> list[Unit]:
        """Read the records of this run that name all their files; any other record is removed."""
        sink, units = self._sink, []
        for unit in recorded_units(self._folder.units):
            needed = unit_files(sink.units, sink.store, sink.arrays, unit.start, unit.stop)
            if unit.run == sink.run and unit.vouches_for(needed):
                units.append(unit)
            else:
                remove_file(unit.path)
        return units

    def _sound_units(self) -> list[Unit]:
        units = self._units()
        holds = self._engine.take(self._engine.map("verify", _verify_chunk, units))
        for unit, sound in zip(units, holds, strict=True):
            if not sound:
                remove_file(unit.path)
        return [unit for unit, sound in zip(units, holds, strict=True) if sound]

    def _finished_units(self, n_rows: int) -> list[Unit]:
        """All units, when they cover every row and their files are there."""
        units = self._units()
        whole = [Partition(0, 0, n_rows)]
        n_lost = many(Unit.is_there, units).count(False)
        if n_lost or _unfinished(whole, units):
            raise RunError(
                f"{n_lost} of {len(units)} written parts of {self._folder.store} have changed or "
                "vanished: keep other processes out of it, and continue with --resume"
            )
        return units

    def _opened_root(self, features_key: str | None, embedding_key: str | None) -> zarr.Group:
        """Make the store, around the shards that an earlier attempt may have left.

        They alone are recorded with a hash: all else of the store might be damaged.
        """
        names = [features_key, embedding_key and _in_obsm(embedding_key)]
        remove_all_but(self._folder.store, [f"{name}/c" for name in names if name is not None])
        return create_root(self._folder.store)

    def _opened_sink(
        self,
        features_key: str | None,
        embedding_key: str | None,
        projection: Projection,
        run: str,
    ) -> StoreSink:
        inputs = self._inputs
        layout = row_layout(inputs.n_rows, widest_row(inputs.features, inputs.embedding))
        dtype = output_dtype(inputs.features.dtype)
        features = None
        if features_key is not None:
            features = create_matrix(self.root, features_key, inputs.features.shape, dtype, layout)
        embedding = None
        if embedding_key is not None:
            source = inputs.embedding
            width = projection.n_components if source is None else source.shape[1]
            kind = np.dtype(np.float32) if source is None else output_dtype(source.dtype)
            name = _in_obsm(embedding_key)
            embedding = create_matrix(self.root, name, (inputs.n_rows, width), kind, layout)
        return StoreSink(features, embedding, self._folder.store, self._folder.units, run)


class StoreOutput:
    """Every pass in a store of its own, the last one in that of the run.

    Parameters
    ----------
    identity : mapping
        Everything that decides the output.
    """

    def __init__(
        self, job: Job, run: CorrectionRequest, folder: RunFolder, identity: Mapping[str, Any]
    ) -> None:
        self._job = job
        self._run = run
        self._folder = folder
        self._identity = identity
        self._written: list[WrittenRows] = []
        self._writer: PassWriter

    def begin(self, pass_number: int, preprocessor: Preprocessor) -> None:
        """Open the store of a pass."""
        is_last = pass_number + 1 == len(self._job.parameters.steps)
        self._writer = PassWriter(
            self._job.engine,
            self._folder.passes(len(self._job.parameters.steps))[pass_number],
            self._job.inputs,
            self._run.embedding_key if is_last or self._run.basis else None,
            preprocessor.projection,
            fingerprint({**self._identity, "pass": pass_number}),
            self._run.features_key if is_last else "X",
        )

    def missing(self) -> list[Partition]:
        """Find the partitions that no earlier attempt has finished."""
        return self._writer.missing(self._job.plan.tiling)

    def write(
        self, prepared: PassData, learned: FittedOperator, missing: Sequence[Partition]
    ) -> None:
        """Correct and write some partitions."""
        self._writer.write(prepared, learned, missing)

    def end(self) -> None:
        """Read what the tasks of the pass have met."""
        self._written.append(self._writer.written())

    def moved(self) -> Inputs:
        """Return the rows of the first pass as this one has left them."""
        return self._writer.moved(self._job.inputs)

    def finish(self, learner: Learner) -> tuple[dict[str, Any], NDArray[np.bool_]]:
        """Annotate the store, and see that it is whole; it is not published yet.

        Parameters
        ----------
        learner : Learner
            That has learned all passes.

        Returns
        -------
        record : dict
            What the store says about its correction.
        covered : ndarray of shape (n_rows,), bool
        """
        self._job.engine.tell(Stage(FINISHING))
        last = self._written[-1]
        aligned = self._written[len(self._job.parameters.alignment) - 1]
        covered = np.logical_and.reduce([rows.covered for rows in self._written])
        record = record_of(
            self._run.inputs,
            self._run.parameters,
            learner.preprocessor,
            self._identity,
            int(np.count_nonzero(~covered)),
            learner.facts(),
            path_from(str(self._folder.target), self._run.store.path),
        )
        added = (covered, learner.is_landmark(), aligned.displacement)
        columns = dict(zip(ADDED_COLUMNS, added, strict=True))
        write_annotations(self._writer.root, self._run.annotations(columns, record))
        store = self._folder.last.store
        consolidate(store)
        require_readable(store, "look at the disk, and continue with --resume")
        # Tasks have waited for the files that they recorded.
        sync_files(store, {file for unit in last.units for file in unit.paths()})
        return record, covered


def _in_obsm(key: str) -> str:
    return f"obsm/{key}"


@task
def _verify_chunk(unit: Unit) -> bool:
    return unit.holds()


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
