"""Annotations are tried before the work, and a finished store is read once more."""

import errno
import json
import os
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest

from balans_dask.errors import InvalidInputError, RunError
from balans_dask.io.layout import consolidate, create_matrix, create_root, write_annotations
from balans_dask.io.trial import require_readable, try_annotations
from tests.support.stores import files

TWINS = {
    "case": ("Plate", "plate"),
    "Unicode": ("pl\u00e4te", "pla\u0308te"),
    "width": ("plate", "\uff50late"),
}


def table(*names, n_rows=4):
    return pd.DataFrame(
        {name: pd.Categorical(["a", "b"] * (n_rows // 2)) for name in names},
        index=[f"c{i}" for i in range(n_rows)],
    )


def store_of(path, obs, n_features=2):
    root = create_root(path)
    matrix = create_matrix(root, "X", (len(obs), n_features), np.dtype("f4"), (len(obs), len(obs)))
    matrix[:] = 1.0
    var = pd.DataFrame(index=[f"f{i}" for i in range(n_features)])
    write_annotations(root, {"obs": obs, "var": var, "uns/balans": {"a": 1}})
    return root


def test_what_can_be_written_passes_and_leaves_nothing(tmp_path):
    odd = table("plate", "a b", "\u00e9t\u00e9", "x\ny", "c", "__x", "-", "a" * 255)
    try_annotations("in.zarr", {"obs": odd}, ["obsm/X_pca"], tmp_path / "out.zarr")
    assert not list(tmp_path.iterdir())


def test_a_later_column_of_a_type_that_cannot_be_written_is_refused(tmp_path):
    obs = table("plate").assign(month=pd.period_range("2026-01", periods=4, freq="M"))
    with pytest.raises(InvalidInputError, match=r"month.*rename or remove"):
        try_annotations("in.zarr", {"obs": obs}, (), tmp_path / "out.zarr")


@pytest.mark.parametrize("n_made", range(3), ids=["trial", "group", "name"])
def test_a_full_disk_says_nothing_about_a_name(tmp_path, monkeypatch, n_made):
    make, made = os.mkdir, []

    def mkdir(*args, **kwargs):
        if len(made) == n_made:
            raise OSError(errno.ENOSPC, "No space left on device")
        made.append(args)
        make(*args, **kwargs)

    monkeypatch.setattr(os, "mkdir", mkdir)
    with pytest.raises(OSError, match="No space left") as raised:
        try_annotations("in.zarr", {"obs": table("a b")}, (), tmp_path / "out.zarr")
    assert raised.value.errno == errno.ENOSPC
    assert not list(tmp_path.iterdir())


def test_plain_names_need_no_trial_on_the_disk(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "mkdir")
    try_annotations("in.zarr", {"obs": table("plate")}, ["obsm/X_pca"], tmp_path / "out.zarr")


NO_SURROGATES = pytest.mark.skipif(
    int(pd.__version__.split(".")[0]) >= 3, reason="pandas 3 itself has no such names"
)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a/b", "a/b: .*slash"),
        ("_index", "reserved"),
        ("x\0y", "null (byte|character)"),
        ("a" * 256, "File name too long"),
        ("\u00e9" * 128, "File name too long"),
        ("..", r"\.\."),
        pytest.param("\ud800", "surrogates", marks=NO_SURROGATES),
    ],
)
def test_a_name_that_cannot_be_written_is_refused(tmp_path, name, reason):
    with pytest.raises(InvalidInputError, match=f"(?i){reason}") as refused:
        try_annotations("in.zarr", {"obs": table(name)}, (), tmp_path / "out.zarr")
    assert "rename" in str(refused.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["zarr.json", "X" * 256, "\0", ".."])
def test_a_matrix_of_such_a_name_is_refused(tmp_path, name):
    with pytest.raises(InvalidInputError, match=r"obsm/.*rename"):
        try_annotations("in.zarr", {}, [f"obsm/{name}"], tmp_path / "out.zarr")


def test_columns_of_one_name_are_refused(tmp_path):
    with pytest.raises(InvalidInputError, match="a store cannot hold"):
        try_annotations("in.zarr", {"obs": table("a").iloc[:, [0, 0]]}, (), tmp_path / "out.zarr")


@pytest.mark.parametrize("names", TWINS.values(), ids=TWINS)
def test_columns_that_differ_in_case_or_unicode_only_are_all_read_again(tmp_path, names):
    obs = table(*names)
    try_annotations("in.zarr", {"obs": obs}, (), tmp_path / "out.zarr")
    store_of(tmp_path / "s.zarr", obs)
    consolidate(tmp_path / "s.zarr")
    pd.testing.assert_frame_equal(anndata.read_zarr(tmp_path / "s.zarr").obs, obs)


def test_other_stores_are_listed_as_zarr_does(tmp_path):
    store_of(tmp_path / "s.zarr", table("plate", "Zebra", "ant"))
    consolidate(tmp_path / "s.zarr")
    listed = json.loads((tmp_path / "s.zarr/zarr.json").read_text())
    columns = [name for name in listed["consolidated_metadata"]["metadata"] if "obs/" in name]
    assert columns[:4] == ["obs/_index", "obs/ant", "obs/plate", "obs/Zebra"]


def test_twins_are_refused_where_the_file_system_takes_them_for_one(tmp_path, monkeypatch):
    make = Path.mkdir

    def mkdir(self, *args, exist_ok=False, **kwargs):
        if not exist_ok and self.parent.is_dir():
            there = {path.name.casefold() for path in self.parent.iterdir()}
            if self.name.casefold() in there:
                raise FileExistsError(self)
        make(self, *args, exist_ok=exist_ok, **kwargs)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    try_annotations("in.zarr", {"obs": table("Plate", "well")}, (), tmp_path / "out.zarr")
    with pytest.raises(InvalidInputError, match="obs/plate and another name are one"):
        try_annotations("in.zarr", {"obs": table("Plate", "plate")}, (), tmp_path / "out.zarr")


def cut(store):
    (store / "obs/plate/codes/c/0").write_bytes(b"\0")


def without_a_column(store):
    document = json.loads((store / "zarr.json").read_text())
    del document["consolidated_metadata"]["metadata"]["obs/plate/codes"]
    (store / "zarr.json").write_text(json.dumps(document))


def of_other_rows(store):
    names = ("obs/_index", "obs/plate")
    other = store_of(store.with_name("other.zarr"), table("plate", n_rows=6)).store.root
    for name in names:
        for file, content in files(other / name).items():
            (store / name / file).write_bytes(content)
    consolidate(store)


@pytest.mark.parametrize("damage", [cut, without_a_column, of_other_rows])
def test_a_finished_store_is_read_as_any_reader_would(tmp_path, damage):
    store = tmp_path / "s.zarr"
    store_of(store, table("plate"))
    consolidate(store)
    require_readable(store, "run it again")
    damage(store)
    with pytest.raises(RunError, match=r"cannot be read .* is not put out: run it again"):
        require_readable(store, "run it again")
