"""A preset is the default of other options, which win over it."""

import json

import anndata
import numpy as np
import pandas as pd
import pytest

from balans_dask.cli.app import cli, run
from balans_dask.cli.options import PRESETS
from balans_dask.model.anchors import rows_by_query
from tests.support.screens import gaussian_screen
from tests.support.stores import write_anndata

SCREEN = gaussian_screen(300, n_features=4)
CODES = np.array(["JCP2022_033924", "JCP2022_000001", "JCP2022_800002", "JCP2022_999999"])


def table():
    values = SCREEN.profiles
    return pd.DataFrame(
        {
            "Metadata_Source": "source_1",
            "Metadata_Plate": SCREEN.batch,
            "Metadata_JCP2022": CODES[SCREEN.label % 4],
            "Image_Metadata_Well": "A01",
            "Image_FileName_DNA": "a.tif",
            "Image_Granularity": values[:, 3],
            "TableNumber": np.arange(300),
            "Cells_a": values[:, 0],
            "Nuclei_b": values[:, 1],
            "X_1": values[:, 2],
        }
    )


@pytest.fixture(params=["t.parquet", "t.csv"])
def source(request, tmp_path):
    path = tmp_path / request.param
    table().to_parquet(path) if path.suffix == ".parquet" else table().to_csv(path, index=False)
    return str(path)


@pytest.mark.parametrize(
    ("options", "features"),
    [
        ([], ["Image_Granularity", "TableNumber", "Cells_a", "Nuclei_b", "X_1"]),
        (["--preset", "jump"], ["TableNumber", "Cells_a", "Nuclei_b", "X_1"]),
        (["--preset", "cellprofiler"], ["Cells_a", "Nuclei_b"]),
        (
            ["--preset", "cellprofiler", "--feature-prefix", "Cells_", "--feature-prefix", "Image"],
            ["Image_Granularity", "Cells_a"],
        ),
        (["--feature-prefix", "X_"], ["X_1"]),
        (["--leave-out", "Table", "--preset", "jump"], ["Image_Granularity", "Cells_a",
                                                        "Nuclei_b", "X_1"]),
    ],
)  # fmt: skip
def test_which_columns_are_features(tmp_path, source, options, features):
    assert run(["convert", source, str(tmp_path / "o.zarr"), *options]) == 0
    data = anndata.read_zarr(tmp_path / "o.zarr")
    assert list(data.var_names) == features
    assert {"Metadata_Plate", "Image_Metadata_Well"} <= set(data.obs.columns)
    np.testing.assert_array_equal(data.X, table()[features].to_numpy(np.float32))


def test_what_is_left_out_is_said_and_recorded(tmp_path, source, capsys):
    assert run(["convert", source, str(tmp_path / "o.zarr"), "--preset", "cellprofiler"]) == 0
    said = capsys.readouterr().out
    assert "2 columns (Image_FileName_DNA, Image_Granularity)" in said
    assert "begins with Cells_ or Cytoplasm_ or Nuclei_" in " ".join(said.replace("│", "").split())
    data = anndata.read_zarr(tmp_path / "o.zarr")
    assert not {"Image_FileName_DNA", "Image_Granularity"} & set(data.obs.columns)
    assert "TableNumber" in data.obs
    record = data.uns["balans_convert"]
    assert record["features"] == "Cells_, Cytoplasm_, Nuclei_"
    assert record["n_left_out"] == 2


def test_a_table_without_such_features_is_refused(tmp_path, source, capsys):
    assert run(["convert", source, str(tmp_path / "o.zarr"), "--feature-prefix", "Foci_"]) == 2
    assert "a numeric column is one if it begins with Foci_" in capsys.readouterr().err


def store_of(tmp_path):
    return write_anndata(
        tmp_path / "in.zarr",
        SCREEN.profiles,
        Metadata_Batch=SCREEN.batch,
        Metadata_JCP2022=CODES[SCREEN.label % 4],
        Metadata_Plate=np.char.add(SCREEN.batch, np.where(np.arange(300) % 2, "a", "b")),
    )


