"""Results added to an existing store: what is there stays, whatever kills the run."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import anndata
import numpy as np
import pytest
import zarr

from balans_dask import pp
from balans_dask.io.in_place import InPlaceFolder
from tests.support.commands import run, streams
from tests.support.screens import gaussian_screen
from tests.support.stores import files, write_anndata

SCREEN = gaussian_screen(5_000, n_features=6)
SCORES = (2 * SCREEN.profiles[:, :3]).astype(np.float32)
OPTIONS = ["--batch-key", "p", "--checkpoint-seconds", 0, "--max-rows", 64, "--operator", "smooth"]
COLUMNS = ["balans_covered", "balans_is_landmark", "balans_displacement"]
LISTINGS = {"zarr.json", "obs/zarr.json"}
KILL_AT_RENAME = """
import os, signal, sys
text = sys.argv.pop(1)
def watch(event, arguments):
    if event == "os.rename" and text in str(arguments[1]):
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(watch)
from balans_dask.__main__ import main
main()
"""
KILL_BEFORE_EVERY_RENAME = """
import itertools, os, shutil, signal, sys
from balans_dask.io.in_place import InPlaceFolder
grown, place, elements = sys.argv[1], sys.argv[2], sys.argv[3].split(",")
for at in itertools.count():
    target = f"{place}/{at}/{os.path.basename(grown)}"
    shutil.copytree(grown, target)
    shutil.copytree(f"{grown}.partial", f"{target}.partial")
    child = os.fork()
    if child == 0:
        left = [at]
        def watch(event, arguments):
            if event == "os.rename":
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                left[0] -= 1
        sys.addaudithook(watch)
        with InPlaceFolder(target, elements).held():
            pass
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if status == 0:
        print(at)
        break
    assert os.WTERMSIG(status) == signal.SIGKILL
