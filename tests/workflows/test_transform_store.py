"""`balans correct --model`, then `balans transform`: plates that came later, store by store."""

import shutil
import zlib
from dataclasses import replace

import anndata
import numpy as np
import pandas as pd
import pytest
import zarr

from balans_dask import Balans
from balans_dask.errors import StoreExistsError
from balans_dask.io.store import open_store
from balans_dask.model.plan import plan_run
from balans_dask.model.saved import load_model
from balans_dask.parameters import Parameters
from balans_dask.passes.dask_engine import DaskEngine
from balans_dask.passes.workers import Workers, embedded_client
from balans_dask.workflows.correct import WriteOptions, correct_store
from balans_dask.workflows.mixture import Mixture
from balans_dask.workflows.request import correction_request
from tests.support.commands import Command, run
from tests.support.commands import writing as has_written
from tests.support.stores import files, files_but_input, write_anndata

KEY = ["--batch-key", "Metadata_batch"]
FIT = [*KEY, "--n-components", 6, "--operator", "displace", "--n-passes", 2, "--block-rows", 32,
       "--patience", 15]  # fmt: skip
N_ROWS = 20_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A screen of five plates: four of them fitted, then all five."""
    place = tmp_path_factory.mktemp("transform")
    mixture = Mixture(n_rows=N_ROWS, n_features=10, n_clusters=12)
    profiles = np.concatenate([rows for _, rows in mixture.slabs(N_ROWS)])
    batch = mixture.annotations()["Metadata_batch"].astype(str).to_numpy()
    last = batch == "batch4"
    for name, rows in (("all", batch != ""), ("old", ~last), ("new", last)):
        part = {"chunks": (999, 7), "Metadata_batch": batch[rows]}
        write_anndata(place / f"{name}.zarr", profiles[rows], **part)
    run("correct", place / "old.zarr", place / "fit.zarr", *FIT, "--model", place / "m.zarr")
    return place


def transform(folder, source, target, *options, code=0):
    return run("transform", folder / "m.zarr", source, target, *KEY, *options, code=code)


@pytest.fixture
def target(folder):
    path = folder / "out.zarr"
    yield path
    for left in (path, path.with_name("out.zarr.partial")):
        shutil.rmtree(left, ignore_errors=True)


def test_the_store_of_the_fit_is_transformed_into_what_the_fit_wrote(folder, target):
    transform(folder, folder / "old.zarr", target)
    fitted, again = anndata.read_zarr(folder / "fit.zarr"), anndata.read_zarr(target)
    assert again.X.tobytes() == fitted.X.tobytes()
    assert again.obsm["X_pca_balans"].tobytes() == fitted.obsm["X_pca_balans"].tobytes()
    for name in ("balans_covered", "balans_displacement"):
        np.testing.assert_array_equal(again.obs[name], fitted.obs[name])
    assert not again.obs["balans_is_landmark"].any()


def test_a_new_plate_is_corrected_alike_by_command_and_estimator(folder, target):
    said = transform(folder, folder / "new.zarr", target)
    assert "fit again" not in said
    new = anndata.read_zarr(folder / "new.zarr")
    frame = pd.DataFrame(new.X, columns=list(new.var_names))
    expected = Balans.load(folder / "m.zarr").transform(frame, batch=new.obs["Metadata_batch"])
    found = anndata.read_zarr(target)
    np.testing.assert_array_equal(found.X, expected)
    assert list(found.var_names) == list(new.var_names)
    record = found.uns["balans"]
    fitted = anndata.read_zarr(folder / "fit.zarr").uns["balans"]
    assert record["model"] == fitted["fingerprint"]
    assert record["fingerprint"] != fitted["fingerprint"]
    assert list(record["batches"]) == ["batch4"]


def test_rows_corrected_before_are_not_touched(folder, target):
    before = {name: files(folder / name) for name in ("old.zarr", "fit.zarr", "m.zarr")}
    transform(folder, folder / "new.zarr", target)
    assert before == {name: files(folder / name) for name in before}


@pytest.mark.long
def test_processes_and_chunks_change_no_byte(folder, target, tmp_path):
    transform(folder, folder / "new.zarr", target)
    new = anndata.read_zarr(folder / "new.zarr")
    obs = {key: new.obs[key].to_numpy() for key in new.obs}
    write_anndata(tmp_path / "new.zarr", new.X, zarr_format=2, chunks=(4321, 3), **obs)
    cluster = ["--cluster", "local", "--workers", 2, "--memory-limit", "1GB"]
    transform(folder, tmp_path / "new.zarr", tmp_path / "other.zarr", *cluster)
    assert files_but_input(tmp_path / "other.zarr") == files_but_input(target)


@pytest.mark.long
def test_a_transform_killed_while_it_writes_is_resumed(folder, target, tmp_path):
    everything = folder / "all.zarr"
    transform(folder, everything, tmp_path / "undisturbed.zarr")
    command = Command("transform", folder / "m.zarr", everything, target, *KEY)
    assert command.wait_for(has_written(target, 1))
    command.kill_all()
    said = transform(folder, everything, target, code=2)
    assert "holds an unfinished run: add --resume" in said
    transform(folder, everything, target, "--resume")
    assert files_but_input(target) == files_but_input(tmp_path / "undisturbed.zarr")
    stamp = (target / "zarr.json").stat().st_mtime_ns
    transform(folder, everything, target, "--resume")
    assert (target / "zarr.json").stat().st_mtime_ns == stamp


@pytest.mark.long
@pytest.mark.parametrize("number", [pytest.param(0, marks=pytest.mark.long), 1])
def test_a_fit_of_two_passes_killed_in_either_is_resumed_with_its_model(folder, target, number):
    model = folder / "m2.zarr"
    arguments = ["correct", folder / "old.zarr", target, *FIT, "--model", model]
    command = Command(*arguments, "--checkpoint-seconds", 0)
    partial = target.with_name("out.zarr.partial")
    units = partial / "pass_0" / "units" if number == 0 else partial / "units"
    assert command.wait_for(lambda: units.exists() and list(units.glob("*.json")))
    command.kill_all()
    run(*arguments, "--resume")
    assert files(target) == files(folder / "fit.zarr")
    assert files(model) == files(folder / "m.zarr")
    run(*arguments, "--resume")
    shutil.rmtree(model)
    said = run(*arguments, "--resume", code=2)
    assert "is complete, and" in said
    assert "begin afresh with --overwrite to save one" in said


def test_a_model_is_not_written_over_what_is_there(folder, target):
    before = files(folder / "m.zarr")
    arguments = ["correct", folder / "new.zarr", target, *FIT]
    for place in ("m.zarr", "old.zarr"):
        for more in ([], ["--resume"]):
            said = run(*arguments, "--model", folder / place, *more, code=2)
            assert "exists: choose another output" in said
    assert "same place" in run(*arguments, "--model", folder / "new.zarr", code=2)
    assert "path of the output is empty" in run(*arguments, "--model", "", code=2)
    for place in (target, f"{target}.partial"):
        assert "same place" in run(*arguments, "--model", place, code=2)
    assert files(folder / "m.zarr") == before
    assert not target.exists()


def test_a_transform_writes_neither_over_its_model_nor_into_it(folder):
    before = files(folder / "m.zarr")
    for target in (folder / "m.zarr", folder / "m.zarr" / "x.zarr"):
        said = transform(folder, folder / "new.zarr", target, "--overwrite", code=2)
        assert "same place" in said
    assert files(folder / "m.zarr") == before


def test_the_plan_of_a_transform_counts_the_batches_of_the_model(folder):
    frozen = load_model(str(folder / "m.zarr"))
    asked = correction_request(
        open_store(str(folder / "new.zarr")),
        ["Metadata_batch"],
        frozen.parameters,
        model=frozen,
    )
    workers = Workers(1, 1, 16 * 2**30, embedded=True)
    many = tuple(f"batch{i}" for i in range(1000))
    few, larger = (
        plan_run(asked.inputs, frozen.parameters, workers, replace(frozen, batches=names).sizes)
        for names in (frozen.batches, many)
    )
    moves = 4 * frozen.n_landmarks * (len(many) - len(frozen.batches)) * 16
    assert larger.total_bytes > few.total_bytes + moves


@pytest.mark.filterwarnings("ignore:.*covered by no sampled row", "ignore:.*too far from some")
def test_a_store_that_appears_in_the_place_of_the_model_meanwhile_stays(folder, target, tmp_path):
    options = Parameters(operator="displace", n_components=6, max_rows=32)
    asked = correction_request(open_store(str(folder / "old.zarr")), ["Metadata_batch"], options)
    place = str(tmp_path / "m.zarr")

    def appears(stage):
        zarr.open_group(place, mode="a").attrs["whose"] = "another run's"

    with embedded_client() as client:
        engine = DaskEngine(client)
        plan = plan_run(asked.inputs, options, engine.workers())
        refused = pytest.raises(StoreExistsError, match=r"m\.zarr exists")
        with refused, engine.telling(appears):
            correct_store(engine, asked, plan, str(target), WriteOptions(model=place))
    assert zarr.open_group(place, mode="r").attrs["whose"] == "another run's"
    assert not target.exists()


def test_a_model_of_a_feature_that_now_describes_rows_names_it_and_the_remedy(tmp_path):
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(60, 4)), columns=list("abcd"))
    table.assign(Metadata_batch=list("xy") * 30, Plate=np.arange(60) % 3).to_csv(tmp_path / "t.csv")
    for name, options in (("old", ["--feature-prefix", ""]), ("new", [])):
        run("convert", tmp_path / "t.csv", tmp_path / f"{name}.zarr", *options)
    old, model = tmp_path / "old.zarr", tmp_path / "m.zarr"
    run("correct", old, tmp_path / "fit.zarr", *KEY, "--model", model)
    said = run("transform", model, tmp_path / "new.zarr", tmp_path / "o.zarr", *KEY, code=2)
    assert "1 of 5 are missing (Plate) and 0 of 4 are unknown; integers of such names" in said
    assert "fit again without them (Plate), or convert the table with --feature-prefix" in said
    assert said.count("\n") == 1
    run("transform", model, old, tmp_path / "o.zarr", *KEY)


def test_other_features_and_other_things_are_refused_in_one_line(folder, target, tmp_path):
    rng = np.random.default_rng(0)
    write_anndata(tmp_path / "x.zarr", rng.normal(size=(50, 4)), Metadata_batch=["a"] * 50)
    said = transform(folder, tmp_path / "x.zarr", target, code=2)
    assert "features are not those of the model" in said
    assert said.count("\n") == 1
    said = run("transform", folder / "old.zarr", folder / "new.zarr", target, *KEY, code=2)
    assert "is not a model: make one with" in said
    assert not target.exists()


def test_a_basis_is_part_of_the_model(tmp_path):
    rng = np.random.default_rng(0)
    batch = rng.choice(["a", "b"], size=600)
    X = rng.normal(size=(600, 9)).astype(np.float32)
    embedding = (X @ rng.normal(size=(9, 3))).astype(np.float32)
    source = write_anndata(tmp_path / "x.zarr", X, obsm={"X_own": embedding}, plate=batch)
    options = ["--batch-key", "plate", "--operator", "displace", "--n-passes", 2]
    model, fitted, again = (tmp_path / name for name in ("m.zarr", "f.zarr", "t.zarr"))
    run("correct", source, fitted, *options, "--basis", "X_own", "--model", model)
    run("transform", model, source, again, "--batch-key", "plate")
    one, other = zarr.open_group(fitted, mode="r"), zarr.open_group(again, mode="r")
    for name in ("X", "obsm/X_own_balans"):
        assert zlib.crc32(one[name][:].tobytes()) == zlib.crc32(other[name][:].tobytes())
    write_anndata(tmp_path / "y.zarr", X, obsm={"X_own": embedding[:, :2]}, plate=batch)
    said = run("transform", model, tmp_path / "y.zarr", tmp_path / "z.zarr", "--batch-key", "plate",
               code=2)  # fmt: skip
    assert "the basis has 2 columns, and 3 in the model" in said
