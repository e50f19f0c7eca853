"""Fits and transforms of arrays: every pass takes the rows that the one before has put out."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from balans_dask.errors import InvalidInputError, warn_of_input
from balans_dask.io.sources import HeldArray, LazyRows, PickedRows, RowSource, StoredRows
from balans_dask.kernels._blas import single_threaded_blas
from balans_dask.model.anchors import GIVEN_ROWS, require_anchors, require_controls
from balans_dask.model.frozen import Model
from balans_dask.model.inputs import (
    CheckedInput,
    Inputs,
    check_input,
    examining,
    warn_of_many_batches,
)
from balans_dask.model.pass_data import CorrectedArrays
from balans_dask.model.plan import plan_run
from balans_dask.model.transform import warn_of_uncovered
from balans_dask.parameters import Parameters
from balans_dask.passes.engine import Engine, task
from balans_dask.passes.memory import MemoryPlan
from balans_dask.workflows.array_output import ArrayOutput, Collect, gathered_rows, lazy_rows
from balans_dask.workflows.confounding import Factor, said_of_confounding
from balans_dask.workflows.records import model_record, run_identity
from balans_dask.workflows.run import FitLearner, FrozenLearner, Job, run_passes
from balans_dask.workflows.sampled import (
    SampledLearner,
    examined_rows,
    job_of_rows,
    rows_to_fit,
)
from balans_dask.workflows.sharing import warn_of_fit

__all__ = [
    "Asked",
    "FittedArrays",
    "fit_inputs",
    "parameters_of",
    "sphered",
    "transform_arrays",
]


@dataclass(frozen=True)
class FittedArrays:
    """What a fit of arrays has found.

    Attributes
    ----------
    model : Model
    coverage : ndarray of shape (n_rows,), float64
        By the landmarks of the last pass.
    rows : CorrectedArrays or None
        As the last pass has left them, if they were wanted.
    covered : list of array of shape (n_rows,), bool
        By pass, the last one only if its rows were wanted.
    is_landmark : ndarray of shape (n_rows,), bool
        Rows that some pass has sampled.
    facts : list of dict
        What a record says of every pass, by ``sampling_record``.
    identity : dict
        By ``run_identity``.
    """

    model: Model
    coverage: NDArray[np.float64]
    rows: CorrectedArrays | None
    covered: list[Any]
    is_landmark: NDArray[np.bool_]
    facts: list[dict[str, Any]]
    identity: dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """What the record of a fit says of the columns that it was asked for by name.

    Attributes
    ----------
    batch_keys : tuple of str
        Names of the columns of labels, where they have any.
    basis : str or None
        Name of the embedding in which distances are taken.
    anchor : str
        Query that made ``inputs.reference``.
    label : Factor or None
        What the caller wants to tell apart; it decides nothing of the fit.
    """

    batch_keys: tuple[str, ...] = ()
    basis: str | None = None
    anchor: str = GIVEN_ROWS
    label: Factor | None = None


NOTHING_BY_NAME = Asked()


def transform_arrays(
    engine: Engine, inputs: Inputs, model: Model, plan: MemoryPlan, collect: Collect
) -> Any:
    """Correct further rows by a model.

    Parameters
    ----------
    inputs : Inputs
        With batches numbered by ``known_to``.
    """
    # Which lazy rows are covered is counted now, pass by pass.
    at_once = plan.at_once and collect is not lazy_rows
    job = Job(engine, inputs, model.parameters, plan, at_once=at_once)
    output = ArrayOutput(job, collect, counts=True)
    run_passes(job, FrozenLearner(job, model), output)
    n_covered = int(np.count_nonzero(np.logical_and.reduce(output.covered)))
    warn_of_uncovered(inputs.n_rows - n_covered, inputs.n_rows, model.risk)
    assert output.rows is not None  # they were wanted
    return output.rows.features


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


def sphered(parameters: Parameters, controls: Any) -> Parameters:
    """Return the same parameters with a sphering on controls, a query or a mask, if there are some.

    Raises
    ------
    InvalidInputError
        If the query is empty.
    """
    if controls is None:
        return parameters
    return replace(parameters, sphering=controls if isinstance(controls, str) else GIVEN_ROWS)


def fit_inputs(
    engine: Engine,
    inputs: Inputs,
    parameters: Parameters,
    collect: Collect,
    wanted: bool,
    asked: Asked = NOTHING_BY_NAME,
) -> FittedArrays:
    """Plan, examine and fit.

    Parameters
    ----------
    collect : callable
        Makes arrays of corrected rows.
    wanted : bool
        Corrected rows are wanted too.

    Raises
    ------
    InvalidInputError
        If values, labels, anchors or controls cannot be used.
    """
    warn_of_many_batches(inputs.labels)
    told = inputs.reference is not None
    if asked.label is not None:
        told |= bool(said_of_confounding(inputs.labels, asked.label))
        if said := said_of_confounding(inputs.labels, asked.label, tied=inputs.is_tied):
            warn_of_input(said)
    if inputs.reference is not None:
        require_anchors(inputs.reference, inputs.labels, parameters)
    if inputs.controls is not None:
        require_controls(inputs.controls, inputs.features.shape[1])
    with single_threaded_blas():
        plan = plan_run(inputs, parameters, engine.workers(), freezes=True, holds_fit=True)
        with engine.following(examining(plan), ("moments",)):
            examined = check_input(engine, inputs, parameters, plan.tiling)
        inputs = examined.held(inputs)
        identity = run_identity(
            inputs, parameters, examined, asked.batch_keys, asked.basis, asked.anchor
        )
        learner = _learner(Job(engine, inputs, parameters, plan, at_once=plan.at_once), examined)
        output = ArrayOutput(learner.job, collect, wanted)
        run_passes(learner.job, learner, output)
    facts = learner.facts()
    warn_of_fit(facts[-1], inputs.labels, told)
    return FittedArrays(
        learner.model(model_record(identity)),
        learner.coverage,
        output.rows,
        output.covered,
        learner.is_landmark(),
        facts,
        identity,
    )


def _learner(job: Job, examined: CheckedInput) -> FitLearner | SampledLearner:
    """Fit all rows, or some that all then follow."""
    rows = rows_to_fit(job)
    if rows is None:
        return FitLearner(job, examined, freezes=True, notes_coverage=True)
    inputs = job.inputs.picked(rows)
    fitted = job_of_rows(job, rows, inputs)
    in_memory = [_in_memory(fitted, source) for source in inputs.matrices]
    fitted = replace(fitted, inputs=inputs.moved(*in_memory))
    fit = FitLearner(fitted, examined_rows(fitted, examined), freezes=True, notes_coverage=True)
    output = ArrayOutput(fitted, gathered_rows, wanted=False)
    return SampledLearner(job, fit, output, rows, examined)


def _in_memory(job: Job, source: RowSource) -> RowSource:
    """Read rows that are read again and again; a lazy array is computed once."""
    if isinstance(source, LazyRows):
        [values] = job.engine.compute([source.array])
    elif isinstance(source, PickedRows):
        parts = job.plan.tiling.partitions()
        recipes = [source.rows(part.start, part.stop) for part in parts]
        values = np.concatenate(job.engine.take(job.engine.map("copy", _read_chunk, recipes)))
    else:
        return source
    return StoredRows(HeldArray(values) if job.engine.workers().embedded else values)


@task
def _read_chunk(rows: Any) -> NDArray[Any]:
    values: NDArray[Any] = rows.read()
    return values


def _drawn_seed(state: Any) -> int:
    if not (state is None or isinstance(state, np.random.RandomState)):
        raise InvalidInputError(
            f"random_state must be a whole number, a RandomState or None, got {state!r}"
        )
    return int(check_random_state(state).randint(2**31))
