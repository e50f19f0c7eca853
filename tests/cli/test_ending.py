"""How a correction ends for a reader: what it changed, and what to type next."""

import re
import shlex

import numpy as np
import pandas as pd
import pytest

from balans_dask import Balans
from balans_dask.cli import correct as of_command
from balans_dask.errors import RunError
from balans_dask.evaluate import ending as of_ending
from tests.support.commands import run, streams
from tests.support.screens import gaussian_screen
from tests.support.stores import files, write_anndata

SCREEN = gaussian_screen(600, n_features=8)
KEY = ["--batch-key", "plate"]
LABELLED = [*KEY, "--label-key", "the drug"]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    place = tmp_path_factory.mktemp("command") / "in.zarr"
    columns = {"plate": SCREEN.batch, "the drug": SCREEN.label.astype(str)}
    return write_anndata(place, SCREEN.profiles, **columns)


def facts(said):
    """Names and values of the lines that stand below the first."""
    lines = [line for line in said.splitlines() if line.startswith("  ")]
    return dict(line.strip().split(": ", 1) for line in lines)


def following(said):
    """Commands to type next."""
    return [shlex.split(line.removeprefix("next: "))
            for line in said.splitlines() if line.startswith("next: ")]  # fmt: skip


def test_a_correction_ends_with_what_it_changed(store, tmp_path):
    said, _ = streams("correct", store, tmp_path / "out.zarr", *LABELLED)
    found = facts(said)
    assert found["batch key"] == "plate"
    before, after, mixed = map(int, re.findall(r"(\d+)%", found["own-batch neighbours"]))
    assert before > after
    assert abs(after - mixed) < before - mixed
    label = found["cross-batch neighbours of the same the drug"]
    assert re.fullmatch(r"[\d.]+% before, [\d.]+% after", label)
    assert re.fullmatch(r"\d+%", found["variance kept"])
    assert "(rho, from 0 to 1)" in found["treatments shared between batches"]
    assert "scored" not in found


def test_without_labels_nothing_is_said_of_them(store, tmp_path):
    found = facts(streams("correct", store, tmp_path / "out.zarr", *KEY)[0])
    assert {"own-batch neighbours", "variance kept"} <= found.keys()
    assert not any("cross-batch" in name for name in found)


def test_a_sample_is_called_one(store, tmp_path, monkeypatch):
    monkeypatch.setattr(of_ending, "SCORED_ROWS", 100)
    found = facts(streams("correct", store, tmp_path / "out.zarr", *KEY)[0])
    assert found["scored"] == "a sample of 100 rows"


