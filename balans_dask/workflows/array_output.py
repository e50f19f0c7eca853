"""Corrected rows as arrays: in memory, or lazy ones that are computed when they are asked for."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from balans_dask.model.inputs import Inputs
from balans_dask.model.pass_data import (
    CorrectedArrays,
    FittedOperator,
    PassData,
    Preprocessor,
    applied_steps,
    correct_pass,
    second_matrix,
)
from balans_dask.parameters import SPHERE
from balans_dask.passes.correct import CorrectedRows, correct_chunk
from balans_dask.passes.coverage import covered_rows
from balans_dask.passes.engine import Engine
from balans_dask.passes.operators import as_argument, map_fields
from balans_dask.passes.profiles import output_dtype
from balans_dask.passes.scores import Labels
from balans_dask.passes.stage import CORRECTING, Stage
from balans_dask.tiling import Partition
from balans_dask.workflows.array_inputs import is_lazy, source_of
from balans_dask.workflows.run import Job

__all__ = [
    "ArrayOutput",
    "Collect",
    "collector_of",
    "gathered_rows",
    "lazy_rows",
]

Collect = Callable[[Engine, PassData, Sequence[FittedOperator]], CorrectedArrays]
"""Makes arrays of corrected rows, in memory or lazy."""


def lazy_rows(
    engine: Engine, prepared: PassData, learned: Sequence[FittedOperator]
) -> CorrectedArrays:
    """Return the corrected rows without computing them: Dask arrays, chunked by partitions.

    The graph holds the landmarks and their sums, not futures, so it computes on any scheduler and
    outlives the client of the fit, unless the source was persisted there. Affinities of a partition
    are computed again from them.
    """
    import dask.array as da  # noqa: PLC0415  (rows in memory need no Dask)
    from dask import delayed  # noqa: PLC0415

    source, scores = prepared.inputs.features, prepared.scores
    steps = []
    for step in applied_steps(prepared, learned):
        (blocks,) = engine.gather([step.landmarks.table])
        operator = as_argument(map_fields(step.operator, engine.gather))
        steps.append([[[None] * len(blocks), blocks], operator, step.strength])
    shared = delayed((steps, prepared.profiles.constant, scores.projection))
    lazy_parts = [
        delayed(_corrected, pure=False)(
            prepared.profiles.matrices(part),
            part.start,
            scores.labels_of(part),
            shared,
            prepared.parameters.uncovered,
            None if prepared.origin is None else prepared.origin.matrices(part),
        )
        for part in scores.partitions
    ]

    def joined(name: str, dtype: np.dtype[Any], *width: int) -> Any:
        blocks = [
            da.from_delayed(getattr(rows, name), shape=(part.n_rows, *width), dtype=dtype)
            for part, rows in zip(scores.partitions, lazy_parts, strict=True)
        ]
        return da.concatenate(blocks, axis=0)

    second = second_matrix(prepared)
    return CorrectedArrays(
        joined("features", output_dtype(source.dtype), source.shape[1]),
        None if second is None else joined("embedding", second[1], second[0]),
        joined("covered", np.dtype(bool)),
        joined("displacement", np.dtype(np.float32)),
    )


def _corrected(
    matrices: Any,
    start: int,
    labels: Labels,
    shared: Any,
    uncovered: str,
    origin: Any,
) -> CorrectedRows:
    steps, constant, projection = shared
    features, second = matrices
    scored = features if second is None or isinstance(second, str) else second
    rows = correct_chunk(
        [scored, start, labels, projection],
        matrices,
        steps,
        constant,
        uncovered,
        [] if origin is None else [*origin, projection],
        None,
    )
    assert rows is not None  # without a sink, the rows come back
    return rows


def gathered_rows(
    engine: Engine,
    prepared: PassData,
    learned: Sequence[FittedOperator],
    with_scores: bool = False,
) -> CorrectedArrays:
    """Collect corrected rows as numpy arrays, a few partitions at a time.

    Parameters
    ----------
    with_scores : bool
        Collect corrected principal components too. An embedding beside the features always is.
    """
    source, second = prepared.inputs.features, second_matrix(prepared)
    corrected = np.empty(source.shape, dtype=output_dtype(source.dtype))
    embedding = None
    if second is not None and (with_scores or prepared.inputs.embedding is not None):
        embedding = np.empty((source.shape[0], second[0]), dtype=second[1])
    covered = np.empty(source.shape[0], dtype=bool)
    displacement = np.empty(source.shape[0], dtype=np.float32)
    parts = prepared.scores.partitions
    at_once = 2 * prepared.plan.workers.n_threads
    stage = Stage(CORRECTING, number=prepared.pass_number, n_total=len(parts))
    engine.tell(stage)
    for first in range(0, len(parts), at_once):
        some = parts[first : first + at_once]
        corrected_rows = engine.take(correct_pass(engine, prepared, learned, None, some))
        for part, rows in zip(some, corrected_rows, strict=True):
            place = slice(part.start, part.stop)
            corrected[place], covered[place] = rows.features, rows.covered
            displacement[place] = rows.displacement
            if embedding is not None:
                embedding[place] = rows.embedding
        engine.tell(replace(stage, n_done=first + len(some)))
    return CorrectedArrays(corrected, embedding, covered, displacement)


class ArrayOutput:
    """The rows of every pass as arrays, in memory or lazy.

    Parameters
    ----------
    collect : callable
        Makes the arrays.
    wanted : bool
        The rows of the last pass are wanted too.
    counts : bool
        Which rows are covered is wanted now, also of lazy arrays.

    Attributes
    ----------
    rows : CorrectedArrays or None
        As the last pass has left them, if they were wanted.
    covered : list of array of shape (n_rows,), bool
        By pass that aligns, the last one only if its rows were wanted.
    """

    def __init__(
        self, job: Job, collect: Collect, wanted: bool = True, counts: bool = False
    ) -> None:
        self._job = job
        self._collect = collect
        self._wanted = wanted
        self._counts = counts
        self._is_last = False
        self._displacement: Any = None
        self.rows: CorrectedArrays | None = None
        self.covered: list[Any] = []

    def begin(self, pass_number: int, preprocessor: Preprocessor) -> None:
        """Let the rows of the pass before go."""
        self.rows = None
        self._is_last = pass_number == self._job.turns[-1]

    def missing(self) -> list[Partition]:
        """Return all partitions, unless nobody wants them."""
        wanted = self._wanted or not self._is_last
        return list(self._job.plan.tiling.partitions()) if wanted else []

    def write(
        self,
        prepared: PassData,
        learned: Sequence[FittedOperator],
        missing: Sequence[Partition],
    ) -> None:
        """Correct the rows of a pass, or say how."""
        if not missing:
            return
        engine = self._job.engine
        self.rows = self._collect(engine, prepared, learned)
        if prepared.step == SPHERE:
            # Rows are covered, and displaced, by the correction alone.
            aligned = {"covered": self.covered[-1], "displacement": self._displacement}
            self.rows = replace(self.rows, **aligned)
            return
        covered, self._displacement = self.rows.covered, self.rows.displacement
        if self._counts and not isinstance(covered, np.ndarray):
            [step] = learned
            covered = covered_rows(engine, prepared.scores, step.landmarks, step.operator)
        self.covered.append(covered)

    def end(self) -> None:
        """Do nothing: arrays are complete as they are made."""

    def moved(self) -> Inputs:
        """Return the rows of the first pass as this one has left them."""
        assert self.rows is not None  # a next pass wants them
        engine, inputs = self._job.engine, self._job.inputs
        features = source_of(engine, self.rows.features)[0]
        embedding = None
        if inputs.embedding is not None:
            embedding = source_of(engine, self.rows.embedding)[0]
        return inputs.moved(features, embedding)


def collector_of(X: Any) -> Collect:
    """Choose how corrected rows come back: lazy for lazy, in memory for numpy."""
    return lazy_rows if is_lazy(X) else gathered_rows
