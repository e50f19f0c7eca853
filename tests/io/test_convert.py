"""Tables become stores: which columns are features, in slabs, whatever the format."""

import gzip
import re

import anndata
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.sparse
import zarr

from balans_dask.cli.app import run
from balans_dask.errors import InvalidInputError, StoreExistsError
from balans_dask.io.tables.columns import ColumnRule, describes_rows
from balans_dask.io.tables.convert import convert_table
from tests.support.screens import gaussian_screen
from tests.support.stores import files

SCREEN = gaussian_screen(500, n_features=4)


def plate_table(rows=slice(None), **columns):
    values = SCREEN.profiles[rows]
    return pd.DataFrame(
        {
            "Metadata_Plate": SCREEN.batch[rows],
            "Metadata_dose": np.arange(len(values)) / 2,
            "Metadata_week": np.arange(len(values)) % 3,
            "Cells_a": values[:, 0],
            "site": ["s1"] * len(values),
            "Nuclei_b": values[:, 1].astype(np.float64),
            "passed": [True] * len(values),
            "embedding_7": values[:, 2],
            "count": np.arange(len(values), dtype=np.int32),
        }
        | columns
    )


FEATURES = ["Cells_a", "Nuclei_b", "embedding_7", "count"]
ANNOTATIONS = ["Metadata_Plate", "Metadata_dose", "Metadata_week", "site", "passed"]


def assert_holds(path, table):
    data = anndata.read_zarr(path)
    assert list(data.var_names) == FEATURES
    assert list(data.obs.columns) == ANNOTATIONS
    np.testing.assert_array_equal(data.X, table[FEATURES].to_numpy(np.float32))
    assert data.X.dtype == np.float32
    for name in ANNOTATIONS:
        assert data.obs[name].tolist() == table[name].tolist()
    return data


def write_parquet(table, path):
    table.to_parquet(path, row_group_size=90)


def write_csv(table, path):
    table.to_csv(path, index=False, float_format="%.9g")


@pytest.mark.parametrize(
    ("name", "write"),
    [("t.parquet", write_parquet), ("t.csv", write_csv), ("t.csv.gz", write_csv)],
)
def test_metadata_and_text_describe_rows_and_other_numbers_are_features(tmp_path, name, write):
    table = plate_table()
    write(table, tmp_path / name)
    found = convert_table(str(tmp_path / name), str(tmp_path / "o.zarr"))
    assert (found.n_rows, found.n_features, found.n_bad_rows) == (500, 4, 0)
    assert_holds(tmp_path / "o.zarr", table)


