"""Stores become parquet tables as JUMP writes them, all of them or none."""

import hashlib
import json
import shutil
import signal

import anndata
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from commands import Command
from screens import gaussian_screen
from stores import files, write_anndata

from balans_dask.cli import run
from balans_dask.errors import InvalidInputError, StoreExistsError
from balans_dask.exporting import export_store
from balans_dask.io import export

SCREEN = gaussian_screen(500, n_features=5)
KEYS = ["Metadata_Source", "Metadata_Plate", "Metadata_Well"]


@pytest.fixture
def store(tmp_path):
    return write_anndata(
        tmp_path / "in.zarr",
        SCREEN.profiles,
        chunks=(64, 5),
        obsm={"X_pca_balans": SCREEN.profiles[:, :2]},
        Metadata_Well=[f"A{i % 24:02}" for i in range(500)],
        Metadata_dose=np.arange(500) / 2,
        Metadata_Plate=pd.Categorical(SCREEN.batch),
        Metadata_Source=SCREEN.label % 2,
        balans_covered=SCREEN.label > 0,
        Metadata_gene=pd.Categorical(np.where(SCREEN.label > 2, None, "TP53")),
    )


def test_metadata_come_first_with_keys_as_text_and_features_keep_their_names(tmp_path, store):
    export_store(store, str(tmp_path / "out.parquet"))
    table = pd.read_parquet(tmp_path / "out.parquet")
    data = anndata.read_zarr(store)
    assert list(table.columns) == [
        *KEYS,
        *("Metadata_dose", "Metadata_balans_covered", "Metadata_gene", "Metadata_row"),
        *data.var_names,
    ]
    assert table["Metadata_Source"].tolist() == (SCREEN.label % 2).astype(str).tolist()
    assert table["Metadata_Plate"].tolist() == SCREEN.batch.tolist()
    assert table["Metadata_dose"].tolist() == data.obs["Metadata_dose"].tolist()
    assert table["Metadata_balans_covered"].dtype == bool
    assert table["Metadata_gene"].isna().tolist() == data.obs["Metadata_gene"].isna().tolist()
    assert table["Metadata_row"].tolist() == list(data.obs_names)
    features = table[list(data.var_names)]
    assert set(features.dtypes) == {np.dtype(np.float32)}
    np.testing.assert_array_equal(features, SCREEN.profiles)


def test_the_manifest_says_what_every_file_holds(tmp_path, store):
    assert run(["export", store, str(tmp_path / "out.parquet")]) == 0
    manifest = json.loads((tmp_path / "out.parquet.manifest.json").read_text())
    [file] = manifest["files"]
    content = (tmp_path / "out.parquet").read_bytes()
    assert file["sha256"] == hashlib.sha256(content).hexdigest()
    assert (file["path"], file["rows"], file["columns"]) == ("out.parquet", 500, 12)
    assert file["bytes"] == len(content)
    assert (manifest["source"], manifest["matrix"]) == ("in.zarr", "X")
    assert "pyarrow" in manifest["versions"]


def test_a_file_for_every_plate_wherever_its_rows_lie(tmp_path, store, monkeypatch):
    # Some groups of rows, gathered a few at a time.
    monkeypatch.setattr(export, "GROUP_BYTES", 64 * 20)
    monkeypatch.setattr(export, "READ_BYTES", 150 * 20)
    out = tmp_path / "out"
    by = ["--by", "Metadata_Source", "--by", "Metadata_Plate"]
    assert run(["export", store, str(out), *by]) == 0
    manifest = json.loads((out / "manifest.json").read_text())
    names = [file["path"] for file in manifest["files"]]
    assert sorted(names) == sorted(
        f"{source}/plate{plate}.parquet" for source in (0, 1) for plate in (0, 1, 2)
    )
    assert sum(file["rows"] for file in manifest["files"]) == 500
    for name in names:
        source, plate = name.removesuffix(".parquet").split("/")
        mine = (SCREEN.label % 2 == int(source)) & (SCREEN.batch == plate)
        table = pd.read_parquet(out / name)
        assert set(table["Metadata_Plate"]) == {plate}
        np.testing.assert_array_equal(table.filter(like="Cells_"), SCREEN.profiles[mine])
        assert table["Metadata_dose"].tolist() == (np.flatnonzero(mine) / 2).tolist()
        assert pq.ParquetFile(out / name).num_row_groups > 1 or mine.sum() <= 64


def test_what_was_exported_by_plate_can_be_converted_again(tmp_path, store):
    export_store(store, str(tmp_path / "out"), by=["Metadata_Plate"])
    assert run(["convert", str(tmp_path / "out"), str(tmp_path / "back.zarr")]) == 0
    back = anndata.read_zarr(tmp_path / "back.zarr")
    order = np.argsort(SCREEN.batch, kind="stable")
    np.testing.assert_array_equal(back.X, SCREEN.profiles[order])
    assert back.obs["Metadata_Plate"].tolist() == SCREEN.batch[order].tolist()


