"""The corrected embedding of every setting, in an order that fits nothing twice.

Settings are a tree. The preprocessor and the scores are its root; then come the landmarks of the
first pass, where a larger limit goes on from the smaller one; then the operators, which share these
landmarks; then the passes, of which a longer chain goes on from the shorter one. Strength blends on
the driver.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from balans_dask.evaluate.sweep import grouped
from balans_dask.io.run_folder import PassFolder
from balans_dask.io.sources import StoredRows
from balans_dask.kernels.projection import Projection
from balans_dask.model.fit import Fit, fit_operator, fit_preprocessor
from balans_dask.model.inputs import CheckedInput, Inputs
from balans_dask.model.pass_data import PassData, Preprocessor, correct_pass, prepare
from balans_dask.model.sampler import SamplerState, sample_rows
from balans_dask.parameters import Parameters
from balans_dask.passes.correct import CorrectedRows
from balans_dask.passes.engine import Engine, task
from balans_dask.passes.memory import MemoryPlan
from balans_dask.passes.profiles import Profiles, output_dtype
from balans_dask.passes.scores import as_tiles
from balans_dask.passes.stage import CORRECTING, SAMPLING, Stage
from balans_dask.tiling import Partition
from balans_dask.workflows.store_output import PassWriter

__all__ = ["Embedded", "Embeddings"]

MOVED = "moved"


@dataclass(frozen=True)
class Embedded:
    """The rows that are scored, by one setting.

    Attributes
    ----------
    parameters : Parameters or None
        ``None``: not corrected.
    values : ndarray of shape (n, n_components)
    n_landmarks, n_uncovered, n_capped : int
        Of the last pass.
    """

    parameters: Parameters | None
    values: NDArray[np.floating]
    n_landmarks: int = 0
    n_uncovered: int = 0
    n_capped: int = 0


class Embeddings:
    """Make the embeddings of many settings.

    Parameters
    ----------
    plan : MemoryPlan
        For the largest of the settings.
    rows : ndarray of shape (n,), int64
        Rows that are wanted, in increasing order.
    scratch : str or None
        Folder, seen by all workers, for the profiles between two passes; ``None``: the system's.

    Attributes
    ----------
    n_fits : int
        Samplings of landmarks that were begun so far.
    """

    def __init__(
        self,
        engine: Engine,
        inputs: Inputs,
        plan: MemoryPlan,
        examined: CheckedInput,
        rows: NDArray[np.int64],
        scratch: str | None = None,
    ) -> None:
        self.n_fits = 0
        self._engine = engine
        self._inputs = inputs
        self._plan = plan
        self._examined = examined
        self._rows = rows
        self._scratch = scratch
        self._projection: Projection
        self._raw: NDArray[np.floating]

    def of(self, settings: Sequence[Parameters]) -> Iterator[Embedded]:
        """Yield raw, then every setting as soon as it is there, in the order of the tree.

        Parameters
        ----------
        settings : sequence of Parameters
            That differ in what a ``Grid`` varies, and in nothing else.
        """
        with self._engine.scope():
            self._projection = fit_preprocessor(
                self._engine, self._inputs, settings[0], self._plan, self._examined
            )
            first = self._prepared(self._inputs, 0, settings[0])
            self._raw = rows_before(self._engine, first, self._rows)
            yield Embedded(None, self._raw)
            limits = ("patience", "max_rows")
            for family in grouped(settings, *limits, "operator", "n_passes", "strength"):
                with self._engine.scope():
                    yield from self._family(first, family)

    def _family(self, first: PassData, family: Sequence[Parameters]) -> Iterator[Embedded]:
        """Take settings whose landmarks are the same draws, stopped sooner or later."""
        before = self._start()
        of_limit = grouped(family, "operator", "n_passes", "strength")
        for same in sorted(of_limit, key=lambda same: _limits(same[0])):
            sampled, before = self._sampled(replace(first, parameters=same[0]), before)
            for chain in grouped(same, "n_passes", "strength"):
                yield from self._chain(first, sampled, chain)

    def _chain(
        self, prepared: PassData, sampled: SamplerState, chain: Sequence[Parameters]
    ) -> Iterator[Embedded]:
        """Take settings of one operator, pass after pass on what the last one has left."""
        longest = max(chain, key=lambda setting: setting.n_passes)
        n_steps = len(longest.steps)
        prepared = replace(prepared, parameters=longest)
        pass_input = self._inputs
        with TemporaryDirectory(prefix="balans-sweep-", dir=self._scratch) as folder:
            for pass_number in range(n_steps):
                with self._engine.scope():
                    if pass_number:
                        prepared = self._prepared(pass_input, pass_number, longest)
                        sampled, _ = self._sampled(prepared, self._start())
                    fitted = Fit(prepared, sampled)
                    wanted = [each for each in chain if len(each.steps) == pass_number + 1]
                    if wanted:
                        # Its last pass, though the chain goes on.
                        last = replace(prepared, parameters=wanted[0])
                        yield from self._strengths(Fit(last, sampled), wanted)
                    if pass_number + 1 < n_steps:
                        self._engine.tell(Stage("moving profiles", number=pass_number))
                        place = Path(folder, str(pass_number))
                        pass_input = moved_inputs(self._engine, fitted, self._inputs, place)

    def _start(self) -> SamplerState:
        """Begin a fit: nothing is sampled."""
        self.n_fits += 1
        return SamplerState()

    def _sampled(
        self, prepared: PassData, before: SamplerState
    ) -> tuple[SamplerState, SamplerState]:
        """Sample on; return also the state before the round in which sampling stopped.

        That round may have ended within its block, so that a larger limit draws it again.
        """

        def after_round(sampled: SamplerState) -> None:
            nonlocal before
            self._engine.tell(Stage(SAMPLING, sampled.curve[-1], prepared.pass_number))
            if not sampled.stop_reason:
                self._engine.release(before.coverage)
                before = sampled.copied(self._engine)

        sampled = sample_rows(
            self._engine,
            prepared.scores,
            prepared.parameters,
            self._plan.piece_bytes,
            prepared.pass_number,
            before.copied(self._engine),
            after_round,
        )
        # Rows are corrected without it.
        self._engine.release(sampled.coverage)
        return sampled, before

    def _strengths(self, fitted: Fit, wanted: Sequence[Parameters]) -> Iterator[Embedded]:
        """Blend the corrected rows with those before all passes."""
        self._engine.tell(Stage(CORRECTING, number=fitted.prepared.pass_number))
        whole, n_covered = rows_after(self._engine, fitted, self._rows)
        before = self._raw.astype(np.float64)
        sampled, n_uncovered = fitted.sampled, self._inputs.n_rows - n_covered
        for setting in wanted:
            share = setting.strength
            blended = whole if share == 1.0 else (1.0 - share) * before + share * whole
            values = blended.astype(whole.dtype)
            yield Embedded(setting, values, sampled.n_sampled, n_uncovered, sampled.n_capped)

    def _prepared(self, inputs: Inputs, pass_number: int, parameters: Parameters) -> PassData:
        preprocessor = Preprocessor(self._projection, self._examined.features.constant)
        return prepare(self._engine, inputs, parameters, self._plan, preprocessor, pass_number)


def _limits(setting: Parameters) -> tuple[float, float]:
    return setting.patience, inf if setting.max_rows is None else setting.max_rows


def rows_before(
    engine: Engine, prepared: PassData, rows: NDArray[np.int64]
) -> NDArray[np.floating]:
    """Bring some rows of the embedding to the driver; of the features where there is none.

    Parameters
    ----------
    rows : ndarray of shape (n,), int64
        Global row numbers, in increasing order.
    """
    scores, profiles = prepared.scores, _embedding_alone(prepared)
    parts = scores.partitions
    futures = engine.map(
        "pick-rows",
        _before_chunk,
        scores.tiles_sources(),
        map(profiles.matrices, parts),
        _local(parts, rows),
    )
    return np.concatenate(engine.take(futures))


def rows_after(
    engine: Engine, fitted: Fit, rows: NDArray[np.int64]
) -> tuple[NDArray[np.floating], int]:
    """Correct the embedding alone; return some rows, and how many of all rows are covered.

    Parameters
    ----------
    rows : ndarray of shape (n,), int64
        In increasing order.
    """
    prepared = _whole(replace(fitted.prepared, profiles=_embedding_alone(fitted.prepared)))
    with engine.scope():
        learned = fit_operator(engine, replace(fitted, prepared=prepared))
        corrected = correct_pass(engine, prepared, [learned], None)
        parts = prepared.plan.tiling.partitions()
        picked = engine.map("pick-corrected", _after_chunk, corrected, _local(parts, rows))
        # Once some are picked, all corrected rows leave the workers.
        engine.wait(picked)
        engine.release(corrected)
        values = engine.take(picked)
        return np.concatenate([rows for rows, _ in values]), sum(count for _, count in values)


def moved_inputs(engine: Engine, fitted: Fit, first: Inputs, folder: Path) -> Inputs:
    """Write the profiles as a pass that is not the last one leaves them.

    Parameters
    ----------
    first : Inputs
        Of the first pass.
    folder : Path
        Where to write; seen by all workers.
    """
    prepared = _whole(fitted.prepared)
    key = None if first.embedding is None else MOVED
    projection = prepared.scores.projection
    writer = PassWriter(engine, PassFolder(folder), first, key, projection, MOVED)
    with engine.scope():
        learned = fit_operator(engine, replace(fitted, prepared=prepared))
        writer.write(prepared, [learned], prepared.plan.tiling.partitions())
    return writer.moved(first)


def _local(partitions: Sequence[Partition], rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Cut row numbers by partition, and count them from its start."""
    cuts = np.searchsorted(rows, [part.stop for part in partitions])
    chosen = np.split(rows, cuts[:-1])
    return [found - part.start for found, part in zip(chosen, partitions, strict=True)]


