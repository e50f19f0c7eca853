"""One command from table to table: equal to correct_batches, after any kill, and nothing else."""

import gzip
import os
import shutil
import subprocess
import sys

import anndata
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from balans_dask import correct_batches
from balans_dask.io.store import open_store
from balans_dask.io.tables.convert import convert_table
from balans_dask.workflows.records import correction_record
from tests.support.commands import run, streams
from tests.support.screens import gaussian_screen
from tests.support.stores import files

SCREEN = gaussian_screen(800)
FEATURES = [f"Cells_{i}" for i in range(8)]
KEY = ["--batch-key", "Metadata_Plate", "--quiet"]
OUTPUTS = [".parquet", ".csv.gz", ".h5ad", ".zarr"]


def profiles():
    """A table as people have them: columns in any order, of all types, with an index."""
    table = pd.DataFrame(SCREEN.profiles.copy(), columns=FEATURES)
    wells = np.arange(len(table))
    table.insert(2, "Metadata_Plate", pd.factorize(SCREEN.batch)[0] + 10)
    table.insert(0, "Metadata_Well", [f"{well % 24:04}" for well in wells])
    table.insert(5, "Metadata_dose", np.where(wells % 7 == 0, np.nan, wells / 3))
    table.insert(9, "compound", pd.Categorical(np.where(wells % 3, "DMSO", 'Tb, "x"\né')))
    table["Metadata_is_control"] = wells % 3 > 0
    return table


