"""The command line end to end on real stores, and every refusal in one line."""

import errno
import re
import shutil
import subprocess
import sys

import anndata
import numpy as np
import pandas as pd
import pytest
import zarr

from balans_dask import __version__
from balans_dask.cli.app import run
from balans_dask.errors import InvalidInputError
from balans_dask.io.matrices import VisibleArray
from balans_dask.io.store import open_store
from balans_dask.workflows.records import correction_record
from tests.support.screens import gaussian_screen
from tests.support.stores import files, write_anndata

SCREEN = gaussian_screen(600, n_features=6)
KEY = ["--batch-key", "Metadata_plate", "--operator", "smooth"]
BESIDE = ["in.zarr", "out.zarr", "out.zarr.events.jsonl"]


@pytest.fixture
def store(tmp_path):
    return write_anndata(
        tmp_path / "in.zarr", SCREEN.profiles, Metadata_plate=SCREEN.batch, other=SCREEN.label
    )


@pytest.fixture(scope="module")
def corrected(tmp_path_factory):
    """A folder of a store and its correction; and the files of that store before it."""
    place = tmp_path_factory.mktemp("corrected")
    write_anndata(
        place / "in.zarr", SCREEN.profiles, Metadata_plate=SCREEN.batch, other=SCREEN.label
    )
    before = files(place / "in.zarr")
    given = [str(place / "in.zarr"), str(place / "out.zarr"), *KEY, "--seed", "7"]
    assert run(["correct", *given]) == 0
    return place, before