def test_what_is_to_be_typed_next_can_be_typed(store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said, _ = streams("correct", store, "out.zarr", *LABELLED, "--model", "m.zarr")
    report, transform = following(said)
    assert report == ["balans", "report", "out.zarr", "--html", "out.html", "--label-key",
                      "the drug"]  # fmt: skip
    assert transform[:3] == ["balans", "transform", "m.zarr"]
    run(*report[1:])
    assert (tmp_path / "out.html").exists()
    run(*transform[1:3], store, "new.zarr")


def test_a_table_ends_as_a_store_does_but_for_the_report(store, tmp_path):
    whole, _ = streams("correct", store, tmp_path / "out.zarr", *LABELLED)
    model = ["--model", tmp_path / "m.zarr"]
    for name, options in {"a.parquet": [], "b.h5ad": model}.items():
        said, _ = streams("correct", store, tmp_path / name, *LABELLED, *options)
        assert facts(said) == facts(whole)
        assert [command[1] for command in following(said)] == ["transform"] * bool(options)
    again, _ = streams("correct", store, tmp_path / "a.parquet", *LABELLED, "--resume")
    # The store is gone that could be scored.
    assert facts(again).keys() == facts(whole).keys() - {
        name for name in facts(whole) if "neighbours" in name or name == "variance kept"
    }


def test_what_comes_of_a_table_is_compared_with_it(store, tmp_path):
    table = pd.DataFrame(SCREEN.profiles, columns=[f"Cells_{i}" for i in range(8)])
    table = table.assign(plate=SCREEN.batch, **{"the drug": SCREEN.label.astype(str)})
    table.to_parquet(tmp_path / "in.parquet")
    whole, _ = streams("correct", store, tmp_path / "out.zarr", *LABELLED)
    for name in ("a.parquet", "b.zarr"):
        said, _ = streams("correct", tmp_path / "in.parquet", tmp_path / name, *LABELLED)
        assert facts(said) == facts(whole)


def test_scores_that_added_elements_have_are_told(store, tmp_path):
    columns = {"plate": SCREEN.batch, "the drug": SCREEN.label.astype(str)}
    into = write_anndata(tmp_path / "in.zarr", SCREEN.profiles, **columns)
    new, _ = streams("correct", store, tmp_path / "out.zarr", *LABELLED)
    said, _ = streams("correct", into, "--into", *LABELLED)
    assert facts(said) == facts(new)


def test_one_batch_is_not_compared(tmp_path):
    one = write_anndata(tmp_path / "in.zarr", SCREEN.profiles, plate=["one"] * 600)
    said, _ = streams("correct", one, tmp_path / "out.zarr", *KEY)
    assert facts(said) == {"batch key": "plate"}


@pytest.mark.parametrize("error", [RunError("no"), OSError("no"), MemoryError()])
def test_a_run_that_is_done_does_not_fail_by_its_scores(store, tmp_path, monkeypatch, error):
    def failing(*_):
        raise error

    monkeypatch.setattr(of_ending, "ending", failing)
    for name in ("out.zarr", "out.parquet"):
        said, _ = streams("correct", store, tmp_path / name, *KEY)
        assert "600 rows corrected by" in said
        assert not any("neighbours" in fact for fact in facts(said))
        assert (tmp_path / name).exists()


def test_the_plan_is_shown_on_request_or_where_it_asks_for_much(store, tmp_path, monkeypatch):
    model, out = tmp_path / "m.zarr", tmp_path / "out.zarr"
    fit = ["correct", store, out, *KEY, "--overwrite", "--model", model]
    commands = [fit, ["transform", model, store, tmp_path / "t.zarr", "--overwrite"]]
    for command in commands:
        assert "all processes" not in streams(*command)[1]
        assert "all processes" in streams(*command, "--verbose")[1]
    monkeypatch.setattr(of_command, "LARGE_BYTES", 1)
    for command in commands:
        assert "all processes" in streams(*command)[1]
        assert "all processes" not in streams(*command, "--quiet")[1]


def test_transform_knows_the_batches_of_its_model(store, tmp_path):
    model = tmp_path / "m.zarr"
    run("correct", store, tmp_path / "fit.zarr", *KEY, "--model", model)
    for name, keys in {"a": [], "b": KEY}.items():
        run("transform", model, store, tmp_path / f"{name}.zarr", *keys)
    assert files(tmp_path / "a.zarr") == files(tmp_path / "b.zarr")
    other = write_anndata(tmp_path / "in.zarr", SCREEN.profiles, Plate=SCREEN.batch)
    said = run("transform", model, other, tmp_path / "c.zarr", code=2)
    assert "has no column 'plate' in obs: did you mean Plate?" in said
    run("transform", model, other, tmp_path / "c.zarr", "--batch-key", "Plate")


def test_a_model_of_arrays_names_no_batches(store, tmp_path):
    names = [f"Cells_{i}" for i in range(8)]
    Balans().fit(pd.DataFrame(SCREEN.profiles, columns=names), batch=SCREEN.batch).save(
        tmp_path / "m.zarr"
    )
    said = run("transform", tmp_path / "m.zarr", store, tmp_path / "a.zarr", code=2)
    assert said.count("\n") == 1
    assert said.endswith("give --batch-key\n")
    run("transform", tmp_path / "m.zarr", store, tmp_path / "a.zarr", *KEY)


def test_scores_are_finite_where_rows_do_not_move(store, tmp_path):
    said, _ = streams("correct", store, tmp_path / "out.zarr", *LABELLED, "--strength", 0)
    before, after, _ = re.findall(r"(\d+)%", facts(said)["own-batch neighbours"])
    assert before == after
    assert facts(said)["variance kept"] == "100%"
    assert np.isfinite(float(before))
