"""More features than a task sums at once are corrected like few."""

import numpy as np
import pytest
import zarr

from balans_dask.io.sources import StoredRows
from balans_dask.labels import batch_labels
from balans_dask.model.fit import fit_operator
from balans_dask.model.inputs import Inputs
from balans_dask.model.pass_data import correct_pass
from balans_dask.model.plan import plan_run
from balans_dask.parameters import Parameters
from balans_dask.passes.task_bytes import COLUMNS_AT_ONCE
from tests.support.fits import one_pass
from tests.support.screens import gaussian_screen

SCREEN = gaussian_screen(5000, n_features=4)
PARAMETERS = Parameters(operator="smooth", max_rows=12, block_rows=4)


def corrected(engine, place, features):
    """Sums and features, where the landmarks do not depend on the features."""
    stored = zarr.create_array(place, data=features, chunks=(1000, features.shape[1]))
    names = [f"f{i}" for i in range(features.shape[1])]
    labels = batch_labels([SCREEN.batch], ["batch"], len(features))
    inputs = Inputs(StoredRows(stored), labels, names, StoredRows(SCREEN.profiles))
    plan = plan_run(inputs, PARAMETERS, engine.workers())
    fitted = one_pass(engine, inputs, PARAMETERS, plan)
    learned = fit_operator(engine, fitted)
    parts = engine.gather(correct_pass(engine, fitted.prepared, [learned], None))
    sums = np.concatenate(engine.gather(learned.operator.sums), axis=1)
    return sums[:, : features.shape[1]], np.concatenate([part.features for part in parts])


@pytest.mark.filterwarnings("ignore:.*covered by no sampled row")
def test_columns_beyond_the_first_block_have_the_bits_that_they_have_alone(engine, rng, tmp_path):
    features = rng.normal(size=(5000, 1100))
    assert features.shape[1] > COLUMNS_AT_ONCE
    sums, values = corrected(engine, tmp_path / "wide", features)
    for name, columns in (("first", slice(0, 30)), ("last", slice(1000, None))):
        alone, values_alone = corrected(engine, tmp_path / name, features[:, columns])
        assert sums[:, columns].tobytes() == alone.tobytes()
        assert values[:, columns].tobytes() == values_alone.tobytes()
