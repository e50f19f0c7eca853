"""The contract of scikit-learn: its own checks, pipelines, containers, routing, copies."""

import pickle
import subprocess
import sys
from typing import Any

import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
import sklearn
import zarr
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from balans_dask import Balans
from balans_dask.errors import InvalidInputError
from balans_dask.workflows.array_inputs import check_features, matrix_of
from tests.support.screens import gaussian_screen

SCREEN = gaussian_screen(400)
NAMES = [f"Cells_{i}" for i in range(8)]
FEW = {"max_rows": 128}
FRAME = pd.DataFrame(SCREEN.profiles, columns=NAMES, index=[f"well {i}" for i in range(400)])


@pytest.fixture(autouse=True)
def client(engine):
    with engine.client.as_current():
        yield


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


@pytest.fixture(scope="module")
def corrected(engine):
    with engine.client.as_current():
        return Balans(**FEW).fit_transform(SCREEN.profiles, batch=SCREEN.batch)


EXPECTED_TO_FAIL: dict[str, str] = {}
"""Checks of scikit-learn that do not hold, each with its reason."""


@parametrize_with_checks(
    [Balans(operator="smooth")], expected_failed_checks=lambda model: EXPECTED_TO_FAIL
)
@pytest.mark.filterwarnings(
    "ignore:.*(nothing to align|batches have at most|features are constant)"
)
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


@pytest.mark.long
@parametrize_with_checks([Balans()], expected_failed_checks=lambda model: EXPECTED_TO_FAIL)
@pytest.mark.filterwarnings(
    "ignore:.*(nothing to align|batches have at most|features are constant)"
)
def test_they_hold_with_align_too(estimator, check):
    check(estimator)


@pytest.mark.parametrize(
    ("given", "names", "index"),
    [
        (SCREEN.profiles, [f"x{i}" for i in range(8)], range(400)),
        (FRAME, NAMES, FRAME.index),
    ],
    ids=["numpy", "pandas"],
)
def test_a_table_comes_out_if_it_was_asked_for(corrected, given, names, index):
    model = Balans(**FEW).set_output(transform="pandas")
    for found in (
        model.fit_transform(given, batch=SCREEN.batch),
        model.transform(given, batch=SCREEN.batch),
    ):
        pd.testing.assert_frame_equal(found, pd.DataFrame(corrected, columns=names, index=index))
    assert list(model.get_feature_names_out()) == names


def test_dask_stays_dask_whatever_table_was_asked_for(corrected, tmp_path):
    array = zarr.create_array(tmp_path / "x.zarr", data=SCREEN.profiles, chunks=(100, 3))
    model = Balans(**FEW).set_output(transform="pandas")
    for given in (array, da.from_zarr(array)):
        for found in (
            model.fit_transform(given, batch=SCREEN.batch),
            model.transform(given, batch=SCREEN.batch),
        ):
            assert isinstance(found, da.Array)
            np.testing.assert_array_equal(found.compute(), corrected)


def never() -> Any:
    raise AssertionError("a value was read")


def test_validation_reads_no_value_of_a_lazy_array():
    lazy = da.from_delayed(dask.delayed(never)(), shape=(400, 8), dtype=np.float32)
    model = Balans()
    assert matrix_of(lazy) is lazy
    check_features(model, lazy, fitting=True)
    assert model.n_features_in_ == 8
    with pytest.raises(InvalidInputError, match="X has 7 features, but Balans is expecting 8"):
        check_features(model, lazy[:, :7], fitting=False)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (FRAME.iloc[:, :5], "Feature names seen at fit time, yet now missing: - Cells_5"),
        (FRAME[NAMES[::-1]], "must be in the same order"),
        (FRAME.to_numpy()[:, :5], "X has 5 features, but Balans is expecting 8"),
    ],
)
@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
def test_features_other_than_those_of_the_fit_are_refused_in_one_line(given, reason):
    model = Balans(operator="smooth").fit(FRAME, batch=SCREEN.batch)
    with pytest.raises(InvalidInputError, match=reason) as refusal:
        model.transform(given, batch=SCREEN.batch)
    assert str(refusal.value).endswith(": give the features of the fit")
    assert len(str(refusal.value).splitlines()) == 1


@pytest.mark.usefixtures("routing")
def test_a_pipeline_passes_the_batches_on():
    alone = Balans(operator="smooth")
    asking = clone(alone).set_fit_request(batch=True).set_transform_request(batch=True)
    steps = Pipeline([("scale", StandardScaler()), ("align", asking)])
    found = steps.fit_transform(SCREEN.profiles, batch=SCREEN.batch)
    scaled = StandardScaler().fit_transform(SCREEN.profiles)
    np.testing.assert_array_equal(found, alone.fit_transform(scaled, batch=SCREEN.batch))
    new = slice(0, 40)
    np.testing.assert_array_equal(
        steps.transform(SCREEN.profiles[new], batch=SCREEN.batch[new]),
        alone.transform(scaled[new], batch=SCREEN.batch[new]),
    )


@pytest.mark.usefixtures("routing")
def test_a_pipeline_says_when_it_does_not_know_what_batches_are_for():
    with pytest.raises(UnsetMetadataPassedError, match="batch"):
        Pipeline([("align", Balans())]).fit(SCREEN.profiles, batch=SCREEN.batch)


@pytest.mark.usefixtures("routing")
def test_some_columns_of_a_table_can_be_corrected(corrected):
    asking = Balans().set_fit_request(batch=True).set_transform_request(batch=True)
    columns = ColumnTransformer([("align", asking, NAMES)], remainder="passthrough")
    columns.set_output(transform="pandas")
    found = columns.fit_transform(FRAME.assign(Metadata_row=range(400)), batch=SCREEN.batch)
    assert list(found.columns) == [f"align__{name}" for name in NAMES] + ["remainder__Metadata_row"]
    np.testing.assert_array_equal(found.to_numpy()[:, :8], corrected)


@pytest.mark.usefixtures("routing")
def test_a_clone_keeps_parameters_and_requests_and_no_fit():
    model = Balans(n_neighbors=3, operator="displace").set_fit_request(batch=True)
    copy = clone(model.fit(SCREEN.profiles, batch=SCREEN.batch))
    assert copy.get_params() == model.get_params()
    requests = {"batch": True, "anchor": None, "controls": None}
    assert copy.get_metadata_routing().fit.requests == requests
    assert not hasattr(copy, "sampled_rows_")


IN_A_NEW_PROCESS = """
import pickle, sys
import numpy as np

if __name__ == "__main__":
    model, rows, batch = pickle.load(sys.stdin.buffer)
    np.save(sys.stdout.buffer, model.transform(rows, batch=batch))
"""


def test_a_pickled_fit_corrects_in_another_process():
    model = Balans(**FEW).fit(FRAME, batch=SCREEN.batch)
    new = slice(100, 140)
    parcel = pickle.dumps((model, FRAME[new], SCREEN.batch[new]))
    done = subprocess.run(
        [sys.executable, "-c", IN_A_NEW_PROCESS], input=parcel, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()
    expected = model.transform(FRAME[new], batch=SCREEN.batch[new])
    assert expected.tobytes() in done.stdout