def test_a_folder_of_plates_becomes_one_store_in_order_of_names(tmp_path):
    folder = tmp_path / "plates"
    for name, rows in (
        ("b/p3", slice(400, 500)),
        ("a/p1", slice(0, 150)),
        ("a/p2", slice(150, 400)),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        columns = ["count", *plate_table().columns[::-1]] if name == "a/p2" else None
        table = plate_table().iloc[rows]
        table = table if columns is None else table[list(dict.fromkeys(columns))]
        write_parquet(table, folder / f"{name}.parquet")
    convert_table(str(folder), str(tmp_path / "o.zarr"))
    assert_holds(tmp_path / "o.zarr", plate_table())


def test_an_index_that_pandas_saved_describes_the_rows(tmp_path):
    table = plate_table().assign(cell=range(500)).set_index(["Metadata_Plate", "cell"])
    table.to_parquet(tmp_path / "t.parquet")
    convert_table(str(tmp_path / "t.parquet"), str(tmp_path / "o.zarr"))
    data = anndata.read_zarr(tmp_path / "o.zarr")
    assert list(data.var_names) == FEATURES
    assert data.obs["Metadata_Plate"].tolist() == SCREEN.batch.tolist()
    assert data.obs["cell"].tolist() == list(range(500))


def test_files_that_lack_a_feature_are_refused(tmp_path):
    folder = tmp_path / "plates"
    folder.mkdir()
    write_parquet(plate_table(), folder / "p1.parquet")
    write_parquet(plate_table().drop(columns="Cells_a").assign(new=1.0), folder / "p2.parquet")
    with pytest.raises(InvalidInputError, match=r"p2.parquet lacks 1 and adds 1 .*Cells_a, new"):
        convert_table(str(folder), str(tmp_path / "o.zarr"))
    assert [path.name for path in tmp_path.iterdir()] == ["plates"]


def test_metadata_of_different_types_become_text(tmp_path):
    folder = tmp_path / "plates"
    folder.mkdir()
    write_parquet(plate_table(slice(0, 100), Metadata_well=["A01"] * 100), folder / "p1.parquet")
    write_parquet(plate_table(slice(100, 150), Metadata_well=[7] * 50), folder / "p2.parquet")
    write_parquet(plate_table(slice(150, 200)), folder / "p3.parquet")
    convert_table(str(folder), str(tmp_path / "o.zarr"))
    wells = anndata.read_zarr(tmp_path / "o.zarr").obs["Metadata_well"]
    assert wells[:150].tolist() == ["A01"] * 100 + ["7"] * 50
    assert wells[150:].isna().all()


@pytest.mark.parametrize("sparse", [False, True])
def test_h5ad_keeps_annotations_and_embeddings(tmp_path, sparse):
    obs = pd.DataFrame({"plate": pd.Categorical(SCREEN.batch)}, index=[f"w{i}" for i in range(500)])
    matrix = scipy.sparse.csr_matrix(SCREEN.profiles) if sparse else SCREEN.profiles
    names = pd.DataFrame({"kind": list("abcd")}, index=list("wxyz"))
    data = anndata.AnnData(matrix, obs, names, obsm={"X_pca": SCREEN.profiles[:, :2]})
    data.write_h5ad(tmp_path / "t.h5ad")
    convert_table(str(tmp_path / "t.h5ad"), str(tmp_path / "o.zarr"))
    found = anndata.read_zarr(tmp_path / "o.zarr")
    np.testing.assert_array_equal(found.X, SCREEN.profiles)
    np.testing.assert_array_equal(found.obsm["X_pca"], SCREEN.profiles[:, :2])
    pd.testing.assert_frame_equal(found.obs, obs)
    # Text of pandas 3 is stored plainly, and comes back as objects or as it was.
    is_new_text = isinstance(names["kind"].dtype, pd.StringDtype)
    pd.testing.assert_frame_equal(found.var, names, check_dtype=not is_new_text)


def test_a_long_table_is_written_in_whole_shards(tmp_path):
    n = 70_001
    values = np.arange(n * 40, dtype=np.float32).reshape(n, 40)
    table = pa.table({f"f{i}": values[:, i] for i in range(40)} | {"Metadata_p": ["x"] * n})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=9_999)
    convert_table(str(tmp_path / "t.parquet"), str(tmp_path / "o.zarr"))
    array = zarr.open_array(tmp_path / "o.zarr/X", mode="r")
    assert array.shards[0] % array.chunks[0] == 0
    assert len(list((tmp_path / "o.zarr/X/c").iterdir())) == -(-n // array.shards[0]) > 1
    np.testing.assert_array_equal(array[:], values)


def test_missing_values_are_kept_and_counted(tmp_path):
    table = plate_table()
    table.loc[[3, 5], "Cells_a"] = np.nan
    table["count"] = table["count"].astype("Int32")
    table.loc[5, "count"] = pd.NA
    write_parquet(table, tmp_path / "t.parquet")
    found = convert_table(str(tmp_path / "t.parquet"), str(tmp_path / "o.zarr"))
    assert (found.n_bad_features, found.n_bad_rows) == (2, 2)
    assert np.isnan(zarr.open_array(tmp_path / "o.zarr/X", mode="r")[5]).sum() == 2


def refused(tmp_path, name, reason):
    before = files(tmp_path)
    with pytest.raises(InvalidInputError, match=reason):
        convert_table(str(tmp_path / name), str(tmp_path / "o.zarr"))
    assert files(tmp_path) == before


def test_a_table_without_numbers_has_no_feature(tmp_path):
    write_parquet(plate_table()[ANNOTATIONS], tmp_path / "t.parquet")
    refused(tmp_path, "t.parquet", "no numeric feature among its 5 columns")


def test_columns_of_the_same_name_are_refused(tmp_path):
    pq.write_table(pa.table([[1.0], [2.0]], names=["f", "f"]), tmp_path / "t.parquet")
    refused(tmp_path, "t.parquet", r"1 column names more than once \(f\)")
    (tmp_path / "t.csv").write_text("f,f\n1,2\n")
    refused(tmp_path, "t.csv", r"1 column names more than once \(f\)")


def test_text_within_a_numeric_column_of_a_csv_is_refused(tmp_path):
    lines = [f"p1,{i}" for i in range(9000)] + ["p2,broken"]
    (tmp_path / "t.csv").write_text("\n".join(["Metadata_Plate,f", *lines]))
    refused(tmp_path, "t.csv", r"text in 1 numeric features \(f: 'broken' in row 9000\)")


def test_unusable_files_are_refused(tmp_path):
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 and then nothing")
    (tmp_path / "torn.h5ad").write_bytes(b"no hdf5")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "header.csv").write_text("a,b\n")
    (tmp_path / "torn.csv.gz").write_bytes(gzip.compress(b"a,b\n1,2\n" * 1000)[:40])
    lines = "".join(f"{i},{i * 0.37}\n" for i in range(40_000))
    (tmp_path / "late.csv.gz").write_bytes(gzip.compress(f"a,b\n{lines}".encode())[:-5000])
    pq.write_table(pa.table({"f": np.random.default_rng(0).normal(size=50_000)}), tmp_path / "x")
    whole = (tmp_path / "x").read_bytes()
    (tmp_path / "late.parquet").write_bytes(whole[:4] + b"\xff" * 400 + whole[404:])
    (tmp_path / "table.xlsx").write_text("")
    (tmp_path / "folder").mkdir()
    for name, reason in {
        "torn.parquet": "cannot be read as parquet",
        "torn.h5ad": "cannot be read as h5ad",
        "empty.csv": "cannot be read as csv",
        "header.csv": "has no rows below its header",
        "torn.csv.gz": "cannot be read as csv",
        "late.csv.gz": "cannot be read as csv",
        "late.parquet": "cannot be read as parquet",
        "table.xlsx": "has no known format",
        "folder": "without a .parquet file",
        "nothing.parquet": "does not exist",
    }.items():
        refused(tmp_path, name, reason)


