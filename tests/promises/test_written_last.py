"""What a run writes last: tried before its work, and put out whole or not at all."""

import errno
import io
import os
import re
from contextlib import redirect_stderr, redirect_stdout, suppress
from importlib.util import find_spec

import anndata
import numpy as np
import pandas as pd
import pytest
import zarr
from packaging.version import Version

from balans_dask.cli import app
from balans_dask.errors import RunError
from balans_dask.io import output
from balans_dask.io.run_folder import RunFolder
from balans_dask.workflows import store_output
from tests.support.commands import run, streams
from tests.support.screens import gaussian_screen
from tests.support.stores import files_but_input, write_anndata

SCREEN = gaussian_screen(240, n_features=4)
BATCH = ("--batch-key", "plate", "--quiet")
SMOOTH = (*BATCH, "--operator", "smooth")
LONG = "n" * 243
NAMES = ["Metadata_Plate_Map", "Metadata_plate_map"]
ODD = "~ a::b#c?d%20e:f\n\udcff'$(x)- "
FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The folder of a store, in which commands run."""
    monkeypatch.chdir(tmp_path)
    write_anndata(tmp_path / "in.zarr", SCREEN.profiles, plate=SCREEN.batch)
    return tmp_path


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def table(path, **columns):
    """A table of profiles as parquet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    profiles = pd.DataFrame(SCREEN.profiles, columns=[f"f{i}" for i in range(4)])
    profiles.assign(**columns).to_parquet(path, index=False)


def of_anndata_11(path, name):
    """A store with a column of obs as anndata 0.11 wrote it, of any name."""
    write_anndata(path, SCREEN.profiles, zarr_format=2, plate=SCREEN.batch)
    (path / ".zmetadata").unlink(missing_ok=True)
    obs = zarr.open_group(path, mode="r+", use_consolidated=False)["obs"]
    column = obs.create_array(name, shape=(240,), dtype="i8", chunks=(240,))
    column[:] = np.arange(240) % 7
    column.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    obs.attrs["column-order"] = [*obs.attrs["column-order"], name]


def test_a_slash_in_a_name_of_an_old_store_becomes_an_underscore(place):
    of_anndata_11(place / "old.zarr", "pct/total")
    run("check", "old.zarr", "--batch-key", "pct_total")
    run("correct", "old.zarr", "out.zarr", *SMOOTH, "--batch-key", "pct_total")
    run("preprocess", "old.zarr", "pre.zarr", "--normalize", "mad", "--by", "pct_total", "--quiet")
    for made in ("out.zarr", "pre.zarr"):
        assert anndata.read_zarr(made).obs["pct_total"].tolist() == (np.arange(240) % 7).tolist()


def test_a_slash_that_makes_two_names_one_is_refused_by_every_command(place):
    of_anndata_11(place / "old.zarr", "a/b")
    obs = zarr.open_group("old.zarr", mode="r+", use_consolidated=False)["obs"]
    obs.create_array("a_b", data=np.arange(240)).attrs.update(obs["a/b"].attrs.asdict())
    obs.attrs["column-order"] = [*obs.attrs["column-order"], "a_b"]
    before = names_in(place)
    for command in (
        ["check", "old.zarr", "--batch-key", "plate"],
        ["correct", "old.zarr", "out.zarr", *BATCH],
        ["preprocess", "old.zarr", "out.zarr", "--select", "missing"],
    ):
        assert "2 annotations that get the same name in a store" in run(*command, code=2)
    assert names_in(place) == before


def test_columns_that_differ_in_case_are_both_converted_and_corrected(place):
    table(place / "a.parquet", **dict.fromkeys(NAMES, SCREEN.batch))
    run("convert", "a.parquet", "a.zarr")
    run("check", "a.zarr", "--batch-key", NAMES[1])
    run("correct", "a.zarr", "b.zarr", "--batch-key", NAMES[1], *SMOOTH[2:])
    run("correct", "a.zarr", "--into", "--batch-key", NAMES[0], *SMOOTH[2:])
    for made in ("a.zarr", "b.zarr"):
        obs = anndata.read_zarr(made).obs
        assert all(obs[name].tolist() == list(SCREEN.batch) for name in NAMES)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_store_of_anndata_with_such_columns_is_read_though_its_list_lacks_some(
    place, zarr_format
):
    upper = np.char.upper(SCREEN.batch.astype(str))
    write_anndata(
        "twins.zarr",
        SCREEN.profiles,
        zarr_format,
        plate=pd.Categorical(SCREEN.batch),
        Plate=pd.Categorical(upper),
    )
    # Later versions of zarr list what they missed before.
    if Version(zarr.__version__) < Version("3.4"):
        with pytest.raises(KeyError, match="not found in consolidated metadata"):
            anndata.read_zarr("twins.zarr")
    run("correct", "twins.zarr", "out.zarr", *SMOOTH)
    made_by_us = ["out.zarr"]
    if zarr_format == 3:
        run("correct", "twins.zarr", "--into", *SMOOTH)
        made_by_us.append("twins.zarr")
    for made in made_by_us:
        obs = anndata.read_zarr(made).obs
        assert obs["plate"].tolist() == list(SCREEN.batch)
        assert obs["Plate"].tolist() == list(upper)


