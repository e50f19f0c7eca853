"""Fits and transforms of arrays: every pass takes the rows that the one before has put out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from balans_dask.errors import InvalidInputError
from balans_dask.kernels._blas import single_threaded_blas
from balans_dask.kernels.projection import Projection
from balans_dask.model.anchors import GIVEN_ROWS, require_anchors
from balans_dask.model.fit import fit, fit_preprocessor, learn
from balans_dask.model.frozen import FrozenPass, Model, freeze, model_of
from balans_dask.model.inputs import Examined, Inputs, examine, plan_run
from balans_dask.model.prepared import Learned, MovedRows, Prepared, prepare
from balans_dask.model.stages import EXAMINING, OnStage, Stage, following
from balans_dask.model.transform import adapt, warn_of_uncovered
from balans_dask.parameters import Parameters
from balans_dask.passes.coverage import coverage_of_rows, covered_rows
from balans_dask.passes.engine import Engine
from balans_dask.passes.memory import MemoryPlan
from balans_dask.workflows.array_inputs import source_of
from balans_dask.workflows.records import model_record, run_identity, sampling_record

__all__ = [
    "Collect",
    "FittedArrays",
    "fit_arrays",
    "fit_inputs",
    "parameters_of",
    "transform_arrays",
]

Collect = Callable[[Engine, Prepared, Learned], MovedRows]
"""Makes arrays of corrected rows, in memory or lazy."""


@dataclass
class FittedArrays:
    """What a fit of arrays has found.

    Attributes
    ----------
    model : Model
    coverage : ndarray of shape (n_rows,), float64
        By the landmarks of the last pass.
    rows : MovedRows or None
        As the last pass has left them, if they were wanted.
    covered : list of array of shape (n_rows,), bool
        By pass, the last one only if its rows were wanted.
    facts : list of dict
        What a record says of every pass, by ``sampling_record``.
    """

    model: Model = field(init=False)
    coverage: NDArray[np.float64] = field(init=False)
    rows: MovedRows | None = field(init=False)
    covered: list[Any] = field(init=False)
    facts: list[dict[str, Any]] = field(default_factory=list)


def fit_arrays(
    engine: Engine,
    inputs: Inputs,
    parameters: Parameters,
    plan: MemoryPlan,
    examined: Examined,
    collect: Collect,
    wanted: bool,
    identity: Mapping[str, Any],
    on_stage: OnStage = lambda stage: None,
) -> FittedArrays:
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
    identity : mapping
        By ``run_identity``.
    on_stage : callable
        Told what the run is doing.
    """
    frozen: list[FrozenPass] = []
    found = FittedArrays()

    def learner(prepared: Prepared) -> Learned:
        fitted = fit(engine, prepared, on_stage)
        learned = learn(engine, fitted, on_stage)
        frozen.append(freeze(engine, fitted, learned))
        if prepared.number + 1 == parameters.n_passes:
            found.coverage = coverage_of_rows(engine, fitted.sampled.coverage)
        found.facts.append(sampling_record(fitted.sampled, inputs.labels, projection))
        return learned

    projection = fit_preprocessor(engine, inputs, parameters, plan, examined, on_stage)
    constant = examined.features.constant
    found.rows, found.covered = _over_passes(
        engine, inputs, parameters, plan, projection, constant, learner, collect, wanted
    )
    record = model_record(identity)
    found.model = model_of(inputs, parameters, projection, constant, frozen, record)
    return found


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

    def noting(engine: Engine, prepared: Prepared, learned: Learned) -> MovedRows:
        rows = collect(engine, prepared, learned)
        found = rows.covered
        if not isinstance(found, np.ndarray):
            found = covered_rows(
                engine, prepared.scores, learned.table, learned.pieces, learned.operator
            )
        np.logical_and(covered, found, out=covered)
        return rows

    rows, _ = _over_passes(
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
    assert rows is not None  # they were wanted
    return rows.features


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
) -> tuple[MovedRows | None, list[Any]]:
    """Run all passes; the rows of the last one, if they are wanted, and which passes cover."""
    rows: MovedRows | None = None
    moved, covered = inputs, []
    for number in range(parameters.n_passes):
        prepared = prepare(
            engine, moved, parameters, plan, projection, constant, number, origin=inputs
        )
        learned = learner(prepared)
        rows = None
        is_last = number + 1 == parameters.n_passes
        if wanted or not is_last:
            rows = collect(engine, prepared, learned)
            covered.append(rows.covered)
        if rows is not None and not is_last:
            moved = _moved(engine, inputs, rows)
        engine.release()
    return rows, covered


def _moved(engine: Engine, inputs: Inputs, rows: MovedRows) -> Inputs:
    features = source_of(engine, rows.features)[0]
    beside = inputs.embedding is not None
    return inputs.moved(features, source_of(engine, rows.embedding)[0] if beside else None)


def parameters_of(given: Mapping[str, Any]) -> Parameters:
    """Check the parameters of an estimator.

    Parameters
    ----------
    given : mapping
        By the names of ``Balans``: numbers of numpy are numbers, and ``random_state`` makes a seed.

    Raises
    ------
    InvalidInputError
        If one is out of its range.
    """
    plain = {k: v.item() if isinstance(v, np.generic) else v for k, v in given.items()}
    state = plain.pop("random_state")
    # How a fit is followed, which is no parameter of it.
    plain.pop("verbose", None)
    seed = state if isinstance(state, int) and not isinstance(state, bool) else _drawn_seed(state)
    return Parameters(**plain, seed=seed)


def fit_inputs(
    engine: Engine,
    inputs: Inputs,
    parameters: Parameters,
    collect: Collect,
    wanted: bool,
    batch_keys: tuple[str, ...] = (),
    basis: str | None = None,
    anchor: str = GIVEN_ROWS,
    on_stage: OnStage = lambda stage: None,
) -> tuple[FittedArrays, dict[str, Any]]:
    """Plan, examine and fit.

    Parameters
    ----------
    engine : Engine
    inputs : Inputs
    parameters : Parameters
    collect : callable
    wanted : bool
        Corrected rows are wanted too.
    batch_keys : tuple of str
        Names of the columns of labels, where they have any.
    basis : str or None
        Name of the embedding in which distances are taken.
    anchor : str
        Query that made ``inputs.reference``.
    on_stage : callable
        Told what the run is doing.

    Returns
    -------
    found : FittedArrays
    identity : dict
        By ``run_identity``.

    Raises
    ------
    InvalidInputError
        If values, labels or anchors cannot be used.
    """
    if inputs.reference is not None:
        require_anchors(inputs.reference, inputs.labels, parameters)
    with single_threaded_blas():
        plan = plan_run(inputs, parameters, engine.workers(), freezes=True)
        stage = Stage(EXAMINING, n_total=plan.tiling.n_partitions)
        with following(engine, on_stage, stage, ("moments",)):
            examined = examine(engine, inputs, parameters, plan.tiling)
        inputs = examined.held(inputs)
        identity = run_identity(inputs, parameters, examined, batch_keys, basis, anchor)
        return fit_arrays(
            engine, inputs, parameters, plan, examined, collect, wanted, identity, on_stage
        ), identity


def _drawn_seed(state: Any) -> int:
    if not (state is None or isinstance(state, np.random.RandomState)):
        raise InvalidInputError(
            f"random_state must be a whole number, a RandomState or None, got {state!r}"
        )
    return int(check_random_state(state).randint(2**31))