def typed(table):
    """The same with what parquet alone holds."""
    days = pd.Timestamp("2026-01-31") + pd.to_timedelta(np.arange(len(table)) % 5, "D")
    lists = pd.Series([[1, 2], None] * (len(table) // 2))
    more = table.assign(Metadata_day=days, Metadata_lists=lists, Cells_8=table.Cells_0 * 2.0**-60)
    more["Cells_9"] = more.Cells_1.astype("Float64")
    more["Metadata_n"] = pd.array([1, None] * (len(table) // 2), "Int8")
    more.attrs["study"] = "x"
    return more.set_index(pd.Index(np.arange(len(table))[::-1], name="row of the screen"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The same table in all formats."""
    place = tmp_path_factory.mktemp("tables")
    table = profiles()
    table.to_parquet(place / "in.parquet")
    typed(table).to_parquet(place / "typed.parquet")
    table.to_csv(place / "in.csv", index=False)
    table.to_csv(place / "in.csv.gz", index=False)
    (place / "plates").mkdir()
    for plate, rows in table.groupby("Metadata_Plate"):
        rows.to_parquet(place / "plates" / f"p{plate}.parquet", index=False)
    convert_table(str(place / "in.parquet"), str(place / "in.zarr"))
    anndata.read_zarr(place / "in.zarr").write_h5ad(place / "in.h5ad")
    return place


def features_of(path):
    """Corrected features of any output."""
    if path.suffix == ".parquet":
        return pd.read_parquet(path)[FEATURES].to_numpy()
    if path.suffix == ".gz":
        return pd.read_csv(path)[FEATURES].to_numpy(np.float32)
    read = anndata.read_h5ad if path.suffix == ".h5ad" else anndata.read_zarr
    return read(path)[:, FEATURES].X


@pytest.mark.parametrize("name", ["in.parquet", "typed.parquet"])
def test_a_parquet_comes_back_as_correct_batches_returns_it(folder, tmp_path, name):
    run("correct", folder / name, tmp_path / "out.parquet", *KEY)
    given = pd.read_parquet(folder / name)
    found = pd.read_parquet(tmp_path / "out.parquet")
    expected = correct_batches(given, batch="Metadata_Plate")
    pd.testing.assert_frame_equal(found, expected, check_exact=True)
    kept = [name for name in given if not name.startswith("Cells_")]
    pd.testing.assert_frame_equal(found[kept], given[kept], check_exact=True)
    assert os.listdir(tmp_path) == ["out.parquet"]


@pytest.mark.parametrize("suffix", OUTPUTS)
@pytest.mark.parametrize("name", ["in.parquet", "in.csv", "in.csv.gz", "in.h5ad", "in.zarr"])
def test_every_table_becomes_every_other_one(folder, tmp_path, name, suffix):
    target = tmp_path / f"out{suffix}"
    run("correct", folder / name, target, *KEY)
    expected = correct_batches(pd.read_parquet(folder / "in.parquet"), batch="Metadata_Plate")
    np.testing.assert_array_equal(features_of(target), expected[FEATURES])
    beside = {"out.zarr.events.jsonl"} if suffix == ".zarr" else set()
    assert set(os.listdir(tmp_path)) == {target.name, *beside}


@pytest.mark.parametrize("name", ["in.csv", "in.csv.gz"])
def test_a_csv_keeps_names_order_and_text(folder, tmp_path, name):
    run("correct", folder / name, tmp_path / "out.csv.gz", *KEY)
    run("correct", folder / name, tmp_path / "out.parquet", *KEY)
    given = pd.read_csv(folder / name, dtype={"Metadata_Well": str})
    for found in (
        pd.read_csv(tmp_path / "out.csv.gz", dtype={"Metadata_Well": str}),
        pd.read_parquet(tmp_path / "out.parquet"),
    ):
        assert list(found) == list(given)
        kept = [name for name in given if name not in FEATURES]
        pd.testing.assert_frame_equal(found[kept], given[kept])
    with gzip.open(tmp_path / "out.csv.gz") as content:
        assert content.readline().decode().strip() == ",".join(given.columns)


def test_a_folder_becomes_one_table(folder, tmp_path):
    run("correct", folder / "plates", tmp_path / "out.parquet", *KEY)
    parts = sorted((folder / "plates").iterdir())
    given = pd.concat(map(pd.read_parquet, parts), ignore_index=True)
    found = pd.read_parquet(tmp_path / "out.parquet")
    assert list(found) == list(given)
    expected = correct_batches(given, batch="Metadata_Plate")
    np.testing.assert_array_equal(found[FEATURES], expected[FEATURES])
    assert found["Metadata_Plate"].dtype == given["Metadata_Plate"].dtype


def test_an_h5ad_holds_what_a_store_holds(folder, tmp_path):
    for suffix in (".h5ad", ".zarr"):
        run("correct", folder / "in.h5ad", tmp_path / f"out{suffix}", *KEY)
    found = anndata.read_h5ad(tmp_path / "out.h5ad")
    expected = anndata.read_zarr(tmp_path / "out.zarr")
    pd.testing.assert_frame_equal(found.obs, expected.obs)
    pd.testing.assert_frame_equal(found.var, expected.var)
    np.testing.assert_array_equal(found.obsm["X_pca_balans"], expected.obsm["X_pca_balans"])
    assert found.uns["balans"]["fingerprint"] == expected.uns["balans"]["fingerprint"]


def test_a_store_made_of_a_table_names_no_input_that_is_gone(folder, tmp_path):
    run("correct", folder / "in.csv", tmp_path / "out.zarr", *KEY)
    record = correction_record(open_store(str(tmp_path / "out.zarr")))
    assert "input" not in record


def test_a_key_describes_rows_though_it_is_a_number(tmp_path):
    table = profiles().rename(columns={"Metadata_Plate": "measured_on"})
    table.to_csv(tmp_path / "in.csv", index=False)
    table.to_parquet(tmp_path / "in.parquet", index=False)
    expected = correct_batches(table, batch="measured_on")
    assert expected["measured_on"].equals(table["measured_on"])
    for name in ("in.csv", "in.parquet"):
        options = ["--batch-key", "measured_on", "--quiet", "--overwrite"]
        run("correct", tmp_path / name, tmp_path / "out.parquet", *options)
        found = pd.read_parquet(tmp_path / "out.parquet")
        np.testing.assert_array_equal(found[FEATURES], expected[FEATURES])
        assert found["measured_on"].equals(table["measured_on"])


def test_a_frozen_model_of_one_table_corrects_another(folder, tmp_path):
    model = tmp_path / "model.zarr"
    run("correct", folder / "in.csv", tmp_path / "out.parquet", *KEY, "--model", model)
    later = profiles()[::2].assign(Metadata_Plate=99)
    later.to_parquet(tmp_path / "new.parquet", index=False)
    run("transform", model, tmp_path / "new.parquet", tmp_path / "new_out.parquet", *KEY)
    convert_table(str(tmp_path / "new.parquet"), str(tmp_path / "new.zarr"))
    run("transform", model, tmp_path / "new.zarr", tmp_path / "new_out.zarr", *KEY)
    found = features_of(tmp_path / "new_out.parquet")
    np.testing.assert_array_equal(found, features_of(tmp_path / "new_out.zarr"))
    assert list(pd.read_parquet(tmp_path / "new_out.parquet")) == list(later)


DYING = """
import os, sys, importlib
module, name, after, *arguments = sys.argv[1:]
place = importlib.import_module(module)
owner, _, method = name.rpartition(".")
owner = getattr(place, owner) if owner else place
real = getattr(owner, method)
def dies(*args, **options):
    if after == "after":
        real(*args, **options)
    os._exit(9)
setattr(owner, method, dies)
from balans_dask.cli.app import run
sys.exit(run(arguments))
"""
MOMENTS = {
    "converting": ("balans_dask.io.tables.convert", "write_annotations", "before"),
    "converted": ("balans_dask.workflows.tables", "Ends.opened", "before"),
    "sampling": ("balans_dask.workflows.resume", "_Saver.save", "after"),
    "written": ("balans_dask.workflows.store_output", "write_annotations", "before"),
    "writing the table": ("balans_dask.workflows.tables", "TableFolder._write", "after"),
    "published": ("balans_dask.workflows.tables", "sync_folder", "before"),
}


def killed(moment, *arguments):
    """Run a command that dies at a moment as by SIGKILL."""
    argv = [sys.executable, "-c", DYING, *MOMENTS[moment], *map(str, arguments)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 9, done.stderr


@pytest.fixture(scope="module")
def undisturbed(folder):
    """Outputs of runs that nobody kills."""
    place = folder / "undisturbed"
    place.mkdir()
    for suffix in OUTPUTS:
        run("correct", folder / "in.csv", place / f"out{suffix}", *KEY)
    return place


def contents(path):
    return files(path) if path.is_dir() else path.read_bytes()


CASES = [(moment, suffix) for moment in MOMENTS for suffix in OUTPUTS]
OF_TABLES = {"writing the table", "published"}


@pytest.mark.parametrize(
    ("moment", "suffix"),
    [
        pytest.param(m, s, marks=[] if s == ".parquet" or m == "published" else pytest.mark.long)
        for m, s in CASES
        if s != ".zarr" or m not in OF_TABLES
    ],
)
def test_a_run_killed_in_any_phase_goes_on_to_the_same_bytes(
    folder, undisturbed, tmp_path, moment, suffix
):
    target = tmp_path / f"out{suffix}"
    killed(moment, "correct", folder / "in.csv", target, *KEY, "--checkpoint-seconds", 0)
    assert target.exists() == (moment == "published")
    again = ["correct", folder / "in.csv", target, *KEY[:2], "--resume"]
    said = run(*again)
    # What is converted once is not converted again, nor is a table that is there.
    is_converted_again = "800 rows x 8 features" in said
    assert is_converted_again == (moment == "converting")
    assert contents(target) == contents(undisturbed / target.name)
    beside = {"out.zarr.events.jsonl"} if suffix == ".zarr" else set()
    assert set(os.listdir(tmp_path)) == {target.name, *beside}


def test_resume_of_a_complete_table_changes_nothing(folder, undisturbed, tmp_path):
    for suffix in OUTPUTS[:3]:
        target = tmp_path / f"out{suffix}"
        shutil.copy(undisturbed / target.name, target)
        before = target.stat().st_mtime_ns
        out, _ = streams("correct", folder / "in.csv", target, *KEY[:2], "--resume")
        assert target.stat().st_mtime_ns == before
        assert "800 rows corrected by" in out
        err = run("correct", folder / "in.csv", target, *KEY, "--seed", 3, "--resume", code=2)
        assert "exists: choose another file" in err
    assert len(os.listdir(tmp_path)) == 3


def test_a_table_that_was_touched_is_converted_again_and_one_that_changed_is_refused(tmp_path):
    source, target = tmp_path / "in.csv", tmp_path / "out.parquet"
    profiles().to_csv(source, index=False)
    killed("written", "correct", source, target, *KEY)
    os.utime(source, ns=(0, 0))
    run("correct", source, tmp_path / "undisturbed.parquet", *KEY)
    kept = shutil.copytree(tmp_path / "out.parquet.partial", tmp_path / "kept")
    assert "800 rows x 8 features" in run("correct", source, target, *KEY[:2], "--resume")
    assert contents(target) == contents(tmp_path / "undisturbed.parquet")
    target.unlink()
    shutil.move(kept, tmp_path / "out.parquet.partial")
    profiles().assign(Cells_0=0.5).to_csv(source, index=False)
    err = run("correct", source, target, *KEY, "--resume", code=2)
    assert "unfinished run of other input" in err
    err = run("correct", source, target, *KEY, code=2)
    assert "unfinished correction" in err
    run("correct", source, target, *KEY, "--overwrite")
    assert (pd.read_parquet(target)["Cells_0"] == 0.5).all()
    assert not (tmp_path / "out.parquet.partial").exists()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("out.csv", "a table ends in .parquet, .csv.gz or .h5ad, and a store in .zarr"),
        ("out.txt", "a table ends in"),
        ("OUT.XLSX", "a table ends in"),
        ("out.tsv.gz", "a table ends in"),
    ],
)
def test_a_name_that_is_no_outputs_is_refused_before_any_work(folder, tmp_path, name, reason):
    for source in ("in.csv", "in.zarr"):
        err = run("correct", folder / source, tmp_path / name, *KEY, code=2)
        assert reason in err
        assert err.count("\n") == 1
    assert os.listdir(tmp_path) == []


def test_a_url_is_no_place_of_a_table(folder):
    err = run("correct", folder / "in.csv", "s3://bucket/out.parquet", *KEY, code=2)
    assert "tables are written to this machine" in err


def test_what_is_added_in_place_is_added_to_stores(folder):
    before = (folder / "in.csv").read_bytes()
    for options in (["--into"], ["--into", "--layer"]):
        err = run("correct", folder / "in.csv", *KEY, *options, code=2)
        assert "--into adds to a store" in err
    assert (folder / "in.csv").read_bytes() == before


def test_a_table_that_is_there_is_replaced_only_on_request(folder, tmp_path):
    target = tmp_path / "out.parquet"
    target.write_text("years of work")
    for options in ([], ["--resume"]):
        err = run("correct", folder / "in.csv", target, *KEY, *options, code=2)
        assert "exists: choose another file, or add --overwrite" in err
        assert target.read_text() == "years of work"
    assert os.listdir(tmp_path) == ["out.parquet"]
    run("correct", folder / "in.csv", target, *KEY, "--overwrite")
    assert pq.read_schema(target).names == list(profiles())


def test_what_is_refused_leaves_nothing_behind(folder, tmp_path):
    bad = profiles()
    bad.loc[3, "Cells_2"] = np.nan
    bad.to_csv(tmp_path / "bad.csv", index=False)
    (tmp_path / "bad.parquet").write_text("no table")
    for source, key, reason in (
        (folder / "in.csv", "Metadata_Plat", "in.csv has no column 'Metadata_Plat'"),
        (tmp_path / "bad.csv", "Metadata_Plate", "NaN"),
        (tmp_path / "bad.parquet", "Metadata_Plate", "bad.parquet cannot be read as parquet"),
        (tmp_path / "none.parquet", "Metadata_Plate", "none.parquet does not exist"),
    ):
        for suffix in (".parquet", ".zarr"):
            options = ["--batch-key", key, "--quiet"]
            err = run("correct", source, tmp_path / f"out{suffix}", *options, code=2)
            assert reason in err
            assert ".partial" not in err
    assert sorted(os.listdir(tmp_path)) == ["bad.csv", "bad.parquet"]


def test_options_that_are_refused_leave_nothing_behind(folder, tmp_path):
    for options in (["--memory-limit", "1MB"], ["--paper", "--operator", "align"]):
        run("correct", folder / "in.parquet", tmp_path / "out.parquet", *KEY, *options, code=2)
    assert os.listdir(tmp_path) == []


def test_a_run_names_the_features_that_it_takes_and_the_numbers_that_it_does_not(tmp_path):
    table = profiles().assign(PlateID=np.arange(len(SCREEN.batch)))
    table.to_parquet(tmp_path / "in.parquet")
    err = run(
        "correct", tmp_path / "in.parquet", tmp_path / "o.parquet", "--batch-key", "Metadata_Plate"
    )
    said = "800 rows x 8 features (Cells_0 to Cells_7; not features: PlateID)"
    assert said in " ".join(err.split())


def test_an_output_within_its_input_is_refused(folder):
    before = sorted(os.listdir(folder / "plates"))
    for target in (folder / "plates" / "out.parquet", folder / "plates" / "out.zarr"):
        err = run("correct", folder / "plates", target, *KEY, code=2)
        assert "one is in the other" in err
    assert sorted(os.listdir(folder / "plates")) == before
