"""From a folder of plates to a corrected store, all on a bucket: the same bytes as on disk."""

import numpy as np
import pytest

from balans_dask import Balans, storage_options
from balans_dask.errors import InvalidInputError
from balans_dask.events import read_events
from tests.support.commands import Command, dask_cluster, run, streams
from tests.support.stores import INPUT, files, files_but_input

BATCH = ("--batch-key", "Metadata_Plate")
SMOOTH = (*BATCH, "--operator", "smooth")


def but_input(found):
    return {name: content for name, content in found.items() if name not in INPUT}


def test_a_folder_of_plates_is_converted_checked_and_corrected_on_its_bucket(plates, bucket):
    source = bucket.upload(plates / "plates", "plates")
    store, corrected = bucket.url("in.zarr"), bucket.url("out.zarr")
    run("convert", source, store)
    assert bucket.files("in.zarr") == files(plates / "in.zarr")
    assert "40,000" in streams("check", store, *BATCH)[0]
    options = (*SMOOTH, "--cluster", "local", "--workers", 2)
    run("correct", store, corrected, *options, "--model", bucket.url("model.zarr"))
    assert but_input(bucket.files("out.zarr")) == files_but_input(plates / "out.zarr")
    assert bucket.files("model.zarr") == files(plates / "model.zarr")
    assert bucket.names("out.zarr.partial") == bucket.names("model.zarr.partial") == []
    events = read_events(corrected)
    assert {"preparing scores", "sampling rows", "writing"} <= {each["stage"] for each in events}
    assert [event["done"] for event in events] == [False] * (len(events) - 1) + [True]


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".csv.gz", ".h5ad"])
def test_one_table_of_any_format_is_read_from_a_bucket(plates, bucket, tmp_path, suffix):
    import anndata
    import pandas as pd

    frame = pd.read_parquet(plates / "plates/plate0.parquet").head(9000)
    table = tmp_path / f"table{suffix}"
    if suffix == ".parquet":
        frame.to_parquet(table, row_group_size=1000)
    elif suffix == ".h5ad":
        features = frame.filter(like="Cells")
        obs = frame[["Metadata_Plate"]].set_axis(features.index.astype(str))
        anndata.AnnData(features.to_numpy(), obs, pd.DataFrame(index=features.columns)).write_h5ad(
            table
        )
    else:
        frame.to_csv(table, index=False)
    bucket.write(table.name, table.read_bytes())
    run("convert", table, tmp_path / "here.zarr")
    run("convert", bucket.url(table.name), tmp_path / "there.zarr")
    assert files(tmp_path / "there.zarr") == files(tmp_path / "here.zarr")


def test_a_table_on_a_bucket_becomes_a_store_on_it_or_a_table_here(plates, bucket, tmp_path):
    source = bucket.upload(plates / "plates", "plates")
    corrected, here = bucket.url("out.zarr"), tmp_path / "out.parquet"
    run("correct", source, corrected, *SMOOTH)
    run("correct", plates / "plates", tmp_path / "out.zarr", *SMOOTH)
    assert bucket.files("out.zarr") == files(tmp_path / "out.zarr")
    assert bucket.names("out.zarr.partial") == []
    run("correct", source, here, *SMOOTH)
    run("correct", plates / "plates", tmp_path / "again.parquet", *SMOOTH)
    assert here.read_bytes() == (tmp_path / "again.parquet").read_bytes()
    assert not list(tmp_path.glob("*.partial"))
    err = run("correct", source, bucket.url("out.parquet"), *SMOOTH, code=2)
    assert "tables are written to this machine" in err


def test_passes_and_another_operator_write_their_stores_below_the_bucket(plates, bucket, tmp_path):
    options = (*BATCH, "--operator", "displace", "--n-passes", 2)
    run("correct", plates / "in.zarr", tmp_path / "out.zarr", *options)
    run("correct", bucket.upload(plates / "in.zarr", "in.zarr"), bucket.url("out.zarr"), *options)
    assert but_input(bucket.files("out.zarr")) == files_but_input(tmp_path / "out.zarr")
    assert bucket.names("out.zarr.partial") == []


def test_a_model_on_a_bucket_transforms_a_store_on_it(plates, bucket, tmp_path):
    run("transform", plates / "model.zarr", plates / "in.zarr", tmp_path / "new.zarr", *BATCH)
    model = bucket.upload(plates / "model.zarr", "model.zarr")
    store = bucket.upload(plates / "in.zarr", "in.zarr")
    run("transform", model, store, bucket.url("new.zarr"), *BATCH)
    assert but_input(bucket.files("new.zarr")) == files_but_input(tmp_path / "new.zarr")
    assert (
        streams("inspect", model)[0].splitlines()[1:]
        == (streams("inspect", plates / "model.zarr")[0].splitlines()[1:])
    )


def test_a_store_of_a_bucket_is_inspected_and_finds_its_input_there(plates, bucket):
    bucket.upload(plates / "in.zarr", "screens/in.zarr")
    bucket.upload(plates / "out.zarr", "screens/out.zarr")
    shown = streams("inspect", bucket.url("screens/out.zarr"))[0]
    assert "40,000" in shown
    assert "in.zarr" in shown


