"""One pass of a fit, layer by layer, for tests that look between the layers."""

from balans_dask.model.fit import Fit, fit, fit_preprocessor
from balans_dask.model.inputs import Inputs, check_input
from balans_dask.model.pass_data import Preprocessor, prepare
from balans_dask.parameters import Parameters
from balans_dask.passes.engine import Engine
from balans_dask.passes.memory import MemoryPlan


def one_pass(engine: Engine, inputs: Inputs, parameters: Parameters, plan: MemoryPlan) -> Fit:
    """Examine, make scores and sample; nothing is corrected."""
    examined = check_input(engine, inputs, parameters, plan.tiling)
    projection = fit_preprocessor(engine, inputs, parameters, plan, examined)
    preprocessor = Preprocessor(projection, examined.features.constant)
    return fit(engine, prepare(engine, inputs, parameters, plan, preprocessor))
