"""One fit of arrays from the parameters of an estimator: what every interface to arrays calls."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from balans_dask.errors import InvalidInputError
from balans_dask.kernels._blas import single_threaded_blas
from balans_dask.model.anchors import GIVEN_ROWS, require_anchors
from balans_dask.model.inputs import Inputs, examine, plan_run
from balans_dask.model.stages import EXAMINING, OnStage, Stage, following
from balans_dask.parameters import Parameters
from balans_dask.passes.engine import Engine
from balans_dask.workflows.arrays import Collect, FittedArrays, fit_arrays
from balans_dask.workflows.records import run_identity

__all__ = ["fit_inputs", "parameters_of"]


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