def test_a_correction_on_a_bucket_is_evaluated_beside_its_input(plates, bucket):
    pytest.importorskip("scib_metrics")
    bucket.upload(plates / "in.zarr", "in.zarr")
    options = (*BATCH, "--label-key", "Metadata_label", "--max-rows", 500)
    shown = streams("evaluate", bucket.upload(plates / "out.zarr", "out.zarr"), *options)[0]
    assert "raw" in shown


def test_a_store_of_a_bucket_is_reported_with_its_input(plates, bucket, tmp_path):
    pytest.importorskip("matplotlib")
    bucket.upload(plates / "in.zarr", "in.zarr")
    page = tmp_path / "report.html"
    options = ("--html", page, "--label-key", "Metadata_label")
    run("report", bucket.upload(plates / "out.zarr", "out.zarr"), *options)
    assert "no longer where it was" not in page.read_text()


def test_input_and_output_may_be_in_different_places(plates, bucket, tmp_path):
    run("correct", plates / "in.zarr", bucket.url("out.zarr"), *SMOOTH)
    assert but_input(bucket.files("out.zarr")) == files_but_input(plates / "out.zarr")
    run("correct", bucket.upload(plates / "in.zarr", "in.zarr"), tmp_path / "out.zarr", *SMOOTH)
    assert files_but_input(tmp_path / "out.zarr") == files_but_input(plates / "out.zarr")
    assert bucket.url("in.zarr") in streams("inspect", tmp_path / "out.zarr")[0].replace("\n", "")


def test_options_travel_to_workers_that_know_nothing_of_the_bucket(
    plates, bucket, server, monkeypatch
):
    store = bucket.upload(plates / "in.zarr", "in.zarr")
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    given = (f"endpoint_url={server.url}", "key=test", "secret=test")
    options = [part for option in given for part in ("--storage-option", option)]
    with dask_cluster() as (address, _):
        run("correct", store, bucket.url("out.zarr"), *SMOOTH, "--cluster", address, *options)
    assert but_input(bucket.files("out.zarr")) == files_but_input(plates / "out.zarr")


def test_a_public_bucket_is_read_without_keys(plates, bucket, monkeypatch, tmp_path):
    store = bucket.upload(plates / "in.zarr", "in.zarr", ACL="public-read")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    # In a process of its own: this one remembers the keys.
    code, _, refused = Command("inspect", store).finish()
    assert code == 2
    assert "Unable to locate credentials" in refused
    assert "--anonymous" in refused
    assert len(refused.splitlines()) == 1
    code, shown, said = Command("inspect", store, "--anonymous").finish()
    assert (code, said) == (0, "")
    assert "40,000" in shown


def test_the_estimator_saves_its_model_to_a_bucket_and_loads_it(bucket, server, monkeypatch):
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    profiles = np.random.default_rng(0).normal(size=(300, 5))
    labels = np.repeat(["a", "b", "c"], 100)
    model = Balans(n_components=3).fit(profiles, batch=labels)
    with storage_options(endpoint_url=server.url):
        model.save(bucket.url("model.zarr"))
        with pytest.raises(FileExistsError, match="exists"):
            model.save(bucket.url("model.zarr"))
        again = Balans.load(bucket.url("model.zarr"))
    np.testing.assert_array_equal(
        again.transform(profiles, batch=labels), model.transform(profiles, batch=labels)
    )
    bucket.client.delete_object(Bucket=bucket.name, Key="model.zarr/mean/c/0")
    with (
        storage_options(endpoint_url=server.url),
        pytest.raises(InvalidInputError, match="missing"),
    ):
        Balans.load(bucket.url("model.zarr"))


def preprocessed(found):
    """Everything but where the input is."""
    return {name: found[name] for name in found if not name.startswith("uns/balans_preprocess/in")}


def test_a_store_in_a_bucket_is_preprocessed_there_and_exported_from_it(plates, bucket, tmp_path):
    source = bucket.upload(plates / "in.zarr", "in.zarr")
    steps = ("--normalize", "mad", "--by", "Metadata_Plate", "--select", "variance")
    run("preprocess", plates / "in.zarr", tmp_path / "pre.zarr", *steps)
    run("preprocess", source, bucket.url("pre.zarr"), *steps)
    assert preprocessed(bucket.files("pre.zarr")) == preprocessed(files(tmp_path / "pre.zarr"))
    streams("export", tmp_path / "pre.zarr", tmp_path / "here.parquet")
    streams("export", bucket.url("pre.zarr"), tmp_path / "there.parquet")
    assert (tmp_path / "there.parquet").read_bytes() == (tmp_path / "here.parquet").read_bytes()


@pytest.mark.parametrize(
    ("command", "line"),
    [
        (("export", "SOURCE", "s3://bucket/out.parquet"), "is a URL, and tables are written to"),
        (("correct", "SOURCE", "--into", *BATCH), "is in a bucket, which cannot rename"),
    ],
)
def test_what_only_a_file_system_can_do_is_refused(plates, bucket, command, line):
    source = bucket.upload(plates / "in.zarr", "in.zarr")
    before = bucket.files("in.zarr")
    said = run(*(source if word == "SOURCE" else word for word in command), code=2)
    assert line in said
    assert bucket.files("in.zarr") == before
