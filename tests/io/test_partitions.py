"""Folders named NAME=VALUE, as Hive, Spark, Dask and pandas write them, tell a column."""

import anndata
import numpy as np
import pandas as pd
import pytest

from balans_dask.errors import InvalidInputError
from balans_dask.io.tables.columns import ColumnRule
from balans_dask.io.tables.convert import convert_table

SUFFIXES = ["parquet", "csv", "csv.gz"]


def write(folder, places, suffix="parquet", **columns):
    """A file of two rows in every place."""
    for number, place in enumerate(places):
        path = folder / place / f"part-{number}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        table = pd.DataFrame({"Metadata_Well": ["A01", "A02"], "f": [number, number + 0.5]})
        table = table.assign(**{name: values[number] for name, values in columns.items()})
        table.to_parquet(path) if suffix == "parquet" else table.to_csv(path, index=False)
    return folder


def converted(folder, tmp_path, **options):
    convert_table(str(folder), str(tmp_path / "o.zarr"), overwrite=True, **options)
    return anndata.read_zarr(tmp_path / "o.zarr")


def refused(folder, tmp_path, reason):
    with pytest.raises(InvalidInputError, match=reason) as caught:
        convert_table(str(folder), str(tmp_path / "o.zarr"))
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["t"]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("folders", "values"),
    [
        (["a=1", "a=2", "a=10"], [1, 2, 10]),
        (["a=-1", "a=1099511627776"], [-1, 2**40]),
        (["a=0012", "a=13"], ["0012", "13"]),
        (["a=12", "a=x"], ["12", "x"]),
        (["a=%2B1", "a=+2"], ["+1", "+2"]),
        (["a=x%2Fy", "a=%C3%A9=b c"], ["é=b c", "x/y"]),
        (["a=", "a=b"], ["", "b"]),
        (["a=x", "a=__HIVE_DEFAULT_PARTITION__"], [None, "x"]),
        (["a=3", "a=__HIVE_DEFAULT_PARTITION__"], [3, None]),
        (["a=10000000000000000000000", "a=1"], ["1", "1" + "0" * 22]),
    ],
)
def test_names_of_folders_are_columns(tmp_path, suffix, folders, values):
    data = converted(write(tmp_path / "t", folders, suffix), tmp_path)
    assert list(data.var_names) == ["f"]
    found = data.obs["a"].astype(object).where(data.obs["a"].notna(), None)
    expected = [value for value in values for _ in range(2)]
    assert sorted(map(repr, found)) == sorted(map(repr, expected))
    assert data.obs["Metadata_Well"].tolist() == ["A01", "A02"] * len(folders)


def test_each_row_has_the_values_of_its_file_at_any_depth(tmp_path):
    places = ["a=1/Metadata%5FPlate=P1/x", "a=1/Metadata%5FPlate=P2", "a=2", "plain"]
    data = converted(write(tmp_path / "t", places), tmp_path)
    order = np.argsort(data.X[:, 0])
    plates = data.obs["Metadata_Plate"].iloc[order]
    assert plates.iloc[:4].tolist() == ["P1", "P1", "P2", "P2"]
    assert plates.iloc[4:].isna().all()
    assert data.obs["a"].iloc[order].tolist()[:6] == [1, 1, 1, 1, 2, 2]
    assert data.obs["a"].isna().sum() == 2


@pytest.mark.parametrize("place", ["_b=3", "a=3/_temporary", "_old", "."])
def test_what_begins_with_an_underscore_is_no_data_to_pandas_nor_here(tmp_path, place):
    folder = write(tmp_path / "t", ["a=1", "a=2"])
    torn = folder / place / "_part-9.parquet"
    torn.parent.mkdir(parents=True, exist_ok=True)
    torn.write_bytes(b"half a table")
    if place != ".":
        torn.rename(torn.with_name("part-9.parquet"))
    assert len(pd.read_parquet(folder)) == 4
    assert converted(folder, tmp_path).obs["a"].tolist() == [1, 1, 2, 2]