def test_scores_are_called_as_the_jump_recipe_calls_them(tmp_path, store):
    export_store(store, str(tmp_path / "out.parquet"), matrix="X_pca_balans")
    table = pd.read_parquet(tmp_path / "out.parquet")
    assert [name for name in table.columns if not name.startswith("Metadata_")] == ["X_1", "X_2"]
    np.testing.assert_array_equal(table[["X_1", "X_2"]], SCREEN.profiles[:, :2])


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"matrix": "X_umap"}, "no 'X_umap' in obsm"),
        ({"by": ["Metadata_Batch"]}, "no column 'Metadata_Batch' in obs"),
        ({"by": ["Metadata_gene"]}, r"'Metadata_gene' is missing in \d+ of 500 rows"),
    ],
)
def test_what_is_not_there_is_refused_and_nothing_is_left(tmp_path, store, options, reason):
    with pytest.raises(InvalidInputError, match=reason):
        export_store(store, str(tmp_path / "out"), **options)
    assert [path.name for path in tmp_path.iterdir()] == ["in.zarr"]


def test_one_file_cannot_hold_several(tmp_path, store):
    with pytest.raises(InvalidInputError, match="is one file, and --by Metadata_Plate makes"):
        export_store(store, str(tmp_path / "out.parquet"), by=["Metadata_Plate"])


def test_columns_that_get_one_name_are_refused(tmp_path):
    store = write_anndata(tmp_path / "in.zarr", SCREEN.profiles, well=SCREEN.batch,
                          Metadata_well=SCREEN.batch)  # fmt: skip
    with pytest.raises(InvalidInputError, match=r"1 columns .* same name .*\(Metadata_well\)"):
        export_store(store, str(tmp_path / "out.parquet"))


@pytest.mark.parametrize(("name", "by"), [("out.parquet", []), ("out", ["Metadata_Plate"])])
def test_nothing_is_overwritten_unless_asked(tmp_path, store, name, by):
    target = str(tmp_path / name)
    export_store(store, target, by=by)
    before = files(tmp_path)
    with pytest.raises(StoreExistsError, match="--overwrite"):
        export_store(store, target, by=by)
    assert files(tmp_path) == before
    export_store(store, target, "X_pca_balans", by, overwrite=True)
    assert files(tmp_path).keys() == before.keys()
    assert files(tmp_path) != before


def test_a_folder_of_the_users_is_never_replaced(tmp_path, store):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.txt").write_text("mine")
    with pytest.raises(StoreExistsError, match="is not replaced"):
        export_store(store, str(tmp_path / "out"), overwrite=True)
    with pytest.raises(InvalidInputError, match="same place"):
        export_store(store, f"{store}/out.parquet")
    assert files(tmp_path / "out") == {"thesis.txt": b"mine"}
    export_store(store, str(tmp_path / "plates"), by=["Metadata_Plate"])
    (tmp_path / "plates/thesis.txt").write_text("mine")
    with pytest.raises(StoreExistsError, match="is not replaced"):
        export_store(store, str(tmp_path / "plates"), by=["Metadata_Plate"], overwrite=True)
    assert (tmp_path / "plates/thesis.txt").read_text() == "mine"


def test_labels_with_slashes_and_dots_make_plain_names_of_files(tmp_path):
    labels = np.array(["..", "a/b", "BR 1"])[np.arange(500) % 3]
    store = write_anndata(tmp_path / "in.zarr", SCREEN.profiles, Metadata_Plate=labels)
    export_store(store, str(tmp_path / "out"), by=["Metadata_Plate"])
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["%2E..parquet", "BR 1.parquet", "a%2Fb.parquet", "manifest.json"]


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.long)]
)
def test_an_export_killed_half_way_leaves_nothing_in_its_place(tmp_path, number):
    profiles = np.repeat(SCREEN.profiles, 400, axis=0)
    plates = [f"p{i // 100}" for i in range(len(profiles))]
    store = write_anndata(tmp_path / "in.zarr", profiles, chunks=(500, 5), Metadata_Plate=plates)
    out = tmp_path / "out"
    command = Command("export", store, out, "--by", "Metadata_Plate")
    growing = tmp_path / "out.partial/store"
    assert command.wait_for(lambda: growing.is_dir() and len(list(growing.iterdir())) > 20)
    command.send(number)
    code, _, said = command.finish()
    assert not out.exists()
    if number == signal.SIGTERM:
        assert code == 1
        assert "stopped by SIGTERM; nothing was put out: run it again" in said
        assert not (tmp_path / "out.partial").exists()
    export_store(store, str(out), by=["Metadata_Plate"])
    assert len(list(out.glob("*.parquet"))) == 2000
    assert not (tmp_path / "out.partial").exists()
    shutil.rmtree(out)


def test_a_corrected_screen_is_exported_with_its_fingerprint(real_data, tmp_path):
    store, out = tmp_path / "A.zarr", tmp_path / "B.zarr"
    source = real_data / "cpjump1_compound_csn.parquet"
    assert run(["convert", str(source), str(store)]) == 0
    key = ["--batch-key", "Metadata_Plate"]
    assert run(["correct", str(store), str(out), *key, "--quiet"]) == 0
    manifest = export_store(str(out), str(tmp_path / "plates"), by=["Metadata_Plate"])
    data = anndata.read_zarr(out)
    assert manifest["fingerprint"] == data.uns["balans"]["fingerprint"]
    assert [file["rows"] for file in manifest["files"]] == [320] * 4
    table = pd.concat([pd.read_parquet(tmp_path / "plates" / f["path"]) for f in manifest["files"]])
    assert len(table) == 1280
    features = [name for name in table.columns if not name.startswith("Metadata_")]
    assert features == list(data.var_names)
