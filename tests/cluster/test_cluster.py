"""Schedulers that run elsewhere: the same bytes, and a line when workers do not come."""

import os

import pytest

from balans_dask.cli.app import run
from balans_dask.cluster import scheduler
from balans_dask.cluster.open import open_client
from balans_dask.cluster.request import ClusterRequest
from tests.support.commands import dask_cluster
from tests.support.screens import gaussian_screen
from tests.support.stores import files, write_anndata

SCREEN = gaussian_screen(600, n_features=6)


@pytest.fixture
def store(tmp_path):
    return write_anndata(tmp_path / "in.zarr", SCREEN.profiles, chunks=(90, 6), p=SCREEN.batch)


def correct(store, target, *options):
    given = ["--batch-key", "p", "--operator", "smooth", "--patience", 10, *options]
    return run([str(word) for word in ("correct", store, target, *given)])


@pytest.mark.long
def test_a_scheduler_in_processes_of_its_own_gives_the_bytes_of_threads(capsys, store, tmp_path):
    assert correct(store, tmp_path / "threads.zarr") == 0
    with dask_cluster() as (address, _):
        assert address.startswith("tcp://")
        where = ["--cluster", address, "--workers", 2]
        assert correct(store, tmp_path / "cluster.zarr", *where) == 0
    assert "2 processes of 1 thread" in capsys.readouterr().err
    assert files(tmp_path / "cluster.zarr") == files(tmp_path / "threads.zarr")


def test_worker_processes_keep_freed_memory_unless_the_user_says_otherwise(monkeypatch):
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "65536")
    with open_client(ClusterRequest("local", 1, "1GB")) as client:
        (found,) = client.run(lambda: dict(os.environ)).values()
    assert found["MALLOC_MMAP_THRESHOLD_"] == str(32 * 2**20)
    assert found["MALLOC_TRIM_THRESHOLD_"] == "65536"


def test_worker_processes_keep_no_profile_of_themselves():
    with open_client(ClusterRequest("local", 1, "1GB")) as client:
        (callbacks,) = client.run(lambda dask_worker: set(dask_worker.periodic_callbacks)).values()
    assert "heartbeat" in callbacks
    assert not callbacks & {"profile", "profile-cycle"}


def refusal(capsys, store, target, *options):
    assert correct(store, target, *options) == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.count("\n") == 1
    assert not target.exists()
    return err.removeprefix("balans: error: ").rstrip()


def test_workers_that_do_not_come_are_counted_in_one_line(
    capsys, monkeypatch, processes, store, tmp_path
):
    monkeypatch.setattr(scheduler, "CONNECT_SECONDS", 1)
    address = processes.scheduler.address
    said = refusal(capsys, store, tmp_path / "o.zarr", "--cluster", address, "--workers", 3)
    assert said == (f"the scheduler at {address} has 2 of 3 workers after 1 s: start workers")


@pytest.mark.long
def test_a_scheduler_file_is_taken_like_the_address_in_it(processes, store, tmp_path):
    path = tmp_path / "scheduler.json"
    processes.write_scheduler_file(path)
    assert correct(store, tmp_path / "file.zarr", "--cluster", path, "--workers", 2) == 0
    assert correct(store, tmp_path / "threads.zarr") == 0
    assert files(tmp_path / "file.zarr") == files(tmp_path / "threads.zarr")


def test_a_file_without_an_address_is_refused_in_one_line(capsys, store, tmp_path):
    path = tmp_path / "scheduler.json"
    path.write_text('{"id": 3}')
    said = refusal(capsys, store, tmp_path / "o.zarr", "--cluster", path)
    assert said == (
        f"--cluster {path} is no scheduler file: give the one of dask scheduler --scheduler-file, "
        "or an address"
    )


def test_an_address_without_a_scheduler_is_refused_in_one_line(
    capsys, monkeypatch, store, tmp_path
):
    monkeypatch.setattr(scheduler, "SCHEDULER_SECONDS", 1)
    nowhere = "tcp://127.0.0.1:9"
    said = refusal(capsys, store, tmp_path / "o.zarr", "--cluster", nowhere)
    assert said == f"no scheduler answers at {nowhere}: start one, or check the address"


def test_a_refusal_by_a_worker_process_is_one_line(capfd, store, tmp_path):
    for chunk in (tmp_path / "in.zarr/X/c").rglob("*"):
        if chunk.is_file():
            chunk.write_bytes(b"no chunk")
    where = ["--cluster", "local", "--workers", 1, "--quiet"]
    assert refusal(capfd, store, tmp_path / "o.zarr", *where).startswith("cannot decode X")