"""


def kill_at_rename(text, *arguments):
    """Run the command, and kill it before the first rename to a path that holds a text."""
    script = [sys.executable, "-c", KILL_AT_RENAME, text, *arguments]
    killed = subprocess.run([str(part) for part in script], check=False)
    assert killed.returncode == -signal.SIGKILL


def write_store(path, consolidated=True):
    path = write_anndata(
        path, SCREEN.profiles, obsm={"X_pca": SCORES, "X_umap": SCORES[:, :2]}, p=SCREEN.batch,
        label=SCREEN.label,
    )  # fmt: skip
    if not consolidated:
        root = Path(path) / "zarr.json"
        content = json.loads(root.read_text())
        del content["consolidated_metadata"]
        root.write_text(json.dumps(content))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("into")
    write_store(place / "in.zarr")
    write_store(place / "plain.zarr", consolidated=False)
    run("correct", place / "in.zarr", place / "pca.zarr", *OPTIONS)
    run("correct", place / "in.zarr", place / "basis.zarr", *OPTIONS, "--basis", "X_pca")
    return place


@pytest.fixture
def store(folder, tmp_path):
    return shutil.copytree(folder / "in.zarr", tmp_path / "a.zarr")


def assert_old_elements_are_untouched(store, before):
    now = files(store)
    for name, content in before.items():
        if name not in LISTINGS:
            assert now[name] == content, name


def below(path, element):
    return files(path / element)


def assert_as_before_or_complete(path, expected):
    found = anndata.read_zarr(path)
    np.testing.assert_array_equal(found.X, SCREEN.profiles)
    np.testing.assert_array_equal(found.obsm["X_umap"], SCORES[:, :2])
    assert list(found.obs.columns)[:2] == ["p", "label"]
    added = "X_pca_balans" in found.obsm
    assert ("balans" in found.uns) == added
    assert (list(found.obs.columns)[2:] == COLUMNS) == added
    if added:
        np.testing.assert_array_equal(found.obsm["X_pca_balans"], expected)
    return added


def test_scores_are_added_and_nothing_is_rewritten(folder, store):
    before = files(store)
    out, _ = streams("correct", store, "--into", *OPTIONS)
    assert "5,000 rows corrected by" in out
    assert_old_elements_are_untouched(store, before)
    after, normal = anndata.read_zarr(store), anndata.read_zarr(folder / "pca.zarr")
    for element in ("obsm/X_pca_balans", *(f"obs/{name}" for name in COLUMNS)):
        assert below(store, element) == below(folder / "pca.zarr", element)
    assert sorted(after.obsm) == ["X_pca", "X_pca_balans", "X_umap"]
    assert list(after.obs.columns) == ["p", "label", *COLUMNS]
    assert set(after.layers) <= {None}  # X, to anndata 0.13
    record, its = after.uns["balans"], normal.uns["balans"]
    assert set(record) - set(its) == {"elements"}
    assert record["sampled_rows"].tolist() == its["sampled_rows"].tolist()
    assert sorted(path.name for path in store.parent.iterdir()) == [
        "a.zarr", "a.zarr.events.jsonl",
    ]  # fmt: skip


def test_a_basis_and_a_layer_equal_those_of_a_new_store(folder, store):
    before = files(store)
    run("correct", store, "--into", "--layer", *OPTIONS, "--basis", "X_pca")
    assert_old_elements_are_untouched(store, before)
    element = "obsm/X_pca_balans"
    assert below(store, element) == below(folder / "basis.zarr", element)
    assert below(store, "layers/balans") == below(folder / "basis.zarr", "X")


def test_an_embedding_that_is_x_itself_goes_to_obsm(folder, store):
    run("correct", store, "--into", *OPTIONS, "--n-components", 0)
    run("correct", folder / "in.zarr", store.parent / "b.zarr", *OPTIONS, "--n-components", 0)
    assert below(store, "obsm/X_balans") == below(store.parent / "b.zarr", "X")


def test_listings_are_those_that_zarr_would_write(store):
    run("correct", store, "--into", "--layer", *OPTIONS)
    listed = zarr.open_consolidated(store, mode="r").metadata.consolidated_metadata
    walked = zarr.open_group(store, mode="r", use_consolidated=False)
    assert walked.metadata.consolidated_metadata is None
    members = dict(walked.members(max_depth=None))
    assert set(listed.flattened_metadata) == set(members)
    for name, metadata in listed.flattened_metadata.items():
        assert metadata.attributes == members[name].metadata.attributes, name


def test_a_store_without_consolidated_metadata_stays_one(folder, tmp_path):
    store = shutil.copytree(folder / "plain.zarr", tmp_path / "a.zarr")
    before = files(store)
    run("correct", store, "--into", *OPTIONS)
    assert files(store)["zarr.json"] == before["zarr.json"]
    assert_old_elements_are_untouched(store, before)
    expected = anndata.read_zarr(folder / "pca.zarr").obsm["X_pca_balans"]
    assert assert_as_before_or_complete(store, expected)


def test_groups_that_are_missing_are_made(store):
    for group in ("layers", "uns", "obsm"):
        shutil.rmtree(store / group)
    zarr.consolidate_metadata(store)
    before = files(store)
    run("correct", store, "--into", "--layer", *OPTIONS)
    assert_old_elements_are_untouched(store, before)
    found = anndata.read_zarr(store)
    assert list(found.obsm) == ["X_pca_balans"]
    assert set(found.layers) - {None} == {"balans"}


def test_a_model_is_saved_beside(store):
    aligns = ["--operator", "align", "--n-passes", 1]
    run("correct", store, "--into", *OPTIONS, *aligns, "--model", store.parent / "m.zarr")
    run("transform", store.parent / "m.zarr", store, store.parent / "t.zarr", "--batch-key", "p")
    name = "obsm/X_pca_balans"
    assert below(store, name) == below(store.parent / "t.zarr", name)


def test_results_of_ours_are_replaced_with_overwrite_only_and_as_a_whole(store):
    before = files(store)
    run("correct", store, "--into", "--layer", *OPTIONS, "--basis", "X_umap")
    first = files(store)
    err = run("correct", store, "--into", *OPTIONS, code=2)
    assert "holds 6 elements of an earlier correction" in err
    assert "add --overwrite" in err
    assert files(store) == first
    run("correct", store, "--into", *OPTIONS, "--overwrite")
    assert_old_elements_are_untouched(store, before)
    found = anndata.read_zarr(store)
    assert sorted(found.obsm) == ["X_pca", "X_pca_balans", "X_umap"]
    assert not found.layers
    assert list(found.obs.columns) == ["p", "label", *COLUMNS]
    assert not store.with_name("a.zarr.partial").exists()


def test_results_of_an_integrated_object_are_ours(store):
    adata = anndata.read_zarr(store)
    pp.balans_integrate(adata, "p", adjusted_basis="X_mine", operator="smooth")
    integrated = store.with_name("b.zarr")
    with anndata.settings.override(zarr_write_format=3):
        adata.write_zarr(integrated)
    err = run("correct", integrated, "--into", *OPTIONS, code=2)
    assert "holds 5 elements of an earlier correction" in err
    run("correct", integrated, "--into", *OPTIONS, "--overwrite")
    assert sorted(anndata.read_zarr(integrated).obsm) == ["X_pca", "X_pca_balans", "X_umap"]


def test_a_record_that_claims_what_is_not_ours_is_not_believed(store):
    adata = anndata.read_zarr(store)
    claims = ["X", "../a.zarr/X", "obsm/../X", "obs", "obs/_index/c", "..", "uns/balans"]
    adata.uns["balans"] = {"elements": claims}
    with anndata.settings.override(zarr_write_format=3):
        adata.write_zarr(store.with_name("b.zarr"))
    before = files(store.with_name("b.zarr"))
    run("correct", store.with_name("b.zarr"), "--into", *OPTIONS, "--overwrite")
    rest = {name: held for name, held in before.items() if not name.startswith("uns/balans")}
    assert_old_elements_are_untouched(store.with_name("b.zarr"), rest)


def test_elements_of_other_people_are_never_replaced(store):
    found = anndata.read_zarr(store)
    found.obsm["X_pca_balans"] = SCORES
    found.obs["balans_covered"] = "mine"
    with anndata.settings.override(zarr_write_format=3):
        found.write_zarr(store.with_name("b.zarr"))
    before = files(store.with_name("b.zarr"))
    for more in ([], ["--overwrite"], ["--resume"]):
        err = run("correct", store.with_name("b.zarr"), "--into", *OPTIONS, *more, code=2)
        assert "holds 2 elements that --into would write and has not written" in err
        assert "(obs/balans_covered, obsm/X_pca_balans): rename or remove them" in err
    assert files(store.with_name("b.zarr")) == before


def test_the_output_of_a_correction_is_not_corrected_into(folder, tmp_path):
    store = shutil.copytree(folder / "pca.zarr", tmp_path / "a.zarr")
    before = files(store)
    err = run("correct", store, "--into", *OPTIONS, "--overwrite", code=2)
    assert "uns/balans" in err
    assert files(store) == before


@pytest.mark.parametrize(
    "what", [["--basis", "X_pca_balans"], ["--batch-key", "balans_is_landmark"]]
)
def test_results_that_a_correction_reads_are_not_replaced_by_it(store, what):
    run("correct", store, "--into", *OPTIONS)
    before = files(store)
    err = run("correct", store, "--into", *OPTIONS, *what, "--overwrite", code=2)
    assert "holds 1 elements of an earlier correction that this one reads" in err
    assert files(store) == before


def test_zarr_v2_is_refused(tmp_path):
    store = write_anndata(tmp_path / "a.zarr", SCREEN.profiles, zarr_format=2, p=SCREEN.batch)
    before = files(tmp_path)
    err = run("correct", store, "--into", *OPTIONS, code=2)
    assert "is not Zarr v3" in err
    assert files(tmp_path) == before


def test_what_does_not_go_together_is_refused(store):
    before = files(store.parent)
    for given, reason in (
        ([store.parent / "out.zarr", "--into"], "leave out"),
        (["--into", "--layer", "--n-components", 0], "corrected as obsm/X_balans"),
        ([store.parent / "out.zarr", "--layer"], "--layer goes with --into"),
        ([], "Missing argument 'TARGET'"),
    ):
        assert reason in run("correct", store, *given, *OPTIONS, code=2)
    assert files(store.parent) == before


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param("checkpoint.npz", marks=pytest.mark.long),
        "/units/",
        pytest.param("/journal.json", marks=pytest.mark.long),
    ],
)
def test_a_run_killed_before_it_moves_anything_leaves_the_store_as_it_was(store, moment):
    before = files(store)
    kill_at_rename(moment, "correct", store, "--into", *OPTIONS, "--block-rows", 8)
    assert files(store) == before
    err = run("correct", store, "--into", *OPTIONS, "--block-rows", 8, code=2)
    assert "unfinished run: add --resume" in err
    run("correct", store, "--into", *OPTIONS, "--block-rows", 8, "--resume")
    assert_old_elements_are_untouched(store, before)
    stamps = {path: path.stat().st_mtime_ns for path in store.rglob("*")}
    run("correct", store, "--into", *OPTIONS, "--block-rows", 8, "--resume")
    assert {path: path.stat().st_mtime_ns for path in store.rglob("*")} == stamps


@pytest.fixture(scope="module")
def grown(folder, tmp_path_factory):
    """Makes a store just before the first rename into it, by its kind."""

    def grown(kind):
        source, options = {
            "new": ("in.zarr", []),
            "plain": ("plain.zarr", []),
            "replacing": ("in.zarr", ["--overwrite"]),
        }[kind]
        store = shutil.copytree(folder / source, tmp_path_factory.mktemp("grown") / f"{kind}.zarr")
        if options:
            run("correct", store, "--into", *OPTIONS, "--seed", 7, "--basis", "X_umap", "--layer")
        kill_at_rename(f"{store}/", "correct", store, "--into", *OPTIONS, *options)
        return store

    return grown


def elements(store):
    journal = store.with_name(f"{store.name}.partial") / "store/journal.json"
    return ",".join(json.loads(journal.read_text())["came"])


@pytest.mark.parametrize(
    "kind",
    [*(pytest.param(kind, marks=pytest.mark.long) for kind in ("new", "replacing")), "plain"],
)
def test_a_run_killed_while_it_moves_leaves_a_sound_store_and_is_finished(
    folder, grown, tmp_path, kind
):
    expected = anndata.read_zarr(folder / "pca.zarr").obsm["X_pca_balans"]
    before = files(folder / {"plain": "plain.zarr"}.get(kind, "in.zarr"))
    ripe = grown(kind)
    names = elements(ripe)
    script = [sys.executable, "-c", KILL_BEFORE_EVERY_RENAME, ripe, tmp_path, names]
    said = subprocess.run([str(part) for part in script], check=True, stdout=subprocess.PIPE)
    n_kills = int(said.stdout)
    assert n_kills >= 9
    undisturbed = files(tmp_path / str(n_kills) / ripe.name)
    was_added = False
    for at in range(n_kills):
        store = tmp_path / str(at) / ripe.name
        assert_old_elements_are_untouched(store, before)
        if kind == "new":
            added = assert_as_before_or_complete(store, expected)
            assert added >= was_added
            was_added = added
        else:
            found = anndata.read_zarr(store)
            np.testing.assert_array_equal(found.X, SCREEN.profiles)
            np.testing.assert_array_equal(found.obsm["X_pca"], SCORES)
        if at % 5 == 3:
            run("correct", store, "--into", *OPTIONS, "--resume")
        else:
            with InPlaceFolder(str(store), names.split(",")).held():
                pass
        assert files(store) == undisturbed
        assert not store.with_name(f"{store.name}.partial").exists()
    assert assert_as_before_or_complete(store, expected)


def test_no_other_store_gains_results_through_a_link(tmp_path):
    others = Path(write_store(tmp_path / "others.zarr"))
    mine = Path(write_store(tmp_path / "in.zarr"))
    before = files(others)
    shutil.rmtree(mine / "obsm")
    (mine / "obsm").symlink_to(others / "obsm")
    for resume in ([], ["--resume"]):
        said = run("correct", mine, "--into", *OPTIONS, *resume, code=2)
        assert "has 1 links in place of folders (obsm)" in said
    assert files(others) == before
