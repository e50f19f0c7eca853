"""A run killed at any moment is continued by --resume, and makes the same bytes."""

import errno
import fcntl
import itertools
import json
import os
import shutil
import signal
import time

import anndata
import numpy as np
import pytest

from balans_dask.events import read_events
from balans_dask.model.inputs import check_input
from balans_dask.workflows import correct, store_output
from balans_dask.workflows.mixture import Mixture, write_mixture
from tests.support.commands import Command, begun, run
from tests.support.commands import writing as has_written
from tests.support.stores import files, files_but_input, write_anndata

SMOOTH = ["--operator", "smooth", "--n-components", 0, "--checkpoint-seconds", 0]
OPTIONS = ["--batch-key", "Metadata_batch", *SMOOTH]
MANY_ROUNDS = [*OPTIONS, "--block-rows", 16, "--patience", 15]
ONE_THREAD: list[object] = []
"""What so few rows get that ask for nothing."""
TWO_THREADS = ["--workers", 2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("resume")
    mixture = Mixture(n_rows=40_000, n_features=10, n_clusters=30)
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
    return Command("correct", folder / "in.zarr", target, *MANY_ROUNDS, *TWO_THREADS, *options)


def assert_same_as_undisturbed(folder, target):
    assert files_but_input(target) == files_but_input(folder / "undisturbed.zarr")
    assert not partial(target).exists()


def n_sampled(target):
    with np.load(partial(target) / "checkpoint.npz") as state:
        return len(state["rows"])


@pytest.fixture(scope="module")
def killed_sampling(folder):
    """What a run that was killed after its first checkpoint left behind."""
    return killed(folder, folder / "sampling.zarr", begun)


@pytest.fixture(scope="module")
def killed_writing(folder):
    """What a run that was killed while it wrote left behind."""
    return killed(folder, folder / "writing.zarr", lambda target: has_written(target, 1))


def killed(folder, target, moment):
    command = start(folder, target)
    assert command.wait_for(moment(target))
    command.kill_all()
    return partial(target)


def test_a_driver_killed_while_it_samples_goes_on_from_its_last_round(
    folder, killed_sampling, target
):
    shutil.copytree(killed_sampling, partial(target))
    before = n_sampled(target)
    assert before > 0
    command = start(folder, target, "--resume")
    assert command.wait_for(lambda: n_sampled(target) > before)
    command.kill_all()
    run("correct", folder / "in.zarr", target, *MANY_ROUNDS, "--resume")
    assert_same_as_undisturbed(folder, target)
    events = read_events(str(target))
    assert len({event["attempt"] for event in events}) == 3
    assert [event["done"] for event in events] == [False] * (len(events) - 1) + [True]


def test_a_driver_killed_while_it_writes_keeps_what_is_written(folder, target):
    command = start(folder, target, "--cluster", "local", "--workers", 1)
    assert command.wait_for(has_written(target, 1))
    command.kill_all()
    units = list((partial(target) / "units").glob("*.json"))
    kept = json.loads(units[0].read_text())
    shards = [name for name in kept["files"] if name.startswith("store/")]
    written = {name: os.stat(partial(target) / name).st_mtime_ns for name in shards}
    command = start(folder, target, "--resume", "--quiet")
    assert command.finish()[0] == 0
    for name, stamp in written.items():
        assert os.stat(target / name.removeprefix("store/")).st_mtime_ns == stamp
    assert_same_as_undisturbed(folder, target)


def seldom(case):
    return pytest.param(case, marks=pytest.mark.long)


@pytest.mark.parametrize(
    "damage",
    ["torn", "record", *map(seldom, ("changed", "lost", "displacement", "stale"))],
)
def test_a_shard_that_does_not_match_its_record_is_written_again(
    folder, killed_writing, target, damage
):
    shutil.copytree(killed_writing, partial(target))
    unit = min((partial(target) / "units").glob("*.json"))
    record = json.loads(unit.read_text())
    shard = partial(target) / min(record["files"])
    content = shard.read_bytes()
    if damage == "torn":
        shard.write_bytes(content[: len(content) // 2])
    elif damage == "changed":
        shard.write_bytes(content[:99] + bytes([content[99] ^ 1]) + content[100:])
    elif damage == "lost":
        shard.unlink()
    elif damage == "displacement":
        np.savez(unit.with_suffix(".npz"), displacement=np.zeros(record["stop"], np.float32))
    elif damage == "stale":
        unit.write_text(json.dumps(record | {"run": "another", "files": {}}))
    else:
        unit.write_text(unit.read_text()[:20])
    run("correct", folder / "in.zarr", target, *MANY_ROUNDS, "--resume")
    assert_same_as_undisturbed(folder, target)


def rewritten(path, change):
    """A file of named arrays, changed."""
    with np.load(path) as state:
        arrays = {name: state[name] for name in state.files}
    change(arrays)
    np.savez(path, **arrays)


LOOKS_ENCRYPTED = (b"PK\x01\x02\x2d\x03\x2d\x00\x00", b"PK\x01\x02\x2d\x03\x2d\x00\x01")
GARBLED = {
    "checkpoint.npz": [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes().replace(*LOOKS_ENCRYPTED)),
        lambda path: rewritten(path, lambda state: state.pop("scales")),
        lambda path: rewritten(path, lambda state: state.update(curve=state["curve"] + 5)),
        lambda path: rewritten(path, lambda state: state.update(curve=state["curve"][:0])),
    ],
    "run.json": [
        lambda path: path.write_text("{"),
        lambda path: path.write_text('{"written_by": "balans_dask", "run": "no"}'),
        lambda path: path.write_text('{"written_by": "balans_dask", "run": {"identity": []}}'),
        lambda path: path.unlink(),
    ],
    "units": [
        lambda path: (path / "stray.json").write_text("{}"),
        lambda path: min(path.glob("*.json")).write_text("[]"),
        lambda path: min(path.glob("*.npz")).write_bytes(b"no"),
    ],
    "store/obsm/zarr.json": [lambda path: path.write_text('{"attr')],
    "store/uns/zarr.json": [lambda path: path.write_text("")],
    "store/zarr.json": [lambda path: path.unlink()],
}  # fmt: skip
CASES = [(name, number) for name, ways in GARBLED.items() for number in range(len(ways))]


@pytest.mark.long
@pytest.mark.parametrize(("name", "number"), CASES, ids=str)
def test_a_damaged_run_folder_costs_time_only(folder, killed_writing, target, name, number):
    shutil.copytree(killed_writing, partial(target))
    GARBLED[name][number](partial(target) / name)
    run("correct", folder / "in.zarr", target, *MANY_ROUNDS, "--resume")
    assert_same_as_undisturbed(folder, target)


@pytest.mark.long
def test_a_torn_checkpoint_costs_time_only(folder, killed_sampling, target):
    shutil.copytree(killed_sampling, partial(target))
    state = partial(target) / "checkpoint.npz"
    state.write_bytes(state.read_bytes()[:-200])
    run("correct", folder / "in.zarr", target, *MANY_ROUNDS, "--resume")
    assert_same_as_undisturbed(folder, target)


@pytest.mark.parametrize(
    ("number", "where"),
    [
        (signal.SIGINT, ONE_THREAD),
        (signal.SIGTERM, TWO_THREADS),
        pytest.param(signal.SIGINT, [*TWO_THREADS, "--cluster", "local"], marks=pytest.mark.long),
    ],
    ids=["one thread", "two threads", "processes"],
)
def test_a_signal_saves_the_run_and_names_the_command_that_continues(folder, target, number, where):
    seldom = ["--checkpoint-seconds", 1000, "--verbose"]
    command = Command("correct", folder / "in.zarr", target, *MANY_ROUNDS, *where, *seldom)
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


@pytest.mark.long
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
    assert files_but_input(target) == files_but_input(folder / "undisturbed.zarr")


def test_an_unfinished_run_is_neither_forgotten_nor_mixed_with_another(
    folder, killed_sampling, target
):
    shutil.copytree(killed_sampling, partial(target))
    before = files(partial(target))
    err = run("correct", folder / "in.zarr", target, *MANY_ROUNDS, code=2)
    assert "unfinished run: add --resume" in err
    err = run("correct", folder / "in.zarr", target, *OPTIONS, "--seed", 5, "--resume", code=2)
    assert "block_rows was 16, is 64; patience was 15, is 50; seed was 0, is 5" in err
    assert files(partial(target)) == before
    run("correct", folder / "in.zarr", target, *MANY_ROUNDS, "--overwrite")
    assert_same_as_undisturbed(folder, target)


@pytest.mark.long
def test_changed_data_is_noticed(folder, target, tmp_path):
    rows = anndata.read_zarr(folder / "in.zarr").X[:20_000]
    batch = np.arange(len(rows)) % 3
    options = ["--batch-key", "p", *SMOOTH]
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


@pytest.mark.long
def test_an_interrupted_overwrite_goes_on_and_replaces_at_the_end(folder, target):
    shutil.copytree(folder / "in.zarr", target)
    command = start(folder, target, "--overwrite")
    assert command.wait_for(begun(target))
    command.kill_all()
    assert files(target) == files(folder / "in.zarr")
    run("correct", folder / "in.zarr", target, *MANY_ROUNDS, "--resume")
    assert_same_as_undisturbed(folder, target)


def test_a_store_moved_aside_by_a_killed_overwrite_comes_back(folder, killed_writing, target):
    shutil.copytree(killed_writing, partial(target))
    shutil.copytree(folder / "in.zarr", partial(target) / "replaced")
    (partial(target) / "run.json").write_text('{"written_by": "balans_dask"}')
    profiles = np.full((50, 3), np.nan, np.float32)
    bad = write_anndata(folder / "bad.zarr", profiles, p=["a", "b"] * 25)
    run("correct", bad, target, "--batch-key", "p", "--overwrite", code=2)
    assert not target.exists()
    command = start(folder, target, "--overwrite", "--checkpoint-seconds", 1000)
    assert command.wait_for(target.exists)
    command.kill_all()
    assert files(target) == files(folder / "in.zarr")


@pytest.mark.long
def test_what_appears_in_the_place_while_a_run_goes_on_is_kept(folder, target):
    command = start(folder, target, "--verbose")
    assert command.wait_for(begun(target))
    target.mkdir()
    (target / "thesis.txt").write_text("years of work")
    code, _, err = command.finish()
    assert code == 2
    assert "exists: choose another output" in err
    assert (target / "thesis.txt").read_text() == "years of work"
    shutil.rmtree(target)
    run("correct", folder / "in.zarr", target, *MANY_ROUNDS, "--resume")
    assert_same_as_undisturbed(folder, target)


def test_a_run_that_another_one_overtook_does_not_replace_its_store(folder, target, monkeypatch):
    def examine_and_be_overtaken(*arguments):
        shutil.copytree(folder / "undisturbed.zarr", target)
        return check_input(*arguments)

    monkeypatch.setattr(correct, "check_input", examine_and_be_overtaken)
    err = run("correct", folder / "in.zarr", target, *OPTIONS, "--seed", 5, code=2)
    assert "exists: choose another output" in err
    assert_same_as_undisturbed(folder, target)


@pytest.mark.long
def test_a_shard_that_vanishes_before_the_end_stops_the_run_and_is_written_again(
    folder, target, monkeypatch
):
    finished_units = store_output.PassWriter._finished_units

    def lose_a_shard_first(*arguments):
        shutil.rmtree(min((partial(target) / "store/X/c").iterdir()))
        return finished_units(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(store_output.PassWriter, "_finished_units", lose_a_shard_first)
        err = run("correct", folder / "in.zarr", target, *MANY_ROUNDS, code=1)
    assert "1 of" in err
    assert "have changed or vanished" in err
    assert not target.exists()
    run("correct", folder / "in.zarr", target, *MANY_ROUNDS, "--resume")
    assert_same_as_undisturbed(folder, target)


@pytest.mark.long
def test_an_overwrite_killed_before_its_first_checkpoint_is_resumed(folder, target):
    shutil.copytree(folder / "in.zarr", target)
    command = start(folder, target, "--overwrite", "--checkpoint-seconds", 1000)
    assert command.wait_for(lambda: (partial(target) / "run.json").exists())
    time.sleep(0.5)
    command.kill_all()
    run("correct", folder / "in.zarr", target, *MANY_ROUNDS, "--resume")
    assert_same_as_undisturbed(folder, target)


def test_a_file_system_without_locks_is_said_and_used(folder, target, monkeypatch):
    def no_lock(*arguments):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", no_lock)
    err = run("correct", folder / "in.zarr", target, *MANY_ROUNDS)
    assert "has no locks (Function not implemented)" in err
    assert_same_as_undisturbed(folder, target)


def test_no_pickle_is_written_or_read(killed_sampling):
    with np.load(killed_sampling / "checkpoint.npz", allow_pickle=False) as state:
        assert all(state[name].dtype != object for name in state.files)


ONE_PROCESS = ["--cluster", "local", "--workers", 1]
TWO_PROCESSES = ["--cluster", "local", "--workers", 2]
CHUNKS = [None, (1_000, 10), (33_333, 7)]
WHERE = [ONE_THREAD, TWO_THREADS, ONE_PROCESS, TWO_PROCESSES]
EVERYWHERE = list(itertools.product(WHERE, CHUNKS))


def rechunked(folder, tmp_path, chunks):
    if chunks is None:
        return folder / "in.zarr"
    data = anndata.read_zarr(folder / "in.zarr")
    with anndata.settings.override(zarr_write_format=3):
        data.write_zarr(tmp_path / "rechunked.zarr", chunks=chunks)
    return tmp_path / "rechunked.zarr"


# The tests above kill two threads and continue with one, with the chunks of the input.
@pytest.mark.long
@pytest.mark.parametrize(("where", "chunks"), EVERYWHERE, ids=str)
def test_a_kill_changes_no_byte_on_any_workers_and_chunks(folder, target, tmp_path, where, chunks):
    source = rechunked(folder, tmp_path, chunks)
    command = Command("correct", source, target, *MANY_ROUNDS, *where)
    assert command.wait_for(begun(target))
    command.kill_all()
    run("correct", source, target, *MANY_ROUNDS, *where, "--resume")
    assert_same_as_undisturbed(folder, target)


@pytest.mark.long
@pytest.mark.parametrize(("where", "chunks"), EVERYWHERE, ids=str)
def test_workers_and_chunks_change_no_byte(folder, target, tmp_path, where, chunks):
    source = rechunked(folder, tmp_path, chunks)
    run("correct", source, target, *MANY_ROUNDS, *where)
    assert_same_as_undisturbed(folder, target)