def test_a_table_that_pandas_has_partitioned_comes_back(tmp_path):
    table = pd.DataFrame(
        {"Metadata_Plate": ["P/1", "P 2", "P=3", "é"] * 3, "week": [1, 2] * 6, "f": np.arange(12.0)}
    )
    table.to_parquet(tmp_path / "t", partition_cols=["Metadata_Plate", "week"])
    data = converted(tmp_path / "t", tmp_path)
    order = np.argsort(data.X[:, 0])
    for name in ("Metadata_Plate", "week"):
        assert data.obs[name].iloc[order].tolist() == table[name].tolist()
    assert list(data.var_names) == ["f"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_column_that_the_files_have_too_must_say_the_same(tmp_path, suffix):
    folders = ["Metadata_a=1", "Metadata_a=2"]
    data = converted(write(tmp_path / "t", folders, suffix, Metadata_a=[1, 2]), tmp_path)
    assert data.obs["Metadata_a"].tolist() == [1, 1, 2, 2]
    data = converted(write(tmp_path / "t", folders, suffix, Metadata_a=["1", "2"]), tmp_path)
    assert data.obs["Metadata_a"].astype(str).tolist() == ["1", "1", "2", "2"]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("folders", "values", "reason"),
    [
        (["Metadata_a=1", "Metadata_a=2"], [1, 3], "folder Metadata_a=2, and has 3 in column"),
        (["Metadata_a=x", "Metadata_a=y"], ["x", None], "Metadata_a=y, and has nothing in column"),
        (["Metadata_a=x", "Metadata_a=__HIVE_DEFAULT_PARTITION__"], ["x", "y"],
         "folder Metadata_a=__HIVE_DEFAULT_PARTITION__, and has y in column Metadata_a: rename"),
    ],
)  # fmt: skip
def test_a_column_of_the_files_that_says_otherwise_is_refused(
    tmp_path, suffix, folders, values, reason
):
    refused(write(tmp_path / "t", folders, suffix, Metadata_a=values), tmp_path, reason)


@pytest.mark.parametrize(
    ("folders", "reason"),
    [
        (["a=1/a=2"], r"part-0.parquet of .* lies in folders with two values of a: rename one"),
        (["a=%FF"], "has a folder a=%FF, which is no text in UTF-8"),
        (["a=x%00y"], r"NUL character in 2 labels of 1 columns \(a\)"),
        (["f=3"], r"1 columns of numbers that its folders tell as well \(f\): .*--metadata-prefix"),
    ],
)
def test_folders_that_cannot_be_columns_are_refused(tmp_path, folders, reason):
    refused(write(tmp_path / "t", folders), tmp_path, reason)


def test_a_rule_says_what_becomes_of_the_columns_of_folders(tmp_path):
    folder = write(tmp_path / "t", ["Image_a=1/b=2", "Image_a=2/b=2"], b=[2, 2])
    rule = ColumnRule(annotations=("Metadata_", "b"), left_out=("Image_",))
    data = converted(folder, tmp_path, rule=rule)
    assert list(data.obs.columns) == ["Metadata_Well", "b"]
    assert list(data.var_names) == ["f"]


def test_columns_of_folders_win_over_the_layout_of_the_gallery(tmp_path):
    for batch in ("B1", "B2"):
        folder = tmp_path / "t/workspace/profiles" / f"Metadata_Batch={batch}" / f"{batch}P"
        folder.mkdir(parents=True)
        pd.DataFrame({"f": [1.0]}).to_parquet(folder / f"{batch}P.parquet")
    data = converted(tmp_path / "t", tmp_path)
    assert data.obs["Metadata_Batch"].tolist() == ["B1", "B2"]
    assert data.obs["Metadata_Plate"].tolist() == ["B1P", "B2P"]
