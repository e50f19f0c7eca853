"""A saved model: loads anywhere, holds no rows, and refuses what is damaged or of another kind."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr

from balans_dask import Balans
from balans_dask.errors import InvalidInputError, StoreExistsError
from balans_dask.io.model_store import stored_bytes
from balans_dask.parameters import OPERATORS
from tests.support.screens import gaussian_screen
from tests.support.stores import files

SCREEN = gaussian_screen(1000)


@pytest.fixture(scope="module")
def fitted() -> Balans:
    model = Balans(operator="displace", n_components=5, n_passes=2, max_scale_ratio=1.5)
    return model.fit(SCREEN.profiles, batch=SCREEN.batch)


@pytest.fixture
def saved(fitted, tmp_path) -> str:
    fitted.save(tmp_path / "model.zarr")
    return str(tmp_path / "model.zarr")


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("n_components", [5, None])
def test_a_loaded_model_transforms_as_the_fitted_one(operator, n_components, tmp_path):
    model = Balans(operator=operator, n_components=n_components, random_state=7, uncovered="keep")
    model.fit(SCREEN.profiles, batch=SCREEN.batch)
    model.save(tmp_path / "m.zarr")
    loaded = Balans.load(tmp_path / "m.zarr")
    given = {name: value for name, value in model.get_params().items() if value is not None}
    assert given.items() <= loaded.get_params().items()
    assert loaded.model_.parameters == model.model_.parameters
    names = ["sampled_rows_", "scales_", "thresholds_", "coverage_curve_", "batches_"]
    for name in names:
        np.testing.assert_array_equal(getattr(loaded, name), getattr(model, name))
    batch = np.where(SCREEN.batch == "plate2", "new", SCREEN.batch)
    expected = model.transform(SCREEN.profiles, batch=batch)
    assert loaded.transform(SCREEN.profiles, batch=batch).tobytes() == expected.tobytes()


@pytest.mark.long
def test_it_loads_in_another_process_that_knows_nothing_of_the_fit(fitted, saved, tmp_path):
    np.save(tmp_path / "x.npy", SCREEN.profiles)
    np.save(tmp_path / "b.npy", SCREEN.batch)
    code = (
        "import sys, numpy as np; from balans_dask import Balans; folder = sys.argv[1] + '/';"
        "X, b = np.load(folder + 'x.npy'), np.load(folder + 'b.npy');"
        "found = Balans.load(folder + 'model.zarr').transform(X, batch=b);"
        "np.save(folder + 'found.npy', found)"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code, str(tmp_path)], check=True)
    expected = fitted.transform(SCREEN.profiles, batch=SCREEN.batch)
    assert np.load(tmp_path / "found.npy").tobytes() == expected.tobytes()


def test_it_is_json_and_arrays_and_the_same_bytes_each_time(fitted, saved, tmp_path):
    root = zarr.open_group(saved, mode="r")
    assert root.attrs["kind"] == "balans_model"
    assert root.attrs["format_version"] == 1
    for name, content in files(saved).items():
        assert name.endswith("zarr.json") or "/c/" in name or name.endswith("/c")
        if name.endswith("zarr.json"):
            json.loads(content)
    kinds = {
        array.dtype.kind for _, array in root.members(max_depth=None) if hasattr(array, "dtype")
    }
    assert kinds <= set("iufb")
    fitted.save(tmp_path / "again.zarr")
    assert files(tmp_path / "again.zarr") == files(saved)


@pytest.mark.filterwarnings("ignore:.*covered by no sampled row")
def test_its_size_does_not_grow_with_the_rows(tmp_path):
    sizes = []
    for n_rows in (1000, 8000):
        screen = gaussian_screen(n_rows)
        model = Balans(n_components=5, max_rows=128, operator="displace", patience=500)
        model.fit(screen.profiles, batch=screen.batch)
        model.save(tmp_path / f"{n_rows}.zarr")
        sizes.append(stored_bytes(str(tmp_path / f"{n_rows}.zarr")))
    assert sizes[1] < 1.1 * sizes[0]


def test_what_is_there_is_not_replaced_unless_asked(fitted, saved):
    before = files(saved)
    with pytest.raises(StoreExistsError, match="exists"):
        fitted.save(saved)
    assert files(saved) == before
    fitted.save(saved, overwrite=True)
    assert files(saved) == before


def test_other_stores_and_other_formats_are_refused(saved, tmp_path):
    with pytest.raises(InvalidInputError, match="does not exist"):
        Balans.load(tmp_path / "nothing.zarr")
    zarr.create_group(tmp_path / "other.zarr")
    with pytest.raises(InvalidInputError, match="is not a model"):
        Balans.load(tmp_path / "other.zarr")
    zarr.open_group(saved, mode="r+").attrs["format_version"] = 99
    with pytest.raises(InvalidInputError, match="model of format 99, this version reads 1"):
        Balans.load(saved)


def test_a_model_that_lost_a_chunk_is_refused(saved):
    chunk = next(
        path for path in sorted(Path(saved).rglob("pass_1/scores/c/*/*")) if path.is_file()
    )
    chunk.unlink()
    with pytest.raises(InvalidInputError, match=r"1 of 1 chunks of .*scores are missing"):
        Balans.load(saved)


def test_a_model_that_lost_an_array_is_refused(saved):
    del zarr.open_group(saved, mode="r+")["pass_0/targets"]
    del zarr.open_group(saved, mode="r+")["pass_0/moves"]
    with pytest.raises(InvalidInputError, match="restore it"):
        Balans.load(saved)


@pytest.mark.parametrize("name", ["pass_0/thresholds", "pass_1/block_sizes", "pass_0/moves"])
@pytest.mark.parametrize("damage", ["shorter", "flipped"])
def test_a_model_whose_tables_were_changed_is_refused(saved, name, damage):
    root = zarr.open_group(saved, mode="r+", use_consolidated=False)
    values = root[name][...]
    if damage == "shorter":
        values = values[:-1]
    else:
        values.flat[0] += 1
    del root[name]
    root.create_array(name, data=values, config={"write_empty_chunks": True})
    zarr.consolidate_metadata(saved)
    with pytest.raises(InvalidInputError, match="has changed since it was written: restore it"):
        Balans.load(saved)


@pytest.mark.parametrize(
    ("name", "value"), [("batches", ["plate0", "plate1"]), ("record", {}), ("total_variance", 1.0)]
)
def test_a_model_whose_attributes_were_changed_is_refused(saved, name, value):
    root = zarr.open_group(saved, mode="r+", use_consolidated=False)
    root.attrs["model"] = root.attrs["model"] | {name: value}
    zarr.consolidate_metadata(saved)
    with pytest.raises(InvalidInputError, match="has changed since it was written: restore it"):
        Balans.load(saved)


def test_a_fitted_estimator_can_be_pickled(fitted):
    again = pickle.loads(pickle.dumps(fitted))
    expected = fitted.transform(SCREEN.profiles, batch=SCREEN.batch)
    np.testing.assert_array_equal(again.transform(SCREEN.profiles, batch=SCREEN.batch), expected)
