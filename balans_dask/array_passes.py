"""Fits and transforms of arrays: every pass takes the rows that the one before has put out."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from balans_dask.anchors import GIVEN_ROWS
from balans_dask.applying import Learned
from balans_dask.arrays import source_of
from balans_dask.examine import Examined
from balans_dask.fitting import fit, fit_preprocessor, learn
from balans_dask.frozen import FrozenPass, Model, freeze, model_of
from balans_dask.inputs import Inputs
from balans_dask.kernels.projection import Projection
from balans_dask.memory import MemoryPlan
from balans_dask.parameters import Parameters
from balans_dask.passes.coverage import coverage_of_rows
from balans_dask.passes.covered import covered_rows
from balans_dask.passes.engine import Engine
from balans_dask.prepared import Prepared, prepare
from balans_dask.provenance import model_record, run_identity
from balans_dask.stage import OnStage
from balans_dask.transforming import adapt, warn_of_uncovered

__all__ = ["Collect", "fit_arrays", "transform_arrays"]

Collect = Callable[[Engine, Prepared, Learned], tuple[Any, NDArray[np.bool_] | None]]
"""Makes an array of corrected rows, in memory or lazy, and tells which are covered if it knows."""


def fit_arrays(
    engine: Engine,
    inputs: Inputs,
    parameters: Parameters,
    plan: MemoryPlan,
    examined: Examined,
    collect: Collect,
    wanted: bool,
    on_stage: OnStage = lambda stage: None,
) -> tuple[Model, NDArray[np.float64], Any]:
    """Fit all passes.

    Parameters
    ----------
    engine : Engine
    inputs : Inputs
    parameters : Parameters
    plan : MemoryPlan
    examined : Examined
    collect : callable
    wanted : bool
        The rows of the last pass are wanted too.
    on_stage : callable
        Told what the run is doing.

    Returns
    -------
    model : Model
    coverage : ndarray of shape (n_rows,), float64
        By the landmarks of the last pass.
    rows : array or None
        As ``collect`` makes it.
    """
    frozen: list[FrozenPass] = []
    coverage: list[NDArray[np.float64]] = []

    def learner(prepared: Prepared) -> Learned:
        fitted = fit(engine, prepared, on_stage)
        learned = learn(engine, fitted, on_stage)
        frozen.append(freeze(engine, fitted, learned))
        if prepared.number + 1 == parameters.n_passes:
            coverage.append(coverage_of_rows(engine, fitted.sampled.coverage))
        return learned

    projection = fit_preprocessor(engine, inputs, parameters, plan, examined, on_stage)
    constant = examined.features.constant
    rows = _over_passes(
        engine, inputs, parameters, plan, projection, constant, learner, collect, wanted
    )
    identity = run_identity(inputs, parameters, examined, (), None, GIVEN_ROWS)
    record = model_record(identity)
    model = model_of(inputs, parameters, projection, constant, frozen, record)
    return model, coverage[0], rows


def transform_arrays(
    engine: Engine, inputs: Inputs, model: Model, plan: MemoryPlan, collect: Collect
) -> Any:
    """Correct further rows by a model.

    Parameters
    ----------
    engine : Engine
    inputs : Inputs
        With batches numbered by ``known_to``.
    model : Model
    plan : MemoryPlan
    collect : callable
    """
    passes = iter(model.passes)
    covered = np.ones(inputs.n_rows, dtype=bool)

    def learner(prepared: Prepared) -> Learned:
        return adapt(engine, prepared, next(passes), len(model.batches))

    def noting(engine: Engine, prepared: Prepared, learned: Learned) -> tuple[Any, None]:
        rows, found = collect(engine, prepared, learned)
        if found is None:
            found = covered_rows(
                engine, prepared.scores, learned.table, learned.pieces, learned.correction
            )
        np.logical_and(covered, found, out=covered)
        return rows, None

    rows = _over_passes(
        engine,
        inputs,
        model.parameters,
        plan,
        model.projection,
        model.constant,
        learner,
        noting,
        True,
    )
    warn_of_uncovered(int(np.count_nonzero(~covered)), inputs.n_rows, model.risk)
    return rows


def _over_passes(
    engine: Engine,
    inputs: Inputs,
    parameters: Parameters,
    plan: MemoryPlan,
    projection: Projection,
    constant: NDArray[np.bool_],
    learner: Callable[[Prepared], Learned],
    collect: Collect,
    wanted: bool,
) -> Any:
    """Run all passes; the rows of the last one only if they are wanted."""
    rows, moved = None, inputs
    for number in range(parameters.n_passes):
        prepared = prepare(
            engine, moved, parameters, plan, projection, constant, number, origin=inputs
        )
        learned = learner(prepared)
        rows = None
        is_last = number + 1 == parameters.n_passes
        if wanted or not is_last:
            rows, _ = collect(engine, prepared, learned)
        if not is_last:
            moved = inputs.moved(source_of(engine, rows)[0])
        engine.release()
    return rows
