"""One process at a time holds the folder of an output, however their steps interleave."""

import errno
import fcntl
from contextlib import ExitStack
from pathlib import Path

import pytest

from balans_dask.errors import StoreExistsError
from balans_dask.io import run_folder
from balans_dask.io.run_folder import RunFolder


@pytest.fixture
def target(tmp_path):
    return str(tmp_path / "out.zarr")


def assert_is_held(target):
    with pytest.raises(StoreExistsError, match=r"another process is writing out\.zarr"):
        RunFolder(target).held().__enter__()


def test_a_folder_is_held_once(target):
    with RunFolder(target).held():
        assert_is_held(target)
    with RunFolder(target).held():
        pass
    assert not RunFolder(target).exists


@pytest.mark.parametrize("taken", [True, False], ids=["another holds it", "nobody holds it"])
def test_a_lock_that_was_removed_while_it_was_waited_for_holds_nothing(target, taken, monkeypatch):
    """A opens the lock of a run that ends then; what A locks is a file that is no more."""
    flock = fcntl.flock
    with ExitStack() as others:
        ending = others.enter_context(ExitStack())
        ending.enter_context(RunFolder(target).held())

        def lock_after_the_other_has_ended(*arguments):
            monkeypatch.setattr(fcntl, "flock", flock)
            ending.close()
            if taken:
                others.enter_context(RunFolder(target).held())
            flock(*arguments)

        monkeypatch.setattr(fcntl, "flock", lock_after_the_other_has_ended)
        late = RunFolder(target)
        if taken:
            with pytest.raises(StoreExistsError, match="another process is writing"):
                late.held().__enter__()
        else:
            with late.held():
                assert (late.path / "lock").exists()
                assert_is_held(target)


@pytest.mark.parametrize(("owner", "step"), [(Path, "open"), (run_folder, "write_json")])
def test_a_disk_that_is_full_at_the_very_beginning_leaves_no_folder(
    target, monkeypatch, owner, step
):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(owner, step, full)
    with pytest.raises(OSError, match="No space left"):
        RunFolder(target).held().__enter__()
    assert not RunFolder(target).exists


def test_who_removes_a_folder_leaves_that_of_the_next_run_alone(target, monkeypatch):
    """The next run comes as soon as the lock has gone, and nothing that it has made goes."""
    remove_file = run_folder.remove_file
    second = RunFolder(target)
    with ExitStack() as held:

        def take_over_after_the_lock(place):
            remove_file(place)
            if place.name == "lock":
                held.enter_context(second.held())
                second.write_record({"identity": {}})

        with RunFolder(target).held() as _:
            monkeypatch.setattr(run_folder, "remove_file", take_over_after_the_lock)
        assert second.record() == {"identity": {}}
        assert_is_held(target)
        monkeypatch.setattr(run_folder, "remove_file", remove_file)
    assert not second.exists
