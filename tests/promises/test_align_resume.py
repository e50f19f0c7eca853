"""`align` stopped in any of its steps goes on, and makes the same bytes."""

import shutil

import pytest

from balans_dask.tiling import TILE_ROWS
from balans_dask.workflows import run as runs
from balans_dask.workflows.mixture import Mixture, write_mixture
from balans_dask.workflows.store_output import PassWriter
from tests.support.commands import Command, run
from tests.support.stores import files_but_input

OPTIONS = [
    "--batch-key", "Metadata_batch", "--n-components", 4, "--max-rows", 32, "--block-rows", 16,
    "--checkpoint-seconds", 0, "--workers", 2, "--quiet",
]  # fmt: skip
N_STEPS = 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A store of several write units, and what a run makes of it that nobody stops."""
    place = tmp_path_factory.mktemp("align")
    write_mixture(Mixture(n_rows=9 * TILE_ROWS, n_features=5), str(place / "in.zarr"))
    run("correct", place / "in.zarr", place / "undisturbed.zarr", *OPTIONS)
    return place


@pytest.fixture
def target(folder):
    path = folder / "out.zarr"
    yield path
    for left in (path, partial(path)):
        shutil.rmtree(left, ignore_errors=True)


def partial(target):
    return target.with_name(target.name + ".partial")


def assert_same_as_undisturbed(folder, target):
    assert files_but_input(target) == files_but_input(folder / "undisturbed.zarr")
    assert not partial(target).exists()


class Stopped(BaseException):
    """Nobody catches it."""


def stop_in(patched, step, moment):
    """Stop a run in one step: after a round, once all is learned, or after some of its rows."""
    fit, learn, write = runs.fit, runs.FitLearner.learn, PassWriter.write

    def stopped_fit(engine, prepared, resumed, on_round):
        def once(state):
            on_round(state)
            if (prepared.pass_number, "sampling") == (step, moment):
                raise Stopped

        return fit(engine, prepared, resumed, once)

    def stopped_learn(learner, pass_number, pass_input):
        found = learn(learner, pass_number, pass_input)
        if (pass_number, "learned") == (step, moment):
            raise Stopped
        return found

    def stopped_write(writer, prepared, learned, missing):
        is_due = (prepared.pass_number, "writing") == (step, moment)
        assert not is_due or len(missing) > 1
        write(writer, prepared, learned, missing[:1] if is_due else missing)
        if is_due:
            raise Stopped

    patched.setattr(runs, "fit", stopped_fit)
    patched.setattr(runs.FitLearner, "learn", stopped_learn)
    patched.setattr(PassWriter, "write", stopped_write)


def stopped_in_turn(folder, target, moments):
    for number, (step, moment) in enumerate(moments):
        with pytest.MonkeyPatch.context() as patched:
            stop_in(patched, step, moment)
            with pytest.raises(Stopped):
                run("correct", folder / "in.zarr", target, *OPTIONS, *["--resume"][:number])
    run("correct", folder / "in.zarr", target, *OPTIONS, "--resume")
    assert_same_as_undisturbed(folder, target)


def test_a_run_that_is_stopped_in_every_step_goes_on_each_time(folder, target):
    moments = [(0, "writing"), (1, "sampling"), (2, "learned"), (3, "writing")]
    stopped_in_turn(folder, target, moments)


@pytest.mark.long
def test_and_at_every_moment_of_every_step(folder, target):
    moments = [
        (step, moment) for step in range(N_STEPS) for moment in ("sampling", "learned", "writing")
    ]
    stopped_in_turn(folder, target, moments)


def folder_of(target, step):
    """Where a step leaves its state and its rows; the last one in that of the run."""
    return partial(target) if step + 1 == N_STEPS else partial(target) / f"pass_{step}"


@pytest.mark.long
@pytest.mark.parametrize("moment", ["sampling", "writing"])
@pytest.mark.parametrize("step", range(N_STEPS))
def test_a_kill_in_any_step_changes_no_byte(folder, target, step, moment):
    place = folder_of(target, step)

    def has_come():
        if moment == "sampling":
            return (place / "checkpoint.npz").exists()
        return any((place / "units").glob("*.json"))

    command = Command("correct", folder / "in.zarr", target, *OPTIONS)
    assert command.wait_for(has_come, timeout=240)
    command.kill_all()
    where = ["--cluster", "local", "--workers", 2] if step % 2 else []
    run("correct", folder / "in.zarr", target, *OPTIONS, *where, "--resume")
    assert_same_as_undisturbed(folder, target)