def test_the_batch_is_that_of_the_preset_unless_a_flag_names_another(tmp_path, capsys):
    store = store_of(tmp_path)
    assert run(["check", store, "--preset", "jump"]) == 0
    assert "Metadata_Batch" in capsys.readouterr().out
    preset = ["--preset", "jump", "--operator", "smooth"]
    for name, options in {"a": preset, "b": [*preset, "--batch-key", "Metadata_Plate"]}.items():
        assert run(["correct", store, str(tmp_path / f"{name}.zarr"), *options]) == 0
        assert "batch key: Metadata_" in capsys.readouterr().out
    keys = [anndata.read_zarr(tmp_path / f"{n}.zarr").uns["balans"]["parameters"]["batch_key"]
            for n in "ab"]  # fmt: skip
    assert [list(key) for key in keys] == [["Metadata_Batch"], ["Metadata_Plate"]]


def test_without_preset_and_flag_the_batch_key_is_asked_for(tmp_path, capsys):
    assert run(["check", store_of(tmp_path)]) == 2
    assert "--batch-key" in capsys.readouterr().err


def test_evaluate_takes_label_and_controls_from_the_preset(tmp_path):
    pytest.importorskip("scib_metrics")
    store, out = store_of(tmp_path), str(tmp_path / "out.zarr")
    assert run(["correct", store, out, "--preset", "jump", "--quiet"]) == 0
    scores = tmp_path / "scores.json"
    assert run(["evaluate", out, "--preset", "jump", "--json", str(scores)]) == 0
    facts = json.loads(scores.read_text())["facts"]
    assert (facts["batch_key"], facts["label_key"]) == ("Metadata_Batch", "Metadata_JCP2022")
    assert facts["control"] == PRESETS["jump"].controls


def test_commands_that_ask_for_labels_and_controls_take_them_from_the_preset():
    def values(command, *arguments):
        context = cli.commands[command].make_context(command, [*arguments, "--preset", "jump"])
        return context.params

    jump = PRESETS["jump"]
    found = values("evaluate", "out.zarr")
    assert found["batch_keys"] == jump.batch_keys
    assert (found["label_key"], found["control"]) == (jump.label_key, jump.controls)
    assert values("evaluate", "out.zarr", "--label-key", "moa")["label_key"] == "moa"
    assert values("report", "out.zarr", "--html", "out.html")["control"] == jump.controls
    assert values("sweep", "in.zarr")["label_key"] == jump.label_key
    found = values("preprocess", "in.zarr", "out.zarr", "--controls", "Metadata_x == 1")
    assert (found["plate_keys"], found["controls"]) == (jump.plate_keys, "Metadata_x == 1")


def test_negative_controls_of_jump_are_dmso_and_its_stand_ins():
    found = rows_by_query(pd.DataFrame({"Metadata_JCP2022": CODES}), PRESETS["jump"].controls)
    assert found.tolist() == [True, False, True, False]


def test_a_preset_fits_an_h5ad_file_only_by_its_keys(tmp_path, capsys):
    anndata.AnnData(SCREEN.profiles).write_h5ad(tmp_path / "t.h5ad")
    path = str(tmp_path / "t.h5ad")
    assert run(["convert", path, str(tmp_path / "o.zarr"), "--preset", "cellprofiler"]) == 2
    assert "says itself what its features are" in capsys.readouterr().err


def test_real_cellprofiler_wells(real_data, tmp_path):
    source = str(real_data / "bbbc021_well.parquet")
    assert run(["convert", source, str(tmp_path / "o.zarr"), "--preset", "cellprofiler"]) == 0
    data = anndata.read_zarr(tmp_path / "o.zarr")
    assert data.shape == (632, 459)
    assert all(name.startswith(("Cells_", "Cytoplasm_", "Nuclei_")) for name in data.var_names)
    controls = rows_by_query(data.obs, PRESETS["cellprofiler"].controls)
    assert controls.sum() == 330
