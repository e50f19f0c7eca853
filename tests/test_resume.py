"""A run killed at any moment is continued by --resume, and makes the same bytes."""

import json
import os
import shutil
import signal

import anndata
import numpy as np
import pytest
from commands import Command, begun, run, writing
from stores import files, write_anndata

from balans_dask.mixture import Mixture, write_mixture

OPTIONS = ["--batch-key", "Metadata_batch", "--n-components", 0, "--checkpoint-seconds", 0]
MANY_ROUNDS = [*OPTIONS, "--block-rows", 16, "--patience", 15]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("resume")
    mixture = Mixture(n_rows=70_000, n_features=10, n_clusters=30)
    write_mixture(mixture, str(place / "in.zarr"))
    run("correct", place / "in.zarr", place / "undisturbed.zarr", *MANY_ROUNDS)
    return place


@pytest.fixture
def target(folder):
    path = folder / "out.zarr"
    yield path
    for left in (path, path.with_name("out.zarr.partial")):
        shutil.rmtree(left, ignore_errors=True)


def partial(target):
    return target.with_name(target.name + ".partial")


def start(folder, target, *options):
    return Command("correct", folder / "in.zarr", target, *MANY_ROUNDS, *options)


def assert_same_as_undisturbed(folder, target):
    assert files(target) == files(folder / "undisturbed.zarr")
    assert not partial(target).exists()


def n_sampled(target):
    with np.load(partial(target) / "checkpoint.npz") as state:
        return len(state["rows"])


def test_a_driver_killed_while_it_samples_goes_on_from_its_last_round(folder, target):
    command = start(folder, target)
    assert command.wait_for(begun(target))
    command.kill_all()
    before = n_sampled(target)
    assert before > 0
    command = start(folder, target, "--resume")
    assert command.wait_for(lambda: n_sampled(target) > before)
    command.kill_all()
    run("correct", folder / "in.zarr", target, *MANY_ROUNDS, "--resume")
    assert_same_as_undisturbed(folder, target)


def test_a_driver_killed_while_it_writes_keeps_what_is_written(folder, target):
    command = start(folder, target, "--cluster", "local", "--workers", 1)
    assert command.wait_for(writing(target, 1))
    command.kill_all()
    units = list((partial(target) / "units").glob("*.json"))
    kept = json.loads(units[0].read_text())
    written = {name: os.stat(partial(target) / name).st_mtime_ns for name in kept["files"]}
    command = start(folder, target, "--resume", "--quiet")
    assert command.finish()[0] == 0
    for name, time in written.items():
        assert os.stat(target / name.removeprefix("store/")).st_mtime_ns == time
    assert_same_as_undisturbed(folder, target)