@task
def _before_chunk(
    tiles_source: Any, matrices: Sequence[Any], rows: NDArray[np.int64]
) -> NDArray[np.floating]:
    features, second = matrices
    if isinstance(second, str):
        values = as_tiles(tiles_source).rows_in_input_order()
    else:
        values = (features if second is None else second).read()
    return values[rows].astype(output_dtype(values.dtype))


@task
def _after_chunk(corrected: CorrectedRows, rows: NDArray[np.int64]) -> tuple[Any, int]:
    embedding = corrected.embedding
    values = corrected.features if embedding is None else embedding
    return values[rows], int(np.count_nonzero(corrected.covered))


def _whole(prepared: PassData) -> PassData:
    """Leave strength out of a pass: only the last one of a correction blends."""
    return replace(prepared, parameters=replace(prepared.parameters, strength=1.0))


def _embedding_alone(prepared: PassData) -> Profiles:
    """Leave out the features, unless they are the embedding."""
    inputs, embed_scores = prepared.inputs, prepared.scores.projection.weights is not None
    if inputs.embedding is None and not embed_scores:
        return prepared.profiles
    nothing = StoredRows(np.empty((inputs.n_rows, 0), dtype=np.float32))
    return Profiles(nothing, np.zeros(0, dtype=bool), inputs.embedding, embed_scores)