@pytest.mark.filterwarnings("ignore:Observation names are not unique")
def test_names_of_rows_that_are_all_empty_are_read_with_a_warning(place):
    obs = pd.DataFrame({"plate": SCREEN.batch}, index=[""] * 240)
    with anndata.settings.override(zarr_write_format=3):
        anndata.AnnData(SCREEN.profiles, obs).write_zarr("e.zarr")
    places = ("obs/_index/values", "obs/_index")
    values = next(at for at in places if (place / "e.zarr" / at / "zarr.json").is_file())
    assert f"holds no text in 1 arrays ({values})" in streams("check", "e.zarr", *BATCH[:2])[1]
    (place / "e.zarr" / values / "c").mkdir()
    assert f"lacks 1 of 1 stored chunks of {values}" in run("check", "e.zarr", *BATCH[:2], code=2)


def test_the_gallerys_plate_stands_beside_a_column_that_differs_in_case(place):
    table(place / "profiles/b1/PL1/PL1.parquet", Metadata_plate="pl1")
    run("convert", "profiles", "g.zarr")
    obs = anndata.read_zarr("g.zarr").obs
    assert set(obs["Metadata_Plate"]) == {"PL1"}
    assert set(obs["Metadata_plate"]) == {"pl1"}


def test_an_embedding_whose_corrected_name_is_too_long_is_refused_before_the_run(place):
    basis = "X" * 250
    write_anndata("e.zarr", SCREEN.profiles, obsm={basis: SCREEN.profiles}, plate=SCREEN.batch)
    before = names_in(place)
    asked = (*BATCH[:2], "--basis", basis)
    for command in (
        ["check", "e.zarr", *asked],
        ["correct", "e.zarr", "out.zarr", *asked],
        ["correct", "e.zarr", "--into", *asked],
    ):
        assert "_balans cannot be the name of a file" in run(*command, code=2)
    assert names_in(place) == before


@pytest.mark.parametrize("name", ["x\0y", "\u00e9" * 128, "zarr.json"])
def test_a_column_that_no_store_can_hold_is_refused_by_convert_at_its_first_rows(place, name):
    table(place / "a.parquet", **{name: "x"})
    assert "1 annotations with names that a store cannot hold" in run(
        "convert", "a.parquet", "a.zarr", code=2
    )
    assert names_in(place) == ["a.parquet", "in.zarr"]


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("m" * 250, "File name too long"),
        (LONG, "File name too long"),
        ("nowhere/m", "the folder of .* does not exist"),
        ("/proc/m", "cannot be written"),
        ("in.zarr/m", "same place"),
        ("out.zarr/m", "same place"),
        ("out.zarr.partial", "same place"),
        ("out.zarr.events.jsonl", "same place"),
        ("strange", "in the way and is not ours"),
        ("begun", "holds an unfinished correction"),
    ],
)
@pytest.mark.parametrize("resume", [[], ["--resume"]])
def test_a_model_that_cannot_be_written_is_refused_before_the_run(place, model, reason, resume):
    (place / "strange.partial/mine").mkdir(parents=True)
    (place / "begun.partial").mkdir()
    RunFolder("begun").write_record({"identity": {}})
    before = names_in(place)
    said = run("correct", "in.zarr", "out.zarr", *BATCH, "--model", model, *resume, code=2)
    assert re.search(reason, said), said
    assert names_in(place) == before


@pytest.mark.parametrize(
    "command",
    [
        ["correct", "in.zarr", "out.zarr", *BATCH, "--performance-report"],
        ["transform", "model", "in.zarr", "out.zarr", *BATCH, "--performance-report"],
        ["evaluate", "in.zarr", "out.zarr", "--label-key", "plate", *BATCH[:2], "--json"],
        ["report", "out.zarr", "--html"],
    ],
    ids=lambda command: command[0],
)
@pytest.mark.parametrize("name", ["out.zarr.events.jsonl", "out.zarr.partial"])
def test_no_file_takes_the_place_of_an_outputs_events_or_folder(place, command, name, monkeypatch):
    monkeypatch.setattr("balans_dask.cli.workers.find_spec", lambda name: True)
    said = run(*command, name, "--overwrite", code=2)
    assert "same place" in said
    assert names_in(place) == ["in.zarr"]


