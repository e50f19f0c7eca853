"""A run on a bucket that is killed at any moment, or meets a bad server, makes the same bytes."""

import json

import pytest
import zarr

from balans_dask.errors import InvalidInputError
from balans_dask.events import read_events
from balans_dask.io.files import file_size
from balans_dask.io.places import place_of, zarr_place
from balans_dask.io.store import open_store
from balans_dask.workflows.mixture import Mixture, write_mixture
from tests.support.commands import Command, run
from tests.support.stores import INPUT, files_but_input

BATCH = ("--batch-key", "Metadata_batch")
MANY_ROUNDS = (
    *(*BATCH, "--n-components", 0, "--checkpoint-seconds", 0, "--block-rows", 16),
    *("--operator", "smooth", "--patience", 15),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("mixture")
    mixture = Mixture(n_rows=70_000, n_features=10, n_clusters=30)
    write_mixture(mixture, str(place / "in.zarr"))
    run("correct", place / "in.zarr", place / "out.zarr", *MANY_ROUNDS)
    return place


@pytest.fixture
def source(folder, bucket):
    return bucket.upload(folder / "in.zarr", "in.zarr")


def partial(bucket):
    return bucket.names("out.zarr.partial")


def sampling(bucket):
    return lambda: "checkpoint.npz" in partial(bucket)


def writing(bucket):
    return lambda: any(name.startswith("units/") and ".json" in name for name in partial(bucket))


def publishing(bucket):
    return lambda: "X/zarr.json" in bucket.names("out.zarr")


def killed(source, bucket, moment, *options):
    command = Command("correct", source, bucket.url("out.zarr"), *MANY_ROUNDS, *options)
    assert command.wait_for(moment(bucket))
    command.kill_all()


def assert_same_as_undisturbed(bucket, folder):
    found = bucket.files("out.zarr")
    assert {name: found[name] for name in found if name not in INPUT} == files_but_input(
        folder / "out.zarr"
    )
    assert partial(bucket) == []


@pytest.mark.parametrize("moment", [sampling, writing])
@pytest.mark.parametrize("cluster", [(), ("--cluster", "local", "--workers", 1)])
def test_a_killed_run_goes_on_where_it_was(folder, source, bucket, moment, cluster):
    killed(source, bucket, moment, *cluster)
    assert bucket.names("out.zarr") == []
    run("correct", source, bucket.url("out.zarr"), *MANY_ROUNDS, "--resume")
    assert_same_as_undisturbed(bucket, folder)
    events = read_events(bucket.url("out.zarr"))
    assert len({event["attempt"] for event in events}) == 2
    assert events[-1]["done"]
    if moment is writing:
        again = [event for event in events if event["attempt"] == events[-1]["attempt"]]
        assert all(event["n_done"] > 0 for event in again if event["stage"] == "writing")


def test_what_is_written_stays_unless_it_has_changed(folder, source, bucket):
    killed(source, bucket, writing, "--cluster", "local", "--workers", 1)
    unit = min(name for name in partial(bucket) if name.startswith("units/") and ".json" in name)
    record = json.loads(bucket.read(f"out.zarr.partial/{unit}"))
    shard = f"out.zarr.partial/{min(record['files'])}"
    content = bucket.read(shard)
    bucket.write(shard, content[:99] + bytes([content[99] ^ 1]) + content[100:])
    run("correct", source, bucket.url("out.zarr"), *MANY_ROUNDS, "--resume")
    assert_same_as_undisturbed(bucket, folder)


def test_half_a_published_store_does_not_open_and_is_published_again(
    folder, source, bucket, steady
):
    steady.behave(slow="/out.zarr/zarr.json")
    killed(source, bucket, publishing)
    assert "zarr.json" not in bucket.names("out.zarr")
    with pytest.raises(InvalidInputError, match="not a Zarr store"):
        open_store(bucket.url("out.zarr"))
    with pytest.raises(FileNotFoundError):
        zarr.open_group(zarr_place(bucket.url("out.zarr")), mode="r")
    refused = run("correct", source, bucket.url("out.zarr"), *MANY_ROUNDS, code=2)
    assert "--resume" in refused
    steady.behave()
    run("correct", source, bucket.url("out.zarr"), *MANY_ROUNDS, "--resume")
    assert_same_as_undisturbed(bucket, folder)


def test_a_store_that_is_replaced_is_whole_or_gone(folder, source, bucket, steady):
    old = (*BATCH, "--operator", "smooth", "--n-components", 0, "--max-rows", 10)
    run("correct", source, bucket.url("out.zarr"), *old)
    before = bucket.files("out.zarr")
    assert "exists" in run("correct", source, bucket.url("out.zarr"), *MANY_ROUNDS, code=2)
    killed(source, bucket, sampling, "--overwrite")
    assert bucket.files("out.zarr") == before
    steady.behave(slow="/out.zarr/zarr.json")
    command = Command("correct", source, bucket.url("out.zarr"), *MANY_ROUNDS, "--resume")
    assert command.wait_for(lambda: "zarr.json" not in bucket.names("out.zarr"))
    command.kill_all()
    steady.behave()
    run("correct", source, bucket.url("out.zarr"), *MANY_ROUNDS, "--resume")
    assert_same_as_undisturbed(bucket, folder)
    run("correct", source, bucket.url("out.zarr"), *MANY_ROUNDS, "--resume")
    assert_same_as_undisturbed(bucket, folder)


def test_two_runs_do_not_write_one_output(source, bucket):
    first = Command("correct", source, bucket.url("out.zarr"), *MANY_ROUNDS)
    assert first.wait_for(sampling(bucket))
    for option in ("--resume", "--overwrite"):
        refused = run("correct", source, bucket.url("out.zarr"), *MANY_ROUNDS, option, code=2)
        assert "another process is writing out.zarr" in refused
    first.kill_all()


@pytest.mark.timeout(600)
def test_a_server_that_asks_to_slow_down_is_asked_again(plates, bucket, steady):
    source = bucket.upload(plates / "in.zarr", "in.zarr")
    before = steady.behave(every=3)
    options = ("--batch-key", "Metadata_Plate", "--operator", "smooth")
    run("correct", source, bucket.url("out.zarr"), *options)
    assert steady.behave() > before + 50
    assert_same_as_undisturbed(bucket, plates)


def test_whether_a_file_is_there_is_asked_until_the_server_has_time(bucket, steady):
    bucket.write("file", b"four")
    place = place_of(bucket.url("file"))
    # botocore gives up after five times.
    steady.behave(busy=6)
    assert file_size(place) == 4
    assert steady.behave() >= 6