def test_an_existing_store_is_kept(tmp_path):
    write_parquet(plate_table(), tmp_path / "t.parquet")
    convert_table(str(tmp_path / "t.parquet"), str(tmp_path / "o.zarr"))
    before = files(tmp_path)
    with pytest.raises(StoreExistsError, match="--overwrite"):
        convert_table(str(tmp_path / "t.parquet"), str(tmp_path / "o.zarr"))
    assert files(tmp_path) == before
    convert_table(str(tmp_path / "t.parquet"), str(tmp_path / "o.zarr"), overwrite=True)
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["plate", "PlateID", "plateId", "WELL", "Image_Well", "site_3", "row1", "Row"], True),
        (
            ["pubchem.cid", "TimeOfDay", "week-2", "BatchNumber", "XYSite", "id", "Source Name"],
            True,
        ),
        (["ImageNumber", "Cells_Children_Nuclei", "template", "wells", "idx", "narrow"], False),
        (["Cells_AreaShape_Area", "Weekly", "ROWS", "sites", "Àrow", "", "_"], False),
    ],
)
def test_a_name_speaks_of_rows_by_a_whole_word(names, expected):
    assert [name for name in names if describes_rows(name) != expected] == []


def described_table():
    """As CellProfiler and people name columns, an index first."""
    values = SCREEN.profiles
    return pd.DataFrame(
        {
            "ImageNumber": np.arange(500),
            "Plate": SCREEN.label + 101,
            "Well_Row": np.arange(500, dtype=np.uint8) % 8,
            "site_3": np.arange(500) % 9,
            "Metadata_replicate": 1,
            "Cells_AreaShape_Area": values[:, 0],
            "Nuclei_Location_Row": values[:, 1],
            "Cells_Number": values[:, 2],
        }
    )


@pytest.mark.parametrize(("name", "write"), [("t.parquet", write_parquet), ("t.csv", write_csv)])
@pytest.mark.parametrize("in_folder", [False, True])
def test_integers_named_after_rows_describe_them(tmp_path, capsys, name, write, in_folder):
    table = described_table()
    path = tmp_path / ("folder" if in_folder else "") / name
    path.parent.mkdir(exist_ok=True)
    write(table, path)
    source, target = str(path.parent if in_folder else path), str(tmp_path / "o.zarr")
    assert run(["convert", source, target]) == 0
    data = anndata.read_zarr(target)
    features = ["ImageNumber", "Cells_AreaShape_Area", "Nuclei_Location_Row", "Cells_Number"]
    assert list(data.var_names) == features
    assert data.obs["Plate"].tolist() == table["Plate"].tolist()
    said = " ".join(capsys.readouterr().out.replace("│", "").split())
    assert "features 4: ImageNumber to Cells_Number" in said
    assert (
        "numbers in obs Plate, Well_Row, site_3 (features are chosen by --feature-prefix)" in said
    )
    assert run(["convert", source, target, "--overwrite", "--feature-prefix", ""]) == 0
    everything = [each for each in table.columns if each != "Metadata_replicate"]
    assert list(anndata.read_zarr(target).var_names) == everything
    rule = ColumnRule(features=("Cells_", "Plate"))
    found = convert_table(source, target, overwrite=True, rule=rule)
    assert found.features == ["Plate", "Cells_AreaShape_Area", "Cells_Number"]
    assert found.described == ["ImageNumber", "Well_Row", "site_3", "Nuclei_Location_Row"]


