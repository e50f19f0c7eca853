"""From stores to embeddings: what was corrected, what it was before, and which rows are scored."""

import re
import shutil

import anndata
import numpy as np
import pytest
import zarr
from anndata.io import write_elem

from balans_dask import pp
from balans_dask.errors import InputWarning, InvalidInputError
from balans_dask.evaluate import stores
from balans_dask.evaluate.rows import read_embeddings, stratified_rows
from balans_dask.evaluate.stores import open_stores
from balans_dask.io.paths import leads_away
from balans_dask.io.store import open_store
from balans_dask.report import source as report_source
from balans_dask.workflows.records import correction_record
from tests.support.commands import run
from tests.support.screens import gaussian_screen
from tests.support.stores import write_anndata

KEY = ["--batch-key", "plate", "--operator", "smooth", "--patience", 10]
COMMON = [*KEY, "--n-components", 5, "--quiet"]
ROWS = np.arange(3, 900, 7)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An input with an embedding and controls, and corrections of all kinds beside it."""
    place = tmp_path_factory.mktemp("stores")
    profiles, batch, label = gaussian_screen(900, 8)
    kind = np.where(np.arange(900) % 5 == 0, "negcon", "trt")
    embedding = 100 + 40 * profiles[:, :4]
    source = place / "in.zarr"
    columns = {"plate": batch, "drug": label.astype(str), "kind": kind}
    write_anndata(source, profiles, obsm={"X_cnn": embedding}, **columns)
    untouched = ["--strength", 0]
    run("correct", source, place / "none.zarr", *COMMON, *untouched)
    run("correct", source, place / "smooth.zarr", *COMMON)
    run("correct", source, place / "basis.zarr", *KEY, "--quiet", "--basis", "X_cnn", *untouched)
    run("correct", source, place / "embedded.zarr", *KEY, "--quiet", "--n-components", 0)
    anchored = ["--operator", "displace", "--anchor", "kind == 'negcon'", *untouched]
    run("correct", source, place / "anchored.zarr", *COMMON, *anchored)
    return place


def embeddings(folder, *names, raw=True, rows=ROWS):
    opened = open_stores([str(folder / name) for name in names], ["plate"], raw)
    return read_embeddings(opened, rows)


@pytest.mark.parametrize("name", ["none.zarr", "basis.zarr", "anchored.zarr"])
def test_a_correction_of_strength_zero_is_its_own_raw(folder, name):
    raw, corrected = embeddings(folder, name)
    assert (raw.name, corrected.name) == ("raw", name.removesuffix(".zarr"))
    assert raw.scores.shape == (len(ROWS), 4 if name == "basis.zarr" else 5)
    np.testing.assert_allclose(corrected.scores, raw.scores, atol=1e-5)
    assert corrected.before is raw.scores


def test_raw_scores_of_new_plates_are_by_the_preprocessor_of_the_model(folder, tmp_path):
    model, new = tmp_path / "model.zarr", tmp_path / "new.zarr"
    anchored = ["--operator", "displace", "--anchor", "kind == 'negcon'", "--strength", 0]
    run("correct", folder / "in.zarr", tmp_path / "fit.zarr", *COMMON, *anchored, "--model", model)
    profiles, batch, label = gaussian_screen(300, 8, seed=1)
    write_anndata(new, 3 * profiles, plate=batch, drug=label.astype(str))
    run("transform", model, new, tmp_path / "out.zarr", *KEY[:2], "--quiet")
    raw, corrected = embeddings(tmp_path, "out.zarr", rows=np.arange(300))
    np.testing.assert_allclose(corrected.scores, raw.scores, atol=1e-4)


def test_a_store_with_added_scores_is_its_own_input(folder, tmp_path):
    store = shutil.copytree(folder / "in.zarr", tmp_path / "a.zarr")
    run("correct", store, "--into", *COMMON)
    raw, corrected = embeddings(tmp_path, "a.zarr")
    raw_of_new, corrected_of_new = embeddings(folder, "smooth.zarr")
    np.testing.assert_array_equal(raw.scores, raw_of_new.scores)
    np.testing.assert_array_equal(corrected.scores, corrected_of_new.scores)


def test_an_object_that_was_integrated_is_its_own_input(folder, tmp_path):
    adata = anndata.read_zarr(folder / "in.zarr")
    given = {"basis": "X_cnn", "adjusted_basis": "X_moved", "operator": "smooth"}
    pp.balans_integrate(adata, "plate", **given, strength=0)
    with anndata.settings.override(zarr_write_format=3):
        adata.write_zarr(tmp_path / "a.zarr")
    raw, corrected = embeddings(tmp_path, "a.zarr")
    np.testing.assert_allclose(corrected.scores, raw.scores, atol=1e-5)
    assert corrected.before is raw.scores


def test_corrected_scores_are_those_of_the_chosen_rows(folder):
    _, corrected = embeddings(folder, "smooth.zarr")
    stored = anndata.read_zarr(folder / "smooth.zarr").obsm["X_pca_balans"]
    np.testing.assert_array_equal(corrected.scores, stored[ROWS])


def test_a_corrected_embedding_is_centred_as_its_input_is(folder):
    raw, corrected = embeddings(folder, "embedded.zarr", rows=np.arange(900))
    assert np.abs(raw.scores.mean(axis=0)).max() < 1e-5
    before = anndata.read_zarr(folder / "in.zarr").X
    after = anndata.read_zarr(folder / "embedded.zarr").X
    unit = (before.std(axis=0) / raw.scores.std(axis=0)).mean()
    moved = (corrected.scores - raw.scores) * unit
    np.testing.assert_allclose(moved, after - before, atol=1e-4)


def test_corrections_of_one_preprocessor_share_their_raw_scores(folder):
    found = embeddings(folder, "smooth.zarr", "none.zarr", "anchored.zarr")
    assert [one.name for one in found] == ["raw", "raw of anchored", "smooth", "none", "anchored"]
    assert found[2].before is found[3].before is found[0].scores
    assert found[4].before is found[1].scores


def test_an_input_given_first_is_raw_and_needs_not_be_asked_for(folder):
    with_it = embeddings(folder, "in.zarr", "smooth.zarr", raw=False)
    without = embeddings(folder, "smooth.zarr")
    assert [one.name for one in with_it] == [one.name for one in without] == ["raw", "smooth"]
    np.testing.assert_array_equal(with_it[0].scores, without[0].scores)


def test_an_input_alone_gets_the_default_preprocessor(folder):
    (raw,) = embeddings(folder, "in.zarr")
    assert raw.scores.shape == (len(ROWS), 8)


def test_raw_scores_may_be_left_out(folder):
    (corrected,) = embeddings(folder, "smooth.zarr", raw=False)
    assert corrected.before is None


def test_stores_that_moved_together_still_find_each_other(folder, tmp_path):
    for name in ("in.zarr", "smooth.zarr"):
        shutil.copytree(folder / name, tmp_path / name)
    record = anndata.read_zarr(tmp_path / "smooth.zarr").uns["balans"]
    assert record["input"] == "in.zarr"
    raw, _ = embeddings(tmp_path, "smooth.zarr")
    np.testing.assert_array_equal(raw.scores, embeddings(folder, "smooth.zarr")[0].scores)


def test_a_lost_input_is_named_and_the_rest_is_read(folder, tmp_path):
    shutil.copytree(folder / "smooth.zarr", tmp_path / "smooth.zarr")
    with pytest.warns(InputWarning, match=r"in\.zarr, the input of .* is not there: give"):
        (corrected,) = embeddings(tmp_path, "smooth.zarr")
    assert corrected.before is None


def test_a_url_that_a_store_records_is_not_asked(folder, tmp_path, monkeypatch):
    """Whoever made the store has chosen it; the keys would be those of whoever reads."""
    away = "https://me:hush@host/in.zarr?token=hush"
    path = str(shutil.copytree(folder / "smooth.zarr", tmp_path / "smooth.zarr"))
    root = zarr.open_group(path, use_consolidated=False)
    write_elem(root["uns/balans"], "input", away)
    zarr.consolidate_metadata(root.store)
    asked = []
    monkeypatch.setattr(stores, "is_store", asked.append)
    with pytest.warns(InputWarning, match="is not followed: give the input as the first") as said:
        (corrected,) = embeddings(tmp_path, "smooth.zarr")
    assert corrected.before is None
    monkeypatch.setattr(report_source, "open_store", asked.append)
    record = correction_record(open_store(path))
    source, why = report_source._source(path, record, len(ROWS))
    assert source is None
    assert "host/in.zarr" in why
    assert asked == []
    assert "hush" not in f"{why} {[str(each.message) for each in said]}"


@pytest.mark.parametrize(
    ("store", "recorded", "away"),
    [
        ("/data/out.zarr", "../in.zarr", False),
        ("s3://b/out.zarr", "in.zarr", False),
        ("s3://b/out.zarr", "/data/in.zarr", False),
        ("https://me:hush@host/out.zarr", "https://host/in.zarr", False),
        ("s3://b/out.zarr", "s3://b/runs/in.zarr", False),
        ("s3://b/out.zarr", "s3://c/in.zarr", True),
        ("s3://b/out.zarr", "https://b/in.zarr", True),
        ("https://host/out.zarr", "https://host@evil/in.zarr", True),
        ("https://host/out.zarr", "https://evil?@host/in.zarr", True),
        ("https://host/out.zarr", "x::https://host/in.zarr", True),
        ("/data/out.zarr", "s3://b/in.zarr", True),
    ],
)
def test_only_urls_of_the_stores_own_place_are_followed(store, recorded, away):
    assert leads_away(store, recorded) == away


def test_a_store_of_an_earlier_version_asks_for_its_input(folder, tmp_path):
    shutil.copytree(folder / "smooth.zarr", tmp_path / "smooth.zarr")
    root = zarr.open_group(tmp_path / "smooth.zarr", use_consolidated=False)
    del root["uns/balans/input"]
    zarr.consolidate_metadata(root.store)
    with pytest.warns(InputWarning, match="does not say where its input is: give the input as"):
        (corrected,) = embeddings(tmp_path, "smooth.zarr")
    assert corrected.before is None


def other_rows(folder, path, change):
    data = anndata.read_zarr(folder / "in.zarr")
    change(data).write_zarr(path)
    run("correct", path, path.with_name("out.zarr"), *COMMON)
    return str(path.with_name("out.zarr"))


def renamed(data):
    data.obs_names = ["other", *data.obs_names[1:]]
    return data


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: data[:800].copy(), r"out\.zarr has 800 rows, .*smooth\.zarr has 900"),
        (renamed, r"out\.zarr names 1 of its 900 rows otherwise than"),
    ],
)
def test_stores_of_other_rows_are_refused(folder, tmp_path, change, said):
    other = other_rows(folder, tmp_path / "in.zarr", change)
    with pytest.raises(InvalidInputError, match=said):
        open_stores([str(folder / "smooth.zarr"), other], ["plate"])


def test_only_the_first_store_may_be_an_input(folder):
    paths = [str(folder / name) for name in ("smooth.zarr", "in.zarr")]
    with pytest.raises(InvalidInputError, match=re.escape("in.zarr says nothing of a correction")):
        open_stores(paths, ["plate"])


def test_stores_of_one_name_are_told_apart_by_their_paths(folder, tmp_path):
    shutil.copytree(folder / "smooth.zarr", tmp_path / "smooth.zarr")
    paths = [str(folder / "smooth.zarr"), str(tmp_path / "smooth.zarr")]
    assert [one.name for one in open_stores(paths, ["plate"], raw=False)] == paths


def test_every_stratum_has_its_share_of_the_sample(rng):
    strata = rng.choice(7, size=20_000, p=[0.5, 0.2, 0.1, 0.1, 0.05, 0.04, 0.01])
    rows = stratified_rows(strata, 1_000, seed=4)
    assert len(np.unique(rows)) == len(rows) == 1_000
    assert (np.diff(rows) > 0).all()
    share = np.bincount(strata) / 20
    assert np.abs(np.bincount(strata[rows]) - share).max() < 1


def test_another_seed_draws_other_rows_and_the_same_seed_the_same():
    strata = np.zeros(5_000, dtype=np.int64)
    first, again, other = (stratified_rows(strata, 100, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert len(np.intersect1d(first, other)) < 20


def test_a_small_store_is_taken_whole():
    assert stratified_rows(np.array([2, 0, 1]), 3).tolist() == [0, 1, 2]