def balans(capsys, *arguments):
    """Exit code, standard output and standard error of one command."""
    code = run([str(argument) for argument in arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


def refusal(capsys, *arguments):
    """The one line in which a command is refused."""
    code, out, err = balans(capsys, *arguments)
    assert code == 2, err
    lines = [line for line in err.splitlines() if "warning" not in line]
    assert len(lines) == 1, err
    assert lines[0].startswith("balans: error: ")
    assert "Traceback" not in out + err
    return lines[0].removeprefix("balans: error: ")


def test_correct_makes_a_store_that_anndata_opens(corrected):
    before, after = (anndata.read_zarr(corrected[0] / name) for name in ("in.zarr", "out.zarr"))
    assert list(after.var_names) == list(before.var_names)
    assert list(after.obs_names) == list(before.obs_names)
    assert np.isfinite(after.X).all()
    assert after.X.dtype == np.float32
    assert after.obsm["X_pca_balans"].shape == (600, 6)
    assert after.obs["balans_covered"].dtype == bool
    assert after.obs["balans_is_landmark"].sum() == after.uns["balans"]["n_sampled"]
    assert (after.obs["balans_displacement"] > 0).mean() > 0.9
    landmarks = np.flatnonzero(after.obs["balans_is_landmark"])
    assert sorted(after.uns["balans"]["sampled_rows"]) == landmarks.tolist()
    pd.testing.assert_frame_equal(after.obs[before.obs.columns], before.obs)


def test_input_is_untouched_and_nothing_is_left_beside_the_output(corrected):
    place, before = corrected
    assert files(place / "in.zarr") == before
    assert sorted(path.name for path in place.iterdir()) == BESIDE


def test_the_same_run_makes_the_same_bytes(capsys, tmp_path, store, corrected):
    code, said, _ = balans(capsys, "correct", store, tmp_path / "out.zarr", *KEY, "--seed", 7)
    assert code == 0
    assert "600 rows corrected by" in said
    assert files(tmp_path / "out.zarr") == files(corrected[0] / "out.zarr")


def test_an_embedding_is_corrected_as_it_is(capsys, tmp_path, store):
    out = tmp_path / "out.zarr"
    code, _, _ = balans(capsys, "correct", store, out, *KEY, "--n-components", 0)
    after = anndata.read_zarr(out)
    assert code == 0
    assert not after.obsm
    moved = np.linalg.norm(after.X - SCREEN.profiles, axis=1)
    np.testing.assert_allclose(after.obs["balans_displacement"], moved, rtol=1e-3, atol=1e-4)


def test_a_basis_is_corrected_beside_the_features_with_the_same_weights(capsys, tmp_path):
    doubled = {"X_pca": 2 * SCREEN.profiles[:, :3]}
    store = write_anndata(tmp_path / "in.zarr", SCREEN.profiles, obsm=doubled, p=SCREEN.batch)
    out = tmp_path / "out.zarr"
    smooth = ["--batch-key", "p", "--operator", "smooth"]
    code, _, _ = balans(capsys, "correct", store, out, *smooth, "--basis", "X_pca")
    after = anndata.read_zarr(out)
    assert code == 0
    assert list(after.obsm) == ["X_pca_balans"]
    np.testing.assert_allclose(after.obsm["X_pca_balans"], 2 * after.X[:, :3], rtol=1e-6)


def test_several_keys_make_joint_batches(capsys, tmp_path, store):
    out = tmp_path / "out.zarr"
    balans(capsys, "correct", store, out, *KEY, "--batch-key", "other")
    record = anndata.read_zarr(out).uns["balans"]
    assert len(record["batches"]) == 3 * 6
    assert record["batches"][0] == "plate0 | 0"


def test_check_prints_the_plan_and_writes_nothing(capsys, tmp_path, store):
    before = files(tmp_path)
    code, said, _ = balans(capsys, "check", store, "--batch-key", "Metadata_plate")
    assert code == 0
    assert "600 rows x 6 features" in said
    assert "all processes" in said
    assert files(tmp_path) == before


def test_inspect_says_what_a_store_is_and_how_it_was_corrected(capsys, corrected):
    _, plain, _ = balans(capsys, "inspect", corrected[0] / "in.zarr")
    assert "correction" not in plain
    code, said, _ = balans(capsys, "inspect", corrected[0] / "out.zarr")
    assert code == 0
    assert "seed=7" in said
    assert "patience" in said
    [source] = [line for line in said.splitlines() if line.strip("│ ").startswith("input ")]
    assert "in.zarr" in source


def test_overwrite_replaces_a_store(capsys, tmp_path, store, corrected):
    out = shutil.copytree(corrected[0] / "out.zarr", tmp_path / "out.zarr")
    old = files(out)
    assert "exists" in refusal(capsys, "correct", store, out, *KEY, "--seed", 1)
    assert files(out) == old
    assert balans(capsys, "correct", store, out, *KEY, "--seed", 1, "--overwrite")[0] == 0
    assert files(out) != old
    assert sorted(path.name for path in tmp_path.iterdir()) == BESIDE


@pytest.mark.parametrize("difference", ["rows", pytest.param("names", marks=pytest.mark.long)])
def test_other_labels_are_another_run(capsys, tmp_path, store, difference):
    """The profiles, the column and the sizes of the batches are equal."""
    names = np.char.replace(SCREEN.batch, "plate", "q")
    batch = {"rows": SCREEN.batch[::-1], "names": names}[difference]
    assert sorted(np.unique(batch, return_counts=True)[1]) == sorted(
        np.unique(SCREEN.batch, return_counts=True)[1]
    )
    other = write_anndata(
        tmp_path / "other.zarr", SCREEN.profiles, Metadata_plate=batch, other=SCREEN.label
    )
    out, out_of_other = tmp_path / "out.zarr", tmp_path / "out_of_other.zarr"
    key = [*KEY, "--max-rows", 64]
    assert balans(capsys, "correct", store, out, *key)[0] == 0
    before = files(out)
    assert "exists" in refusal(capsys, "correct", other, out, *key, "--resume")
    assert files(out) == before
    assert balans(capsys, "correct", other, out_of_other, *key)[0] == 0
    one, two = (correction_record(open_store(str(path))) for path in (out, out_of_other))
    assert one["fingerprint"] != two["fingerprint"]


def test_metadata_of_outputs_are_consolidated(capsys, tmp_path, corrected):
    """One read opens the whole store, also over a network."""
    table = tmp_path / "t.csv"
    pd.DataFrame(SCREEN.profiles, columns=list("abcdef")).to_csv(table, index=False)
    out, converted = corrected[0] / "out.zarr", tmp_path / "converted.zarr"
    assert balans(capsys, "convert", table, converted)[0] == 0
    for path, some in ((out, "uns/balans/sampled_rows"), (converted, "obs")):
        members = zarr.open_consolidated(path, mode="r").metadata.consolidated_metadata
        everything = zarr.open_group(path, mode="r", use_consolidated=False).members(max_depth=None)
        assert set(members.flattened_metadata) == {name for name, _ in everything}
        assert {"X", some} <= set(members.flattened_metadata)


def test_quiet_says_nothing(capsys, tmp_path, store):
    out = tmp_path / "out.zarr"
    said = balans(capsys, "correct", store, out, *KEY[:2], "--paper", "--quiet")
    assert said == (0, "", "")


def test_version_and_module(capsys):
    assert balans(capsys, "--version")[1].strip() == f"balans, version {__version__}"
    done = subprocess.run(
        [sys.executable, "-m", "balans_dask", "inspect", "nowhere.zarr"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == (
        "balans: error: nowhere.zarr does not exist: check the path of the input\n"
    )


BAD_OPTIONS = [
    (["--batch-key", "Plate"], "has no column 'Plate' in obs: did you mean Metadata_plate?"),
    (["--batch-key", "week"], "has no column 'week' in obs: choose one of its 2 columns"),
    ([], "Missing option '--batch-key'"),
    (["--batch-key", "Metadata_plate", "--n-neighbors", "0"], "--n-neighbors must be"),
    (["--batch-key", "Metadata_plate", "--patience", "-3"], "--patience must be"),
    (["--batch-key", "Metadata_plate", "--coverage-tol", "1.5"], "--coverage-tol must be"),
    ([*KEY, "--max-scale-ratio", "0.5"], "--max-scale-ratio must be"),
    ([*KEY[:2], "--max-scale-ratio", "1.5"], "--max-scale-ratio must be left out with operator"),
    ([*KEY, "--shared-populations", "yes"], "--shared-populations must be left out with operator"),
    ([*KEY, "--uncovered", "offset"], "--uncovered must be nearest or keep with operator 'smooth'"),
    ([*KEY, "--paper", "--n-passes", "2"], "--paper fixes --n-passes: leave out one of them"),
    (["--batch-key", "Metadata_plate", "--paper", "--operator", "align"], "fixes --operator"),
    (["--batch-key", "Metadata_plate", "--seed", "-1"], "--seed must be"),
    (["--batch-key", "Metadata_plate", "--n-components", "-2"], "-2 is not in the range x>=0"),
    *(
        (["--batch-key", "Metadata_plate", f"--{name}", str(2**70)], f"to {2**63 - 1}, got")
        for name in ("n-neighbors", "patience", "max-rows", "n-components", "max-neighbors", "seed")
    ),
    (["--batch-key", "Metadata_plate", "--basis", "X_pca"], "has no 'X_pca' in obsm"),
    (["--batch-key", "Metadata_plate", "--operator", "magic"], "'magic' is not"),
    (["--batch-key", "Metadata_plate", "--cluster", "cloud"], "--cluster cloud is unknown"),
    (["--batch-key", "Metadata_plate", "--memory-limit", "lots"], "--memory-limit lots"),
    (["--batch-key", "Metadata_plate", "--memory-limit", "90MB"], "raise --memory-limit"),
    (["--batch-key", "Metadata_plate", "--speed", "9"], "no option is called --speed: "),
]


@pytest.mark.parametrize(("options", "reason"), BAD_OPTIONS, ids=lambda value: str(value)[-30:])
def test_bad_options_are_refused_in_one_line(capsys, tmp_path, store, options, reason):
    line = refusal(capsys, "correct", store, tmp_path / "out.zarr", *options)
    assert reason in line
    assert [path.name for path in tmp_path.iterdir()] == ["in.zarr"]


def bad_values(profiles):
    profiles[[3, 7, 9], 2] = np.nan
    profiles[7, 4] = -np.inf


def test_bad_values_are_counted_and_named(capsys, tmp_path):
    profiles = SCREEN.profiles.copy()
    bad_values(profiles)
    store = write_anndata(tmp_path / "in.zarr", profiles, p=SCREEN.batch)
    for command in (["correct", store, tmp_path / "out.zarr"], ["check", store]):
        line = refusal(capsys, *command, "--batch-key", "p")
        assert "3 of 600 rows hold NaN or infinite values in 2 features (Cells_2, Cells_4)" in line
        assert "drop or impute" in line
    assert [path.name for path in tmp_path.iterdir()] == ["in.zarr"]


def test_bad_values_of_a_basis_are_refused_too(capsys, tmp_path):
    bad = SCREEN.profiles.copy()
    bad_values(bad)
    store = write_anndata(tmp_path / "in.zarr", SCREEN.profiles, obsm={"B": bad}, p=SCREEN.batch)
    out = tmp_path / "out.zarr"
    line = refusal(capsys, "correct", store, out, "--batch-key", "p", "--basis", "B")
    assert "(embedding column 2, embedding column 4)" in line


def test_a_missing_label_is_refused(capsys, tmp_path):
    batch = SCREEN.batch.astype(object)
    batch[[1, 2]] = None
    store = write_anndata(tmp_path / "in.zarr", SCREEN.profiles, p=batch)
    line = refusal(capsys, "correct", store, tmp_path / "out.zarr", "--batch-key", "p")
    assert "'p' is missing in 2 of 600 rows" in line


def test_a_store_without_features_is_refused(capsys, tmp_path):
    store = write_anndata(tmp_path / "in.zarr", SCREEN.profiles[:, :0], p=SCREEN.batch)
    line = refusal(capsys, "correct", store, tmp_path / "out.zarr", "--batch-key", "p")
    assert "has 0 feature(s) (shape=(600, 0))" in line


def test_a_store_that_workers_cannot_see_is_refused_and_not_read_as_zeros(store, tmp_path):
    array = VisibleArray(open_store(store).features, store)
    np.testing.assert_array_equal(array[3:5], SCREEN.profiles[3:5])
    elsewhere = VisibleArray(open_store(store).features, str(tmp_path / "not mounted"))
    with pytest.raises(InvalidInputError, match=r"does not see .*not mounted"):
        elsewhere[3:5]


def test_a_relative_path_works_for_workers_in_another_folder(capsys, tmp_path, store, monkeypatch):
    out = [*KEY, "--cluster", "local", "--workers", 1]
    monkeypatch.chdir(tmp_path)
    asked = open_store("in.zarr")
    monkeypatch.chdir("/")
    np.testing.assert_array_equal(asked.features[:5], SCREEN.profiles[:5])
    monkeypatch.chdir(tmp_path)
    assert balans(capsys, "correct", "in.zarr", "out.zarr", *out)[0] == 0


def test_a_lost_chunk_is_refused_and_not_read_as_zeros(capsys, tmp_path):
    path = tmp_path / "in.zarr"
    write_anndata(path, SCREEN.profiles, chunks=(100, 3), p=SCREEN.batch)
    next((path / "X/c/3").iterdir()).unlink()
    line = refusal(capsys, "correct", path, tmp_path / "out.zarr", "--batch-key", "p")
    assert "lacks 1 of 12 stored chunks of X, which would read as '0.0'" in line
    assert "restore them" in line


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_damaged_chunk_is_refused_with_its_rows(capsys, tmp_path, zarr_format):
    path = tmp_path / "in.zarr"
    write_anndata(path, SCREEN.profiles, zarr_format, chunks=(100, 6), p=SCREEN.batch)
    chunk = path / ("X/3.0" if zarr_format == 2 else "X/c/3/0")
    content = chunk.read_bytes()
    reasons = [
        "has 1 chunks of X cut off",
        "X/.* is cut off: restore it",
        "cannot decode X of .* in rows 0 to 600",
    ]
    for torn in (content[:50], content[:5], b""):
        chunk.write_bytes(torn)
        for command in (["correct", path, tmp_path / "out.zarr"], ["check", path]):
            line = refusal(capsys, *command, "--batch-key", "p")
            assert any(re.search(reason, line) for reason in reasons), line
    assert [path.name for path in tmp_path.iterdir()] == ["in.zarr"]


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("can't start new thread"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("command", ["check", "inspect"])
def test_a_machine_without_room_is_not_called_a_damaged_store(
    capsys, store, monkeypatch, command, error
):
    def out_of_room(*_):
        raise error

    monkeypatch.setattr(zarr.Array, "__getitem__", out_of_room)
    options = ["--batch-key", "Metadata_plate"] if command == "check" else []
    code, _, err = balans(capsys, command, store, *options)
    assert code == 1
    [line] = err.splitlines()
    assert line.startswith("balans: error: out of memory or threads (")
    assert line.endswith("and run it again")


def test_what_the_output_will_not_hold_is_said(capsys, tmp_path):
    umap = {"X_umap": SCREEN.profiles[:, :2]}
    mine = {"balans_covered": SCREEN.label, "p": SCREEN.batch}
    store = write_anndata(tmp_path / "in.zarr", SCREEN.profiles, obsm=umap, **mine)
    code, _, err = balans(capsys, "check", store, "--batch-key", "p")
    assert code == 0
    assert "1 elements" in err
    assert "not copied to the output (obsm/X_umap)" in err
    assert "1 columns of obs" in err
    assert "are replaced in the output (balans_covered)" in err


def test_one_row_is_refused(capsys, tmp_path):
    store = write_anndata(tmp_path / "in.zarr", SCREEN.profiles[:1], p=["a"])
    line = refusal(capsys, "correct", store, tmp_path / "out.zarr", "--batch-key", "p")
    assert "has 1 sample(s) (shape=(1, 6)) while a minimum of 2 is required: give at" in line


def test_only_constant_features_are_refused(capsys, tmp_path):
    store = write_anndata(tmp_path / "in.zarr", np.ones((20, 3), np.float32), p=["a", "b"] * 10)
    line = refusal(capsys, "correct", store, tmp_path / "out.zarr", "--batch-key", "p")
    assert "all 3 features are constant" in line


def test_output_equal_to_the_input_is_refused(capsys, store):
    before = files(store)
    for out in (store, store + "/inner.zarr"):
        line = refusal(capsys, "correct", store, out, "--batch-key", "other", "--overwrite")
        assert "same place" in line
    assert files(store) == before


def test_what_is_not_a_store_is_refused(capsys, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file.zarr").write_text("no")
    zarr.create_array(tmp_path / "array.zarr", data=np.ones((4, 2)))
    zarr.create_group(tmp_path / "group.zarr")
    reasons = {
        "folder": "is not a Zarr store",
        "file.zarr": "is not a Zarr store",
        "array.zarr": "cannot be read as AnnData",
        "group.zarr": "without X, obs, var",
        "none.zarr": "does not exist",
    }
    for name, reason in reasons.items():
        line = refusal(capsys, "correct", tmp_path / name, tmp_path / "o.zarr", "--batch-key", "p")
        assert reason in line
        assert reason in refusal(capsys, "inspect", tmp_path / name)


def test_a_path_that_is_not_there_is_refused_with_the_nearest_name(capsys, tmp_path):
    (tmp_path / "Screen one").mkdir()
    (tmp_path / "Screen one/profiles.parquet").touch()
    (tmp_path / "Screen one/.profile.parquet").touch()
    asked = {
        "Screen one/profile.parquet": ": did you mean profiles.parquet?",
        "screen_one/a/profiles.parquet": ": did you mean Screen one?",
        "Screen one/profiles.parquet/X.zarr": ": check the path of the input",
        "Screen one/other.zarr": ": check the path of the input",
    }
    for name, near in asked.items():
        line = refusal(capsys, "correct", tmp_path / name, tmp_path / "o.zarr", "--batch-key", "p")
        assert line.endswith(f"{name} does not exist{near}")


def test_overwrite_never_replaces_what_is_not_a_store(capsys, tmp_path, store):
    thesis = tmp_path / "thesis"
    thesis.mkdir()
    (thesis / "chapter1.txt").write_text("years of work")
    line = refusal(capsys, "correct", store, thesis, "--batch-key", "other", "--overwrite")
    assert "not a Zarr store, so it is not replaced" in line
    assert (thesis / "chapter1.txt").read_text() == "years of work"


def test_a_failed_overwrite_keeps_the_old_store(capsys, tmp_path, store):
    out = tmp_path / "out.zarr"
    balans(capsys, "correct", store, out, *KEY)
    old = files(out)
    profiles = SCREEN.profiles.copy()
    bad_values(profiles)
    bad = write_anndata(tmp_path / "bad.zarr", profiles, p=SCREEN.batch)
    refusal(capsys, "correct", bad, out, "--batch-key", "p", "--overwrite")
    assert files(out) == old


def test_oddities_are_reported_and_the_run_goes_on(capsys, tmp_path):
    profiles = np.repeat(SCREEN.profiles[:100], 6, axis=0)
    profiles[:, 3] = 0.1
    batch = np.array(["one"] * 596 + ["few"] * 4)
    store = write_anndata(tmp_path / "in.zarr", profiles, p=batch, q=["same"] * 600)
    out = tmp_path / "out.zarr"
    one_round = ("--max-rows", 64)
    code, _, err = balans(capsys, "correct", store, out, "--batch-key", "p", *one_round)
    after = anndata.read_zarr(out)
    assert code == 0
    assert "1 of 6 features are constant (Cells_3)" in err
    assert "1 of 2 batches have at most 5 rows (few)" in err
    assert np.isfinite(after.X).all()
    np.testing.assert_array_equal(after.X[:, 3], np.float32(0.1))
    assert list(after.uns["balans"]["constant_features"]) == ["Cells_3"]
    assert list(after.uns["balans"]["clamped_batches"]) == ["few"]
    again = ("correct", store, out, "--batch-key", "q", "--overwrite")
    code, _, err = balans(capsys, *again, *one_round)
    assert code == 0
    assert "all 600 rows are of one batch (same): nothing to align" in err


def test_labels_with_control_characters_cannot_reach_the_terminal(capsys, tmp_path):
    batch = ["a\x1b[31m\n", "b"] * 10
    store = write_anndata(
        tmp_path / "in.zarr", SCREEN.profiles[:20], **{"p\x1b[2J": batch, "q": batch}
    )
    out = refusal(capsys, "correct", store, tmp_path / "o.zarr", "--batch-key", "none")
    assert "\x1b" not in out
    code, said, err = balans(capsys, "check", store, "--batch-key", "q")
    assert code == 0
    assert "\x1b[31m" not in said + err


@pytest.mark.long
@pytest.mark.parametrize("operator", ["nystrom", "displace", "align"])
def test_every_operator_corrects_a_store_on_threads_and_on_processes(
    capsys, tmp_path, store, operator
):
    key = ["--batch-key", "Metadata_plate", "--operator", operator, "--strength", 0.8]
    threads = ["--workers", 2]
    assert balans(capsys, "correct", store, tmp_path / "threads.zarr", *key, *threads)[0] == 0
    where = ["--cluster", "local", "--workers", 2]
    assert balans(capsys, "correct", store, tmp_path / "local.zarr", *key, *where)[0] == 0
    assert files(tmp_path / "local.zarr") == files(tmp_path / "threads.zarr")
    after = anndata.read_zarr(tmp_path / "threads.zarr")
    assert after.uns["balans"]["parameters"]["operator"] == operator
    assert float(after.uns["balans"]["parameters"]["strength"]) == 0.8
    assert (SCREEN.profiles != after.X).any(axis=1).all()
