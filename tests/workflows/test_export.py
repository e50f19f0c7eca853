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

from balans_dask.cli.app import run
from balans_dask.errors import InvalidInputError, StoreExistsError
from balans_dask.io.store import open_store
from balans_dask.io.tables import export
from balans_dask.io.tables.export import TableFile, file_parts
from balans_dask.workflows.export import export_store
from tests.support.commands import Command
from tests.support.screens import gaussian_screen
from tests.support.stores import files, write_anndata

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


AWKWARD = [
    *("", ".", "..", "/x", "a/b", "../../up", "~", "~2", "a~2", "new\nline", ".hidden", "_hidden"),
    *("con", "NUL.txt", "lpt1", "manifest.json", "A", "a", "plate=3", "end.", "end ", "%2E", "*?"),
    *("(empty)", "P1_normalized", "x" * 300, "x" * 300 + "y", "X" * 300, "化合物" * 10, "é" * 100),
]


def labelled(tmp_path, **obs):
    n = len(next(iter(obs.values())))
    values = np.arange(n * 2, dtype=np.float32).reshape(n, 2)
    return write_anndata(tmp_path / "in.zarr", values, **obs)


@pytest.mark.parametrize("by", [["a"], ["a", "b"], ["b", "a"]])
def test_any_label_names_a_file_of_its_own_within_the_target(tmp_path, by):
    store = labelled(tmp_path, a=np.repeat(AWKWARD, 2), b=["..", "P/1"] * len(AWKWARD))
    manifest = export_store(store, str(tmp_path / "out"), by=by)
    assert sorted(place.name for place in tmp_path.iterdir()) == ["in.zarr", "out"]
    names = [file["path"] for file in manifest["files"]]
    assert set(files(tmp_path / "out")) == {*names, "manifest.json"}
    # Also on a file system that takes upper and lower case as the same.
    folders = {"/".join(name.split("/")[:n]) for name in names for n in range(1, len(by) + 1)}
    assert len({folder.lower() for folder in folders}) == len(folders)
    for part in {part for name in names for part in name.split("/")}:
        assert len(part.encode()) <= 200
        assert part.isascii()
        assert part[0] not in "._ "
        assert "=" not in part
    for file in manifest["files"]:
        rows = pd.read_parquet(tmp_path / "out" / file["path"])
        assert len(rows) == file["rows"]
        assert [set(rows[f"Metadata_{key}"]) for key in by] == [{x} for x in file["labels"]]
    assert run(["convert", str(tmp_path / "out"), str(tmp_path / "back.zarr")]) == 0
    back = anndata.read_zarr(tmp_path / "back.zarr")
    order = np.argsort(back.X[:, 0])
    assert back.obs["Metadata_a"].iloc[order].tolist() == np.repeat(AWKWARD, 2).tolist()


def test_names_of_files_are_cut_at_characters_and_numbered():
    long = "é" * 100
    assert file_parts(["\0", "b", "B", "b", "~2", "b~2", "A=1.", "C", "c"], ".parquet") == [
        f"{name}.parquet"
        for name in ("%00", "b", "B~2", "b~3", "%7E2", "b%7E2", "A%3D1.", "C", "c~2")
    ]
    assert file_parts(["con", "CON.1", "consul", "manifest.json", "a.", ".", ""]) == [
        *("%63on", "%43ON.1", "consul", "%6Danifest.json", "a%2E", "%2E", "(empty)"),
    ]
    assert file_parts([long, long + "a", long.upper()]) == [
        *("%C3%A9" * 31 + "~1", "%C3%A9" * 31 + "~2", "%C3%89" * 31 + "~1"),
    ]
    assert file_parts(["y" * 192, "y" * 193], ".parquet")[0] == "y" * 192 + ".parquet"


def test_a_table_outside_the_folder_is_never_written(tmp_path, store):
    table = TableFile("../elsewhere.parquet", np.arange(2))
    (tmp_path / "out").mkdir()
    with pytest.raises(InvalidInputError, match="would be written outside"):
        export.export_tables(open_store(store), "X", [table], tmp_path / "out")
    assert not (tmp_path / "elsewhere.parquet").exists()


def test_the_table_of_a_hidden_store_is_not_hidden(tmp_path, store):
    (tmp_path / "in.zarr").rename(tmp_path / ".in.zarr")
    export_store(str(tmp_path / ".in.zarr"), str(tmp_path / "out"))
    assert run(["convert", str(tmp_path / "out"), str(tmp_path / "back.zarr")]) == 0
    assert anndata.read_zarr(tmp_path / "back.zarr").n_obs == 500


@pytest.mark.parametrize(
    ("stored", "exported"),
    [("f2", "f4"), ("f4", "f4"), (">f4", "f4"), ("f8", "f8"), ("i2", "f4"), ("i8", "f8")],
)
def test_values_are_exported_as_exactly_as_they_are_stored(tmp_path, stored, exported):
    large = {"f8": 1e300, "i8": 2**40 + 1}.get(stored, 300)
    values = np.array([[large, 1], [3, 0]], dtype=stored)
    values[1, 1] = 1 if stored[-2] == "i" else 1 / 3
    store = write_anndata(tmp_path / "in.zarr", values, obsm={"X_pca": values})
    for matrix in ("X", "X_pca"):
        export_store(store, str(tmp_path / "out.parquet"), matrix, overwrite=True)
        table = pd.read_parquet(tmp_path / "out.parquet").drop(columns="Metadata_row")
        assert set(table.dtypes) == {np.dtype(exported)}
        np.testing.assert_array_equal(table, values)


@pytest.mark.parametrize(
    ("columns", "name"),
    [
        (["row", "column"], "Metadata_row_name"),
        (["Row", "Col"], "Metadata_row_name"),
        (["Metadata_Row", "row_name"], "Metadata_row_label"),
        (["row_number"], "Metadata_row"),
    ],
)
def test_names_of_rows_stand_beside_the_rows_of_a_plate(tmp_path, columns, name):
    store = labelled(tmp_path, **{column: list("AABB") for column in columns})
    export_store(store, str(tmp_path / "out.parquet"))
    table = pd.read_parquet(tmp_path / "out.parquet")
    assert table[name].tolist() == [f"well{i}" for i in range(4)]
    assert len(table.columns) == len(columns) + 3


@pytest.mark.long
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
