"""An input that changes while a run goes on ends it; nothing of it is published, then or later."""

import shutil
from dataclasses import replace
from itertools import product

import pytest
import zarr

from balans_dask import Balans
from balans_dask.errors import InvalidInputError
from balans_dask.model import plan
from balans_dask.workflows import correct
from balans_dask.workflows import run as whole_run
from balans_dask.workflows.store_output import PassWriter
from tests.support.commands import run
from tests.support.screens import gaussian_screen
from tests.support.stores import files_but_input, write_anndata

SCREEN = gaussian_screen(600)
OPTIONS = ["--batch-key", "plate", "--checkpoint-seconds", 0, "--operator", "displace"]
MOMENTS = {
    "examined": (correct, "check_input"),
    "prepared": (whole_run, "fit_preprocessor"),
    "sampled": (whole_run, "fit"),
    "summed": (whole_run, "fit_operator"),
    "written": (PassWriter, "write"),
}
"""What a run does, one after the other, and by which function."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("changing")
    profiles, batch = SCREEN.profiles, SCREEN.batch
    basis = {"X_pca": profiles[:, :5] * 2}
    write_anndata(place / "in.zarr", profiles, chunks=(200, 8), obsm=basis, plate=batch)
    run("correct", place / "in.zarr", place / "undisturbed.zarr", *OPTIONS)
    return place


@pytest.fixture
def store(folder, tmp_path):
    shutil.copytree(folder / "in.zarr", tmp_path / "in.zarr")
    return tmp_path / "in.zarr"


def delete(store, matrix):
    """A chunk goes, which zarr reads as zeros."""
    shutil.rmtree(store / matrix / "c" / "1")


def rewrite(store, matrix):
    """Somebody writes a value."""
    zarr.open_array(store / matrix)[250, 2] += 1.0


CHANGES = [delete, rewrite]
USUAL = {("examined", delete), ("prepared", rewrite), ("summed", delete), ("written", rewrite)}


def restore(store, folder, matrix):
    shutil.rmtree(store / matrix)
    shutil.copytree(folder / "in.zarr" / matrix, store / matrix)


def before(monkeypatch, moment, act):
    """Do something just before a run comes to a moment."""
    place, name = MOMENTS[moment]
    function = getattr(place, name)

    def acting(*arguments, **named):
        monkeypatch.setattr(place, name, function)
        act()
        return function(*arguments, **named)

    monkeypatch.setattr(place, name, acting)


def error_of(*arguments):
    err = run(*arguments, code=2)
    assert "Traceback" not in err
    return err.splitlines()[-1]


@pytest.mark.parametrize(
    ("moment", "change"),
    # What stands there when the run first reads it is its input, unless it is nothing.
    [
        pytest.param(*case, marks=[] if case in USUAL else pytest.mark.long)
        for case in product(MOMENTS, CHANGES)
        if case != ("examined", rewrite)
    ],
)
def test_a_change_of_x_ends_the_run_and_resume_says_what_is_right(
    folder, store, tmp_path, monkeypatch, moment, change
):
    out = tmp_path / "out.zarr"
    before(monkeypatch, moment, lambda: change(store, "X"))
    err = error_of("correct", store, out, *OPTIONS)
    said = "lacks 1 of 3 stored chunks of X" if moment == "examined" else (
        f"rows 0 to 600 of X of {store} have changed since this run first read them: restore them"
    )  # fmt: skip
    assert said in err
    assert not out.exists()
    if moment in ("summed", "written"):
        err = error_of("correct", store, out, *OPTIONS, "--resume")
        assert ("lacks 1 of 3" if change is delete else "unfinished run of other input") in err
        assert not out.exists()
    restore(store, folder, "X")
    run("correct", store, out, *OPTIONS, "--resume")
    assert files_but_input(out) == files_but_input(folder / "undisturbed.zarr")


def test_a_change_that_is_undone_before_the_end_is_noticed_too(
    folder, store, tmp_path, monkeypatch
):
    """Rows that no memory is planned for are read again in every round."""
    out = tmp_path / "out.zarr"
    plan_run = plan.plan_run
    monkeypatch.setattr(plan, "plan_run", lambda *given, **named: replace(
        plan_run(*given, **named), keep_scores=False, keep_products=False
    ))  # fmt: skip
    before(monkeypatch, "sampled", lambda: rewrite(store, "X"))
    before(monkeypatch, "summed", lambda: restore(store, folder, "X"))
    assert "have changed since" in error_of("correct", store, out, *OPTIONS)
    restore(store, folder, "X")
    run("correct", store, out, *OPTIONS, "--resume")
    assert files_but_input(out) == files_but_input(folder / "undisturbed.zarr")


@pytest.mark.parametrize("matrix", ["X", "obsm/X_pca"])
def test_both_matrices_of_a_basis_are_held(store, tmp_path, monkeypatch, matrix):
    before(monkeypatch, "summed", lambda: rewrite(store, matrix))
    err = error_of("correct", store, tmp_path / "out.zarr", *OPTIONS, "--basis", "X_pca")
    assert f"of {matrix} of {store} have changed since" in err
    assert not (tmp_path / "out.zarr").exists()


@pytest.mark.parametrize("change", [delete, rewrite])
def test_a_resumed_run_and_its_last_pass_are_held(folder, store, tmp_path, monkeypatch, change):
    """Displacement counts from the profiles before the first pass, which the last one reads."""
    out, options = tmp_path / "out.zarr", [*OPTIONS, "--n-passes", 2]

    def stop():
        raise InvalidInputError("stopped")

    before(monkeypatch, "written", stop)
    run("correct", store, out, *options, code=2)
    before(monkeypatch, "written", lambda: change(store, "X"))
    assert "have changed since" in error_of("correct", store, out, *options, "--resume")
    assert not out.exists()


def test_a_transform_is_held(store, tmp_path, monkeypatch):
    model = tmp_path / "model.zarr"
    run("correct", store, tmp_path / "out.zarr", *OPTIONS, "--model", model)
    monkeypatch.setitem(MOMENTS, "adapted", (whole_run, "adapt_model"))
    before(monkeypatch, "adapted", lambda: rewrite(store, "X"))
    err = error_of("transform", model, store, tmp_path / "new.zarr", "--batch-key", "plate")
    assert f"of X of {store} have changed since" in err
    assert not (tmp_path / "new.zarr").exists()


def test_a_zarr_array_of_the_estimator_is_held_until_its_rows_are_computed(store):
    array = zarr.open_array(store / "X")
    corrected = Balans(operator="smooth").fit_transform(array, batch=SCREEN.batch)
    array[250, 2] += 1.0
    with pytest.raises(InvalidInputError, match="have changed since"):
        corrected.compute()