def outputs():
    """Every command with one output that cannot be written, and what it is."""
    correct = ["correct", "in.zarr", "out.zarr", *BATCH]
    keys = ["--batch-key", "plate", "--label-key", "label"]
    yield "convert", ["convert", "t.parquet", LONG]
    yield "correct", ["correct", "in.zarr", LONG, *BATCH]
    yield "preprocess", ["preprocess", "in.zarr", LONG, "--select", "missing"]
    yield "export-folder", ["export", "in.zarr", LONG]
    yield "export-file", ["export", "in.zarr", f"{LONG}.parquet"]
    yield "resumed", ["correct", "in.zarr", LONG, *BATCH, "--resume"]
    yield "correct-proc", ["correct", "in.zarr", "/proc/out.zarr", *BATCH]
    yield "evaluate", ["evaluate", "in.zarr", *keys, "--json", LONG]
    yield "evaluate-csv", ["evaluate", "in.zarr", *keys, "--csv", "/proc/t.csv"]
    yield "evaluate-inside", ["evaluate", "in.zarr", *keys, "--json", "in.zarr/t.json"]
    yield "evaluate-twice", ["evaluate", "in.zarr", *keys, "--json", "t", "--csv", "./t"]
    yield (
        "sweep",
        ["sweep", "in.zarr", "--batch-key", "plate", "--label-key", "plate", "--json", LONG],
    )
    yield "sweep-inside", ["sweep", "in.zarr", "--batch-key", "plate", "--label-key", "plate",
                           "--json", "in.zarr/s.json"]  # fmt: skip
    if find_spec("matplotlib"):
        yield "report", ["report", "in.zarr", "--html", "/proc/r.html"]
        yield "report-inside", ["report", "in.zarr", "--html", "in.zarr/r.html"]
    if find_spec("bokeh"):
        yield "performance", [*correct, "--performance-report", LONG]
        yield "performance-inside", [*correct, "--performance-report", "out.zarr"]


OUTPUTS = dict(outputs())


@pytest.mark.parametrize("command", OUTPUTS.values(), ids=OUTPUTS)
def test_an_output_that_cannot_be_written_is_refused_before_the_work(place, command, monkeypatch):
    table(place / "t.parquet", plate="x")
    before = names_in(place)
    said = run(*command, code=2)
    assert "cannot be written" in said or "same place" in said
    assert names_in(place) == before


FILES = ("--model", "--json", "--csv", "--html")


@pytest.mark.parametrize(
    "command",
    [
        ["correct", "in.zarr", "out.zarr", *BATCH, "--model", ""],
        *([*command[:-1], ""] for command in OUTPUTS.values() if command[-2] in FILES),
    ],
    ids=lambda command: f"{command[0]}{command[-2]}",
)
def test_an_empty_path_is_called_one(place, command):
    said = run(*command, code=2)
    assert said.rstrip() == (
        "balans: error: the path of the output is empty: name a file or folder to write"
    )
    assert names_in(place) == ["in.zarr"]


def test_a_store_that_can_only_be_read_takes_no_results(place, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: "obs" not in str(path))
    assert "in.zarr can only be read" in run("correct", "in.zarr", "--into", *BATCH, code=2)
    assert names_in(place) == ["in.zarr"]


def test_a_path_is_a_path_whatever_characters_it_holds(place):
    table(place / f"{ODD[:-1]}.parquet".replace("\udcff", ""), plate=SCREEN.batch)
    source, out = f"{ODD}in.zarr", f"{ODD}out.zarr"
    run("convert", f"{ODD[:-1]}.parquet".replace("\udcff", ""), source)
    run("correct", source, out, *SMOOTH, "--model", f"{ODD}model")
    run("transform", f"{ODD}model", source, f"{ODD}new.zarr", *BATCH)
    run("export", source, f"{ODD}tables")
    run("inspect", out)
    assert anndata.read_zarr(place / out).n_obs == 240
    assert not [name for name in names_in(place) if name.endswith((".partial", ".writing"))]


@pytest.mark.parametrize("name", ["s3:a.parquet", "http:a.parquet", "file::a.csv", "a::b.csv"])
def test_a_table_is_that_of_its_path_and_of_no_url(place, name):
    table(place / "t.parquet", plate=SCREEN.batch)
    if name.endswith(".csv"):
        pd.read_parquet("t.parquet").to_csv(place / name, index=False)
    else:
        (place / "t.parquet").rename(name)
    run("convert", name, "a.zarr")
    assert anndata.read_zarr("a.zarr").n_obs == 240


def full(*args, **kwargs):
    raise FULL


def unreadable(*args, **kwargs):
    raise RunError(
        "what was written cannot be read (x), and is not put out: continue with --resume"
    )