@pytest.mark.parametrize("damage", ["torn", "changed", "lost", "record"])
def test_a_shard_that_does_not_match_its_record_is_written_again(folder, target, damage):
    command = start(folder, target)
    assert command.wait_for(writing(target, 1))
    command.kill_all()
    unit = min((partial(target) / "units").glob("*.json"))
    shard = partial(target) / min(json.loads(unit.read_text())["files"])
    content = shard.read_bytes()
    if damage == "torn":
        shard.write_bytes(content[: len(content) // 2])
    elif damage == "changed":
        shard.write_bytes(content[:99] + bytes([content[99] ^ 1]) + content[100:])
    elif damage == "lost":
        shard.unlink()
    else:
        unit.write_text(unit.read_text()[:20])
    run("correct", folder / "in.zarr", target, *MANY_ROUNDS, "--resume")
    assert_same_as_undisturbed(folder, target)


def test_a_torn_checkpoint_costs_time_only(folder, target):
    command = start(folder, target)
    assert command.wait_for(begun(target))
    command.kill_all()
    state = partial(target) / "checkpoint.npz"
    state.write_bytes(state.read_bytes()[:-200])
    run("correct", folder / "in.zarr", target, *MANY_ROUNDS, "--resume")
    assert_same_as_undisturbed(folder, target)


@pytest.mark.parametrize(
    ("number", "cluster"), [(signal.SIGTERM, "threads"), (signal.SIGINT, "local")]
)
def test_a_signal_saves_the_run_and_names_the_command_that_continues(
    folder, target, number, cluster
):
    seldom = ["--checkpoint-seconds", 1000, "--cluster", cluster, "--workers", 2]
    command = start(folder, target, *seldom, "--verbose")
    sampling = False
    for line in command.process.stderr:
        sampling = sampling or "sampling rows: 48" in line
        if sampling:
            break
    command.send(number)
    code, _, err = command.finish()
    assert code == 75, err
    last = err.strip().splitlines()[-1]
    assert f"stopped by {number.name}; continue with: balans correct" in last
    assert last.endswith("--resume")
    assert n_sampled(target) >= 48
    run("correct", folder / "in.zarr", target, *MANY_ROUNDS, "--resume")
    assert_same_as_undisturbed(folder, target)


def test_resume_begins_afresh_if_nothing_was_begun(folder, target):
    run("correct", folder / "in.zarr", target, *MANY_ROUNDS, "--resume")
    assert_same_as_undisturbed(folder, target)


def test_resume_of_a_complete_output_changes_nothing(folder, target):
    shutil.copytree(folder / "undisturbed.zarr", target)
    stamps = {path: path.stat().st_mtime_ns for path in target.rglob("*")}
    where = ["--cluster", "local", "--workers", 2, "--memory-limit", "2GB", "--quiet"]
    run("correct", folder / "in.zarr", target, *MANY_ROUNDS, "--resume", *where)
    assert {path: path.stat().st_mtime_ns for path in target.rglob("*")} == stamps


def test_another_output_in_the_place_is_kept(folder, target):
    shutil.copytree(folder / "undisturbed.zarr", target)
    err = run("correct", folder / "in.zarr", target, *OPTIONS, "--seed", 5, "--resume", code=2)
    assert "exists" in err
    assert files(target) == files(folder / "undisturbed.zarr")


def test_an_unfinished_run_is_neither_forgotten_nor_mixed_with_another(folder, target):
    command = start(folder, target)
    assert command.wait_for(begun(target))
    command.kill_all()
    before = files(partial(target))
    err = run("correct", folder / "in.zarr", target, *MANY_ROUNDS, code=2)
    assert "unfinished run: add --resume" in err
    err = run("correct", folder / "in.zarr", target, *OPTIONS, "--seed", 5, "--resume", code=2)
    assert "block_rows was 16, is 64; patience was 15, is 50; seed was 0, is 5" in err
    assert files(partial(target)) == before
    run("correct", folder / "in.zarr", target, *MANY_ROUNDS, "--overwrite")
    assert_same_as_undisturbed(folder, target)


def test_changed_data_is_noticed(folder, target, tmp_path):
    rows = anndata.read_zarr(folder / "in.zarr").X[:20_000]
    batch = np.arange(len(rows)) % 3
    options = ["--batch-key", "p", "--n-components", 0, "--checkpoint-seconds", 0]
    store = write_anndata(tmp_path / "in.zarr", rows, p=batch)
    command = Command("correct", store, target, *options)
    assert command.wait_for(begun(target))
    command.kill_all()
    shutil.rmtree(store)
    rows[5, 5] += 1
    write_anndata(tmp_path / "in.zarr", rows, p=batch)
    err = run("correct", store, target, *options, "--resume", code=2)
    assert "unfinished run of other input" in err
    assert "values was" in err


def test_two_runs_cannot_write_the_same_output(folder, target):
    first = start(folder, target)
    assert first.wait_for(begun(target))
    err = run("correct", folder / "in.zarr", target, *MANY_ROUNDS, "--resume", code=2)
    assert "another process is writing out.zarr" in err
    assert first.finish()[0] == 0
    assert_same_as_undisturbed(folder, target)


def test_an_interrupted_overwrite_goes_on_and_replaces_at_the_end(folder, target):
    shutil.copytree(folder / "in.zarr", target)
    command = start(folder, target, "--overwrite")
    assert command.wait_for(begun(target))
    command.kill_all()
    assert files(target) == files(folder / "in.zarr")
    run("correct", folder / "in.zarr", target, *MANY_ROUNDS, "--resume")
    assert_same_as_undisturbed(folder, target)


def test_no_pickle_is_written_or_read(folder, target):
    command = start(folder, target)
    assert command.wait_for(begun(target))
    command.kill_all()
    with np.load(partial(target) / "checkpoint.npz", allow_pickle=False) as state:
        assert all(state[name].dtype != object for name in state.files)


THREADS = ["--cluster", "threads"]
ONE_PROCESS = ["--cluster", "local", "--workers", 1]
TWO_PROCESSES = ["--cluster", "local", "--workers", 2]
CHUNKS = [None, (1_000, 10), (33_333, 7)]
DIAGONAL = list(zip([THREADS, ONE_PROCESS, TWO_PROCESSES], CHUNKS, strict=True))
OTHERS = [
    pytest.param(where, chunks, marks=pytest.mark.long)
    for where in (THREADS, ONE_PROCESS, TWO_PROCESSES)
    for chunks in CHUNKS
    if (where, chunks) not in DIAGONAL
]


@pytest.mark.parametrize(("where", "chunks"), DIAGONAL + OTHERS, ids=str)
def test_workers_chunks_and_a_kill_change_no_byte(folder, target, tmp_path, where, chunks):
    source = folder / "in.zarr"
    if chunks is not None:
        data = anndata.read_zarr(source)
        source = tmp_path / "rechunked.zarr"
        with anndata.settings.override(zarr_write_format=3):
            data.write_zarr(source, chunks=chunks)
    run("correct", source, target, *MANY_ROUNDS, *where)
    assert_same_as_undisturbed(folder, target)
    shutil.rmtree(target)
    command = Command("correct", source, target, *MANY_ROUNDS, *where)
    if command.wait_for(begun(target)):
        command.kill_all()
    run("correct", source, target, *MANY_ROUNDS, *where, "--resume")
    assert_same_as_undisturbed(folder, target)
