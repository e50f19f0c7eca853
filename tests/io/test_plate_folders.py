"""Folders of per-plate files as the Cell Painting Gallery lays them out."""

import anndata
import numpy as np
import pandas as pd
import pytest

from balans_dask.cli.app import run
from balans_dask.errors import InvalidInputError
from balans_dask.io.tables.convert import convert_table

WELLS = ["A01", "A02", "B01"]


def plate(number, **columns):
    values = np.arange(6, dtype=np.float32).reshape(3, 2) + 10 * number
    return pd.DataFrame(
        {"Metadata_Well": WELLS, "Cells_a": values[:, 0], "Nuclei_b": values[:, 1]} | columns
    )


def write(table, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        table.to_parquet(path)
    else:
        table.to_csv(path, index=False)


def converted(source, tmp_path, **options):
    convert_table(str(source), str(tmp_path / "o.zarr"), **options)
    return anndata.read_zarr(tmp_path / "o.zarr")


@pytest.fixture
def gallery(tmp_path):
    """Two batches of plates, of one source."""
    return tmp_path / "cpg/source_4/workspace/profiles"


@pytest.mark.parametrize("name", ["{}.parquet", "{}_normalized.csv.gz"])
def test_plates_follow_each_other_in_natural_order_and_tell_where_they_lie(tmp_path, gallery, name):
    for number in (10, 2, 1):
        batch = f"2021_{'b' if number == 10 else 'a'}"
        write(plate(number), gallery / batch / f"P{number}" / name.format(f"P{number}"))
    data = converted(tmp_path / "cpg", tmp_path)
    assert data.obs["Metadata_Plate"].tolist() == [p for p in ("P1", "P2", "P10") for _ in WELLS]
    assert data.obs["Metadata_Batch"].tolist() == ["2021_a"] * 6 + ["2021_b"] * 3
    assert set(data.obs["Metadata_Source"]) == {"source_4"}
    assert data.obs["Metadata_Well"].tolist() == WELLS * 3
    np.testing.assert_array_equal(data.X[3:6], plate(2)[["Cells_a", "Nuclei_b"]])


def test_a_batch_is_known_by_its_place_in_profiles_wherever_one_begins(tmp_path, gallery):
    write(plate(1), gallery / "day1/P1/P1.parquet")
    data = converted(gallery / "day1", tmp_path)
    assert set(data.obs["Metadata_Batch"]) == {"day1"}
    assert set(data.obs["Metadata_Source"]) == {"source_4"}


def test_columns_of_the_tables_win_over_their_place(tmp_path, gallery):
    write(plate(1, Metadata_Plate=["BR1"] * 3), gallery / "day1/P1/P1.parquet")
    data = converted(gallery, tmp_path)
    assert set(data.obs["Metadata_Plate"]) == {"BR1"}
    assert set(data.obs["Metadata_Batch"]) == {"day1"}


def test_folders_of_another_layout_tell_nothing(tmp_path):
    write(plate(1), tmp_path / "mine/first/wells_1.parquet")
    write(plate(2), tmp_path / "mine/first/wells_2.parquet")
    assert list(converted(tmp_path / "mine", tmp_path).obs.columns) == ["Metadata_Well"]


def test_features_may_come_in_another_order_but_not_be_others(tmp_path):
    folder = tmp_path / "plates"
    write(plate(1), folder / "P1.csv")
    write(plate(2)[["Nuclei_b", "Metadata_Well", "Cells_a"]], folder / "P2.csv")
    np.testing.assert_array_equal(
        converted(folder, tmp_path).X[3:], plate(2)[["Cells_a", "Nuclei_b"]]
    )
    write(plate(3).drop(columns="Cells_a").assign(new=1.0), folder / "P3.csv")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InvalidInputError, match=r"P3.csv lacks 1 and adds 1 .*Cells_a, new"):
        convert_table(str(folder), str(tmp_path / "p.zarr"))
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (
            ["day1/P1/P1_augmented.parquet", "day1/P1/P1_normalized.parquet"],
            r"2 tables in 2 variants \(day1/P1/P1_augmented.parquet, day1/P1/P1_normalized",
        ),
        (["P1/P1.parquet", "P1/P1_outliers.parquet"], r"--pattern, such as '\*_outliers.parquet'"),
        (["P1_augmented.csv", "P2_normalized.csv"], r"2 variants \(P1_augmented.csv, P2_normal"),
        (["P1.parquet", "P1.csv.gz"], r"2 variants \(P1.csv.gz, P1.parquet\)"),
    ],
)
def test_plates_in_several_variants_are_refused(tmp_path, names, reason):
    for name in names:
        write(plate(1), tmp_path / "plates" / name)
    with pytest.raises(InvalidInputError, match=reason):
        convert_table(str(tmp_path / "plates"), str(tmp_path / "o.zarr"))
    assert [path.name for path in tmp_path.iterdir()] == ["plates"]


