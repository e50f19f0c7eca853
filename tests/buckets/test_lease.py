"""One process at a time writes to a folder of a bucket."""

import json
import threading
import time

import pytest

from balans_dask import storage_options
from balans_dask.errors import InvalidInputError, RunError, StoreExistsError
from balans_dask.io import bucket as leases
from balans_dask.io.bucket import leased
from balans_dask.io.places import place_of


@pytest.fixture
def folder(bucket, monkeypatch):
    monkeypatch.setattr(leases, "DEAD_AFTER", 2.5)
    monkeypatch.setattr(leases, "RENEWED_EVERY", 0.2)
    return place_of(bucket.url("run/lock"))


def elsewhere(renewals):
    owner = {"machine": "another", "pid": 1, "began": 0.0, "token": "t"}
    return json.dumps({"owner": owner, "renewals": renewals}).encode()


def test_a_lease_is_gone_when_it_is_released(bucket, folder):
    with leased(folder, "run"):
        assert bucket.names("run/lock") == ["000001"]
        with (
            pytest.raises(StoreExistsError, match="another process is writing run"),
            leased(folder, "run"),
        ):
            pass
    assert bucket.names("run/lock") == []


def test_a_lease_that_another_machine_renews_is_respected(bucket, folder):
    over = threading.Event()

    def renew():
        renewals = 0
        while not over.wait(0.1):
            renewals += 1
            bucket.write("run/lock/000004", elsewhere(renewals))

    bucket.write("run/lock/000004", elsewhere(0))
    thread = threading.Thread(target=renew)
    thread.start()
    try:
        with pytest.raises(StoreExistsError, match="another process"), leased(folder, "run"):
            pass
    finally:
        over.set()
        thread.join()


def test_a_lease_that_nobody_renews_is_taken_over(bucket, folder):
    bucket.write("run/lock/000004", elsewhere(0))
    with leased(folder, "run"):
        assert bucket.names("run/lock") == ["000005"]


def test_who_was_taken_over_finds_out_before_publishing(bucket, folder):
    with leased(folder, "run") as lease:
        lease.require()
        bucket.write("run/lock/000002", elsewhere(0))
        with pytest.raises(RunError, match="taken over"):
            lease.require()


def test_a_lease_that_was_taken_over_never_comes_back(bucket, folder):
    with leased(folder, "run") as lease:
        # Another process has taken over, is done, and a third one has begun.
        bucket.client.delete_object(Bucket=bucket.name, Key="run/lock/000001")
        time.sleep(5 * leases.RENEWED_EVERY)
        assert bucket.names("run/lock") == []
        with pytest.raises(RunError, match="taken over"):
            lease.require()
        bucket.write("run/lock/000001", elsewhere(0))
        with pytest.raises(RunError, match="taken over"):
            lease.require()
    assert bucket.read("run/lock/000001") == elsewhere(0)


def test_a_bucket_that_is_busy_is_not_one_without_conditions(bucket, steady):
    with storage_options(config_kwargs={"retries": {"max_attempts": 0}}):
        folder = place_of(bucket.url("run/lock"))
    steady.behave(refuse="run/lock/")
    with pytest.raises(InvalidInputError, match=r"reached \(\[Errno 16\]"), leased(folder, "run"):
        pass
    assert bucket.names("run/lock") == []
