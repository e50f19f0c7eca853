"""Embeddings that others made: found in obsm, read from files, made by methods that are there."""

import os
import sys

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy.linalg import sqrtm
from sklearn.covariance import LedoitWolf

from balans_dask.errors import InvalidInputError, RunError
from balans_dask.evaluate import others
from balans_dask.evaluate.others import PeerMethods, opened, parted
from balans_dask.evaluate.rows import read_embeddings, read_raw
from balans_dask.evaluate.stores import open_stores
from tests.support.commands import run
from tests.support.screens import gaussian_screen
from tests.support.stores import write_anndata

N_ROWS = 600
ROWS = np.arange(3, N_ROWS, 7)
CONTROL = "kind == 'negcon'"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A screen with an embedding of three columns far from the origin, and a correction of it."""
    place = tmp_path_factory.mktemp("others")
    profiles, batch, label = gaussian_screen(N_ROWS, 8)
    theirs = (50 + profiles[:, :3]).astype(np.float32)
    kind = np.where(np.arange(N_ROWS) % 3, "trt", "negcon")
    columns = {"plate": batch, "drug": label.astype(str), "kind": kind}
    write_anndata(place / "in.zarr", profiles, obsm={"X_theirs": theirs}, **columns)
    run("correct", place / "in.zarr", place / "out.zarr", "--batch-key", "plate", "--quiet")
    np.save(place / "theirs.npy", theirs)
    table = pd.DataFrame(theirs, columns=["a", "b", "c"], index=[f"w{i}" for i in range(N_ROWS)])
    table.insert(0, "Metadata_dose", 1.0)
    table["note"] = "text"
    table["plate_id"] = np.arange(N_ROWS)
    table.to_parquet(place / "theirs.parquet")
    return place


def first_store(folder, name="in.zarr", raw=True):
    return open_stores([str(folder / name)], ["plate"], raw)[0]


def test_a_matrix_of_obsm_and_files_of_it_are_one_embedding_centred(folder):
    files = [("npy", str(folder / "theirs.npy")), ("table", str(folder / "theirs.parquet"))]
    found = [one.at(ROWS, None) for one in opened(first_store(folder), ["X_theirs"], files)]
    assert [one.name for one in found] == ["X_theirs", "npy", "table"]
    stored = anndata.read_zarr(folder / "in.zarr").obsm["X_theirs"].astype(float)
    for one in found:
        np.testing.assert_allclose(one.scores, (stored - stored.mean(axis=0))[ROWS], atol=1e-9)
        # Whether it is in the unit of raw, nobody says.
        assert not one.is_in_unit


def test_arguments_part_into_stores_and_named_files():
    assert parted(["a.zarr", "b=c/d.npy", "x=y.zarr", "e=f.parquet"]) == (
        ["a.zarr", "x=y.zarr"],
        [("b", "c/d.npy"), ("e", "f.parquet")],
    )
    with pytest.raises(InvalidInputError, match="no store is given"):
        parted(["b=d.npy"])
    with pytest.raises(InvalidInputError, match=r"=d\.npy has no name: give NAME=d\.npy"):
        parted(["a.zarr", "=d.npy"])


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("a.npy", np.zeros((599, 2)), r"a\.npy has 599 rows, .*in\.zarr has 600"),
        ("a.npy", np.zeros(600), r"a\.npy has shape \(600,\)"),
        ("a.npy", np.full((600, 2), "x"), "type <U1: give a numeric matrix"),
        ("a.npy", np.full((600, 2), None), r"a\.npy cannot be read"),
        ("a.parquet", pd.DataFrame({"t": ["x"] * 600}), r"a\.parquet has shape \(600, 0\)"),
        ("a.npy", None, r"a\.npy cannot be read"),
    ],
)
def test_a_file_that_is_no_matrix_of_these_rows_is_refused(folder, tmp_path, name, values, said):
    path = tmp_path / name
    if isinstance(values, pd.DataFrame):
        values.to_parquet(path)
    elif values is not None:
        np.save(path, values)
    with pytest.raises(InvalidInputError, match=said):
        opened(first_store(folder), [], [("a", str(path))])


def test_odd_values_are_counted_and_a_missing_matrix_is_named(folder, tmp_path):
    values = np.zeros((N_ROWS, 2))
    values[[0, 5], 1] = np.nan, np.inf
    np.save(tmp_path / "a.npy", values)
    (found,) = opened(first_store(folder), [], [("mine", str(tmp_path / "a.npy"))])
    with pytest.raises(InvalidInputError, match="mine has NaN or infinite values in 2 of 600 rows"):
        found.at(ROWS, None)
    with pytest.raises(InvalidInputError, match=r"no 'X_umap' in obsm, but X_theirs"):
        opened(first_store(folder), ["X_umap"], [])


def test_raw_scores_of_all_rows_are_those_that_are_scored(folder):
    first = first_store(folder, "out.zarr")
    raw, _ = read_embeddings([first], ROWS)
    np.testing.assert_allclose(read_raw(first.before)[ROWS], raw.scores, atol=1e-5)


def test_sphering_is_given_the_raw_scores_and_the_controls(folder):
    """By scikit-learn, which this Python has."""
    told = []
    first = first_store(folder, "out.zarr")
    asked = PeerMethods(["sphering", "sphering"], None, first, CONTROL)
    (found,) = asked.corrected(["plate"], 0, lambda stage: told.append(stage.name))
    raw = read_raw(first.before)
    fitted = LedoitWolf().fit(raw[np.arange(N_ROWS) % 3 == 0])
    back = found.values @ sqrtm(fitted.covariance_) + fitted.location_
    np.testing.assert_allclose(back, raw, atol=1e-6)
    assert not found.is_in_unit
    assert told == ["reading raw scores", "correcting by sphering"]
    assert list(asked.versions()) == ["scikit-learn"]


@pytest.mark.parametrize(
    ("names", "python", "control", "said"),
    [
        (["mnn"], None, CONTROL, "'mnn' is none of the other methods: harmony, combat, sphering"),
        (["sphering"], None, None, "sphering needs negative controls: name them by control"),
        (["combat"], "/nowhere/python", None, "/nowhere/python cannot be started: No such file"),
    ],
)
def test_a_method_that_cannot_run_is_refused_before_anything_is_read(
    folder, names, python, control, said
):
    with pytest.raises(InvalidInputError, match=said):
        PeerMethods(names, python, first_store(folder), control)


def test_a_missing_module_is_named_with_its_interpreter_and_the_remedy(folder, monkeypatch):
    monkeypatch.setitem(others.PEERS, "harmony", "scvi")
    said = rf"harmony needs scvi, which {sys.executable} does not have: {sys.executable} -m pip "
    with pytest.raises(InvalidInputError, match=said + "install scvi-tools, or give another"):
        PeerMethods(["harmony"], None, first_store(folder), None)


def test_an_interpreter_without_numpy_is_told_what_it_lacks(folder, tmp_path):
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S -E "$@"\n')
    bare.chmod(0o755)
    said = "cannot run other methods .ModuleNotFoundError: No module named 'numpy'.: .* -m pip"
    with pytest.raises(InvalidInputError, match=said):
        PeerMethods(["combat"], str(bare), first_store(folder), None)


def test_methods_need_raw_scores(folder):
    first = first_store(folder, "out.zarr", raw=False)
    with pytest.raises(InvalidInputError, match="give its input as the first store"):
        PeerMethods(["sphering"], None, first, CONTROL)


@pytest.mark.skipif("BALANS_PEERS" not in os.environ, reason="BALANS_PEERS names no interpreter")
def test_harmony_and_combat_keep_the_unit_of_raw(folder):
    first = first_store(folder, "out.zarr")
    asked = PeerMethods(["harmony", "combat"], os.environ["BALANS_PEERS"], first, None)
    raw = read_raw(first.before)
    for one in asked.corrected(["plate"], 0, lambda stage: None):
        assert one.is_in_unit
        assert 0.5 < one.values.var(axis=0).sum() / raw.var(axis=0).sum() < 1.1
        moved = np.abs(one.values - raw).max()
        assert 0.1 < moved < 10


def test_a_method_that_gives_other_rows_has_failed(folder, monkeypatch):
    asked = PeerMethods(["sphering"], None, first_store(folder), CONTROL)
    monkeypatch.setattr(
        others.Peers, "answer", lambda *given: type("Answer", (), {"embedding": np.zeros((3, 2))})
    )
    with pytest.raises(RunError, match=r"sphering gave an array of shape \(3, 2\) for 600 rows"):
        list(asked.corrected(["plate"], 0, lambda stage: None))
