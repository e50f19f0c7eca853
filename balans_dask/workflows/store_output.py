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
from balans_dask.io.paths import is_store, path_from
from balans_dask.io.run_folder import PassFolder, RunFolder
from balans_dask.io.sources import StoredRows
from balans_dask.io.trial import require_readable
from balans_dask.kernels.projection import Projection
from balans_dask.model.inputs import Inputs
from balans_dask.model.pass_data import FittedOperator, PassData, Preprocessor, correct_pass
from balans_dask.passes.engine import Engine, task
from balans_dask.passes.profiles import output_dtype
from balans_dask.passes.stage import FINISHING, PREPARING, WRITING, Stage
from balans_dask.tiling import Partition, Tiling
from balans_dask.workflows.records import fingerprint, record_of
from balans_dask.workflows.request import ADDED_COLUMNS, CorrectionRequest, widest_row
from balans_dask.workflows.run import Job, Learner

__all__ = ["PassWriter", "StoreOutput", "WrittenRows", "stored_rows"]


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
    projection : Projection or None
        What makes scores; ``None`` if these are not written.
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
        projection: Projection | None,
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
        learned: Sequence[FittedOperator],
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

    def copy(self, tiling: Tiling) -> None:
        """Write the rows as they are, as far as no earlier attempt has."""
        inputs, missing = self._inputs, self.missing(tiling)
        both = [source for source in (inputs.features, inputs.embedding) if source is not None]
        copied = self._engine.map(
            "copy",
            _copy_chunk,
            [[source.rows(part.start, part.stop) for source in both] for part in missing],
            [part.start for part in missing],
            [self._sink] * len(missing),
        )
        self._engine.take(copied)

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
        projection: Projection | None,
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
            if source is None:
                assert projection is not None  # whose scores these are
                width, kind = projection.n_components, np.dtype(np.float32)
            else:
                width, kind = source.shape[1], output_dtype(source.dtype)
            name = _in_obsm(embedding_key)
            embedding = create_matrix(self.root, name, (inputs.n_rows, width), kind, layout)
        return StoreSink(features, embedding, self._folder.store, self._folder.units, run)


class StoreOutput:
    """Every pass in a store of its own, the last one in that of the run.

    Parameters
    ----------
    folders : sequence of PassFolder
        Of every pass.
    identity : mapping
        Everything that decides the output.
    wanted : bool
        The rows of the last pass are wanted too.
    """

    def __init__(
        self,
        job: Job,
        run: CorrectionRequest,
        folders: Sequence[PassFolder],
        identity: Mapping[str, Any],
        wanted: bool = True,
    ) -> None:
        self.job = job
        self._run = run
        self._folders = dict(zip(job.turns, folders, strict=True))
        self._identity = identity
        self._wanted = wanted
        self._is_wanted = True
        self._written: dict[int, WrittenRows] = {}
        self._pass_number = 0
        self._writer: PassWriter

    def begin(self, pass_number: int, preprocessor: Preprocessor) -> None:
        """Open the store of a pass."""
        is_last = pass_number == self.job.turns[-1]
        self._pass_number, self._is_wanted = pass_number, self._wanted or not is_last
        if not self._is_wanted:
            # States of the fit are saved here all the same.
            make_folder(self._folders[pass_number].path)
            return
        self._writer = PassWriter(
            self.job.engine,
            self._folders[pass_number],
            self.job.inputs,
            self._run.embedding_key if is_last or self._run.basis else None,
            preprocessor.projection,
            # Rows that have taken other steps, as other memory plans them, are other rows.
            fingerprint({**self._identity, "steps": list(self.job.steps_of(pass_number))}),
            self._run.features_key if is_last else "X",
        )

    def missing(self) -> list[Partition]:
        """Find the partitions that no earlier attempt has finished, if they are wanted."""
        return self._writer.missing(self.job.plan.tiling) if self._is_wanted else []

    def write(
        self,
        prepared: PassData,
        learned: Sequence[FittedOperator],
        missing: Sequence[Partition],
    ) -> None:
        """Correct and write some partitions."""
        if self._is_wanted:
            self._writer.write(prepared, learned, missing)

    def end(self) -> None:
        """Read what the tasks of the pass have met."""
        if self._is_wanted:
            self._written[self._pass_number] = self._writer.written()

    def moved(self) -> Inputs:
        """Return the rows of the first pass as this one has left them."""
        return self._writer.moved(self.job.inputs)

    def finish(
        self, learner: Learner, folder: RunFolder
    ) -> tuple[dict[str, Any], NDArray[np.bool_]]:
        """Annotate the store, and see that it is whole; it is not published yet.

        Parameters
        ----------
        learner : Learner
            That has learned all passes.
        folder : RunFolder
            In which the store is the last one.

        Returns
        -------
        record : dict
            What the store says about its correction.
        covered : ndarray of shape (n_rows,), bool
        """
        self.job.engine.tell(Stage(FINISHING))
        source = self._run.store.path
        last = self._written[self.job.turns[-1]]
        n_aligned = len(self.job.parameters.alignment)
        aligned = [rows for turn, rows in self._written.items() if turn < n_aligned][-1]
        covered = np.logical_and.reduce([rows.covered for rows in self._written.values()])
        record = record_of(
            self._run.inputs,
            self._run.parameters,
            learner.preprocessor,
            self._identity,
            int(np.count_nonzero(~covered)),
            learner.facts(),
            # What a table was converted to goes with the folder of the run.
            path_from(str(folder.target), source) if is_store(source) else None,
        )
        added = (covered, learner.is_landmark(), aligned.displacement)
        columns = dict(zip(ADDED_COLUMNS, added, strict=True))
        write_annotations(self._writer.root, self._run.annotations(columns, record))
        store = folder.last.store
        consolidate(store)
        require_readable(store, "look at the disk, and continue with --resume")
        # Tasks have waited for the files that they recorded.
        sync_files(store, {file for unit in last.units for file in unit.paths()})
        return record, covered


def _in_obsm(key: str) -> str:
    return f"obsm/{key}"


def stored_rows(
    job: Job, run: CorrectionRequest, folder: PassFolder, run_hash: str, rows: NDArray[np.int64]
) -> Inputs:
    """Copy some rows of a run into a store of its folder, where they are read again and again.

    Parameters
    ----------
    rows : ndarray of shape (n_picked,), int64
        In increasing order.
    """
    assert job.plan.of_fit is not None  # planned for these rows
    inputs = job.inputs.picked(rows)
    key = run.embedding_key if run.basis else None
    writer = PassWriter(job.engine, folder, inputs, key, None, run_hash)
    stage = Stage(PREPARING, n_total=job.plan.of_fit.tiling.n_partitions)
    with job.engine.following(stage, ("copy",)):
        writer.copy(job.plan.of_fit.tiling)
    return writer.moved(inputs)


@task
def _copy_chunk(matrices: Sequence[Any], start: int, sink: StoreSink) -> None:
    both = [matrix.read() for matrix in matrices]
    features, *embedding = [
        values.astype(output_dtype(values.dtype), copy=False) for values in both
    ]
    n_rows = len(features)
    none, all_of_them = np.zeros(n_rows, dtype=np.float32), np.ones(n_rows, dtype=bool)
    sink.write(start, features, embedding[0] if embedding else None, none, all_of_them)


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
