"""A task holds no more at once than the plan says of it, as measured."""

import tracemalloc

import pytest

from balans_dask.io.sources import StoredRows
from balans_dask.labels import batch_labels
from balans_dask.model.fit import fit_operator
from balans_dask.model.inputs import Inputs, plan_run
from balans_dask.model.pass_data import correct_pass
from balans_dask.parameters import OPERATORS, Parameters
from balans_dask.passes.engine import Engine
from balans_dask.passes.workers import embedded_client
from balans_dask.tiling import TILE_ROWS
from tests.support.fits import one_pass
from tests.support.screens import gaussian_screen

N_ROWS, N_FEATURES, N_COMPONENTS = 2 * TILE_ROWS, 200, 20


@pytest.mark.parametrize("operator", OPERATORS)
def test_a_correction_works_in_the_five_tiles_of_float64_that_the_plan_counts(operator):
    screen = gaussian_screen(N_ROWS, n_features=N_FEATURES)
    labels = batch_labels([screen.batch], ["batch"], N_ROWS)
    inputs = Inputs(StoredRows(screen.profiles), labels, [f"f{i}" for i in range(N_FEATURES)])
    parameters = Parameters(max_rows=64, operator=operator, n_components=N_COMPONENTS)
    with embedded_client(1) as client:
        engine = Engine(client)
        plan = plan_run(inputs, parameters, engine.workers())
        assert plan.tiling.n_partitions == 1
        fitted = one_pass(engine, inputs, parameters, plan)
        learned = fit_operator(engine, fitted)
        tracemalloc.start()
        try:
            (found,) = engine.gather(correct_pass(engine, fitted.prepared, learned, None))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    tile = 8 * TILE_ROWS * (N_FEATURES + N_COMPONENTS + 1)
    n_tiles = (peak - found.features.nbytes - 2 * found.embedding.nbytes) / tile
    # So near that the tile before, if it were held as well, would show.
    assert 4 < n_tiles < 5
    assert peak <= plan.task_bytes["correct"]