MADE_IN_ONE_GO = {
    "convert": ["convert", "t.parquet", "out.zarr"],
    "preprocess": ["preprocess", "in.zarr", "out.zarr", "--select", "missing", "--quiet"],
}


@pytest.mark.parametrize("step", ["consolidate", "require_readable"])
@pytest.mark.parametrize("command", MADE_IN_ONE_GO.values(), ids=MADE_IN_ONE_GO)
def test_a_failure_at_the_very_end_leaves_nothing_and_says_to_run_again(
    place, monkeypatch, command, step
):
    table(place / "t.parquet", plate=SCREEN.batch)
    before = names_in(place)
    monkeypatch.setattr(output, step, full if step == "consolidate" else unreadable)
    said = run(*command, code=1)
    assert said.rstrip().endswith("run it again")
    assert "--resume" not in said
    assert names_in(place) == before
    monkeypatch.undo()
    monkeypatch.chdir(place)
    run(*command)


def test_a_store_that_was_to_be_replaced_stays_where_its_successor_cannot_come(place, monkeypatch):
    table(place / "t.parquet", plate=SCREEN.batch)
    run("convert", "t.parquet", "out.zarr")
    before = files_but_input("out.zarr")
    rename = type(place).rename
    monkeypatch.setattr(
        type(place), "rename", lambda self, to: full() if self.name == "store" else rename(self, to)
    )
    run("convert", "t.parquet", "out.zarr", "--overwrite", code=1)
    assert files_but_input("out.zarr") == before
    assert names_in(place) == ["in.zarr", "out.zarr", "t.parquet"]


def full_for_stores(folder):
    """Publishing that succeeds for models alone."""
    if folder.target.suffix == ".zarr":
        raise FULL
    folder.last.store.rename(folder.target)


LAST_STEPS = {
    "annotations": (store_output, "write_annotations"),
    "metadata": (store_output, "consolidate"),
    "reading": (store_output, "require_readable"),
    "sync": (store_output, "sync_files"),
    "model": (output, "consolidate"),
    "rename": (RunFolder, "_publish_by_rename"),
}
SELDOM = {"metadata", "reading"}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The files of the store of a run that nothing disturbs."""
    folder = tmp_path_factory.mktemp("whole")
    source = write_anndata(folder / "in.zarr", SCREEN.profiles, plate=SCREEN.batch)
    run("correct", source, folder / "out.zarr", *SMOOTH)
    return files_but_input(folder / "out.zarr")


@pytest.mark.parametrize(
    ("owner", "step"),
    [
        pytest.param(*place, id=name, marks=pytest.mark.long if name in SELDOM else [])
        for name, place in LAST_STEPS.items()
    ],
)
def test_a_run_whose_last_step_fails_is_continued_to_the_same_store(
    place, monkeypatch, undisturbed, owner, step
):
    command = ["correct", "in.zarr", "out.zarr", *SMOOTH, "--model", "out.model"]
    with monkeypatch.context() as patched:
        patched.setattr(owner, step, full if owner is not RunFolder else full_for_stores)
        assert "free some, and continue with --resume" in run(*command, code=1)
    left = set(names_in(place))
    assert "out.zarr.partial" in left
    assert ("out.model" in left) == (owner is RunFolder)
    assert not left & {"out.zarr", "out.model.partial"}
    run(*command, "--resume")
    assert files_but_input("out.zarr") == undisturbed
    assert "out.zarr.partial" not in names_in(place)


def test_a_store_is_put_out_though_its_events_cannot_be(place, monkeypatch):
    (place / "out.zarr.events.jsonl").mkdir()
    run("correct", "in.zarr", "out.zarr", *SMOOTH)
    assert anndata.read_zarr("out.zarr").n_obs == 240
    assert "out.zarr.partial" not in names_in(place)


@pytest.mark.parametrize(
    "command",
    [
        ["convert", "t.parquet", "out.zarr"],
        ["correct", "in.zarr", "out.zarr", *BATCH[:2], "--operator", "smooth"],
        ["export", "in.zarr", "out.zarr"],
        ["inspect", "in.zarr"],
    ],
    ids=lambda command: command[0],
)
def test_a_full_terminal_is_not_a_full_disk(place, command):
    table(place / "t.parquet", plate=SCREEN.batch)
    terminal = open("/dev/full", "w")  # noqa: SIM115  (closing it fails, too)
    with redirect_stdout(terminal), redirect_stderr(io.StringIO()) as err:
        code = app.run(command)
    with suppress(OSError):
        terminal.close()
    assert code == 1
    assert err.getvalue().splitlines()[-1] == (
        "balans: error: standard output: No space left on device: the work is done, but not said"
    )
    assert command[0] == "inspect" or (place / "out.zarr").exists()
    assert not (place / "out.zarr.partial").exists()