def test_a_csv_with_an_index_column_says_so(tmp_path, capsys):
    described_table().to_csv(tmp_path / "t.csv")
    assert run(["convert", str(tmp_path / "t.csv"), str(tmp_path / "o.zarr")]) == 0
    said = " ".join(capsys.readouterr().out.replace("│", "").split())
    assert "numbers in obs Unnamed: 0, Plate, Well_Row, site_3 (" in said


@pytest.mark.parametrize("whole_first", [False, True])
@pytest.mark.parametrize(("name", "write"), [("parquet", write_parquet), ("csv", write_csv)])
def test_the_first_file_of_a_folder_tells_which_integers_describe_rows(
    tmp_path, name, write, whole_first
):
    folder = tmp_path / "plates"
    folder.mkdir()
    whole = described_table()
    other = whole.assign(site_3=whole["site_3"] + 0.5)
    for place, table in enumerate([whole, other] if whole_first else [other, whole]):
        write(table, folder / f"p{place}.{name}")
    convert_table(str(folder), str(tmp_path / "o.zarr"))
    data = anndata.read_zarr(tmp_path / "o.zarr")
    expected = [*whole["site_3"], *other["site_3"]]
    if whole_first:
        assert data.obs["site_3"].tolist() == expected
    else:
        assert data[:, "site_3"].X.ravel().tolist() == [*other["site_3"], *whole["site_3"]]


def test_keys_of_databases_are_integers(tmp_path):
    keys = pa.array(range(3), pa.int64()).cast(pa.decimal128(38, 0))
    pq.write_table(pa.table({"plate_id": keys, "f": [0.5, 1.5, 2.5]}), tmp_path / "t.parquet")
    assert convert_table(str(tmp_path / "t.parquet"), str(tmp_path / "o.zarr")).features == ["f"]


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (
            "ImageNumber",
            r"'ImageNumber' is a feature of .*o.zarr, and no column of obs: convert the table "
            "again with --metadata-prefix Metadata_ --metadata-prefix ImageNumber, or call it "
            "Metadata_ImageNumber there\n",
        ),
        ("plate", r"no column 'plate' in obs: did you mean Plate\?\n"),
        ("Metadata_Plate", r"no column 'Metadata_Plate' in obs: did you mean Plate\?\n"),
        ("Replicate", r"no column 'Replicate' in obs: did you mean Metadata_replicate\?\n"),
        ("welrow", r"no column 'welrow' in obs: did you mean Well_Row\?\n"),
        ("nothing", r"no column 'nothing' in obs: choose one of its 4 columns, Plate, Well_Row"),
    ],
)
def test_a_key_that_is_no_column_is_named_with_the_remedy(tmp_path, capsys, key, reason):
    write_parquet(described_table(), tmp_path / "t.parquet")
    store = str(tmp_path / "o.zarr")
    assert run(["convert", str(tmp_path / "t.parquet"), store]) == 0
    capsys.readouterr()
    assert run(["check", store, "--batch-key", key]) == 2
    said = capsys.readouterr().err
    assert re.search(reason, said)
    assert said.count("\n") == 1


def test_the_remedy_of_a_key_that_is_a_feature_makes_it_a_column(tmp_path):
    write_parquet(described_table(), tmp_path / "t.parquet")
    remedy = ["--metadata-prefix", "Metadata_", "--metadata-prefix", "ImageNumber"]
    assert run(["convert", str(tmp_path / "t.parquet"), str(tmp_path / "o.zarr"), *remedy]) == 0
    assert {"ImageNumber", "Metadata_replicate"} <= set(anndata.read_zarr(tmp_path / "o.zarr").obs)