def test_a_pattern_chooses_one_variant(tmp_path):
    for number in (1, 2):
        write(plate(number), tmp_path / f"plates/P{number}/P{number}_augmented.csv.gz")
        write(plate(9), tmp_path / f"plates/P{number}/P{number}_normalized.csv.gz")
    data = converted(tmp_path / "plates", tmp_path, pattern="*_augmented.csv.gz")
    np.testing.assert_array_equal(data.X[:3], plate(1)[["Cells_a", "Nuclei_b"]])
    assert data.n_obs == 6
    with pytest.raises(InvalidInputError, match=r"none of the 4 tables .* matches .*'\*.txt'"):
        convert_table(str(tmp_path / "plates"), str(tmp_path / "p.zarr"), pattern="*.txt")


def test_a_pattern_is_an_option_and_has_no_meaning_for_one_file(tmp_path, capsys):
    write(plate(1), tmp_path / "plates/a/P1.parquet")
    write(plate(2), tmp_path / "plates/b/P2.parquet")
    arguments = ["convert", str(tmp_path / "plates"), str(tmp_path / "o.zarr")]
    assert run([*arguments, "--pattern", "b/*"]) == 0
    assert anndata.read_zarr(tmp_path / "o.zarr").n_obs == 3
    one = str(tmp_path / "plates/a/P1.parquet")
    assert run(["convert", one, str(tmp_path / "p.zarr"), "--pattern", "*"]) == 2
    assert "is one file" in capsys.readouterr().err


def test_real_plates_from_the_gallery_to_corrected_tables_by_plate(real_data, tmp_path, gallery):
    wells = pd.read_parquet(real_data / "cpjump1_compound_csn.parquet")
    for name, rows in wells.groupby("Metadata_Plate", observed=True):
        write(rows.drop(columns="Metadata_Plate"), gallery / f"2020_11_04/{name}/{name}.parquet")
    stores = [str(tmp_path / f"{name}.zarr") for name in "APB"]
    plate_key = ["--by", "Metadata_Plate"]
    turns = ["--batch-order", "--batch-key", "Metadata_half", "--batch-key", "Metadata_Plate",
             "--operator", "smooth"]  # fmt: skip
    assert run(["convert", str(tmp_path / "cpg"), stores[0], "--preset", "jump"]) == 0
    steps = ["--normalize", "standardize", *plate_key, "--select", "flat,correlation"]
    assert run(["preprocess", *stores[:2], *steps]) == 0
    data = anndata.read_zarr(stores[1])
    assert set(data.obs["Metadata_Batch"]) == {"2020_11_04"}
    for _, rows in data.obs.groupby("Metadata_Plate", observed=True):
        np.testing.assert_allclose(data[rows.index].X.mean(axis=0), 0, atol=1e-4)
    data.obs["Metadata_half"] = data.obs["Metadata_Plate"].astype(str) > "BR00117011"
    data.write_zarr(tmp_path / "H.zarr")
    assert run(["correct", str(tmp_path / "H.zarr"), stores[2], *turns, "--quiet"]) == 0
    assert run(["export", stores[2], str(tmp_path / "out"), *plate_key]) == 0
    tables = sorted((tmp_path / "out").glob("*.parquet"))
    assert [table.stem for table in tables] == sorted(wells["Metadata_Plate"].unique())
    first = pd.read_parquet(tables[0])
    assert list(first.columns[:4]) == ["Metadata_Source", "Metadata_Batch", "Metadata_Plate",
                                       "Metadata_Well"]  # fmt: skip
    assert len(first) == 320
