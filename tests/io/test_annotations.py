"""Labels survive conversion: no batch is split, merged or lost by its type or its name."""

import datetime
import decimal
import gzip
import shutil

import anndata
import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.sparse

from balans_dask.errors import InputWarning, InvalidInputError
from balans_dask.io.store import open_store
from balans_dask.io.tables.convert import convert_table
from balans_dask.io.tables.row_stream import SLAB_ROWS
from tests.support.stores import files, write_anndata


def converted(tmp_path, name):
    convert_table(str(tmp_path / name), str(tmp_path / "o.zarr"), overwrite=True)
    return anndata.read_zarr(tmp_path / "o.zarr")


def from_csv(tmp_path, text, name="t.csv"):
    data = text.encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.lower().endswith("gz") else data)
    return converted(tmp_path, name)


def from_columns(tmp_path, **columns):
    n = len(next(iter(columns.values())))
    pq.write_table(
        pa.table(columns | {"f": np.arange(n, dtype=np.float32)}), tmp_path / "t.parquet"
    )
    return converted(tmp_path, "t.parquet").obs


def from_folder(tmp_path, *plates):
    (tmp_path / "p").mkdir()
    for place, plate in enumerate(plates):
        table = pa.table({"Metadata_Plate": plate, "f": np.arange(len(plate), dtype=np.float32)})
        pq.write_table(table, tmp_path / f"p/{place}.parquet")
    return converted(tmp_path, "p").obs["Metadata_Plate"]


def refused(tmp_path, name, reason):
    before = files(tmp_path)
    with pytest.raises(InvalidInputError, match=reason) as caught:
        convert_table(str(tmp_path / name), str(tmp_path / "o.zarr"))
    assert "\n" not in str(caught.value)
    assert files(tmp_path) == before


def test_a_plate_of_a_csv_is_spelled_alike_in_every_slab(tmp_path):
    plates = ["0012"] * 9000 + ["BR1"] + ["0012"] * 9000
    rows = "".join(f"{plate},{i},{i % 3}\n" for i, plate in enumerate(plates))
    obs = from_csv(tmp_path, f"Metadata_Plate,f,Metadata_week\n{rows}").obs
    assert obs["Metadata_Plate"].tolist() == plates
    assert obs["Metadata_week"].dtype == np.int64


@pytest.mark.parametrize(
    ("texts", "values"),
    [
        (["12", "-3", "0"], [12, -3, 0]),
        (["0.5", "12", "1e-05"], [0.5, 12.0, 1e-05]),
        (["12.0", "3.0", "12"], [12.0, 3.0, 12.0]),
        (["True", "False", "True"], [True, False, True]),
        (["FALSE", "FALSE", "TRUE"], [False, False, True]),
        *((texts, texts) for texts in (["0012", "12", "13"], ["1.10", "1.1", "2"])),
        *((texts, texts) for texts in (["NA", "None", "null"], ["nan", "inf", "1"])),
        *((texts, texts) for texts in (["1_0", " 7", "+1"], ["True", "true", "1"])),
        *((texts, texts) for texts in ([f"{2**53 + 1}", "0.5", "1"], ["9" * 20, "1", "2"])),
    ],
)
def test_text_of_a_csv_becomes_numbers_only_without_loss(tmp_path, texts, values):
    rows = "".join(f"{text},{i}\n" for i, text in enumerate(texts))
    column = from_csv(tmp_path, f"Metadata_a,f\n{rows}").obs["Metadata_a"]
    assert column.tolist() == values
    assert [type(value) for value in column.tolist()] == [type(value) for value in values]


@pytest.mark.parametrize(
    ("texts", "values"),
    [(["12", "", "13"], [12, 13]), (["0.5", "", "2"], [0.5, 2.0]), (["NA", "", "b"], ["NA", "b"])],
)
def test_only_the_empty_cell_of_a_csv_is_missing(tmp_path, texts, values):
    rows = "".join(f"{text},{i}\n" for i, text in enumerate(texts))
    column = from_csv(tmp_path, f"Metadata_a,f\n{rows}").obs["Metadata_a"]
    assert column.isna().tolist() == [False, True, False]
    assert column.dropna().astype(object).map(str).tolist() == [str(value) for value in values]


def test_missing_numbers_of_a_csv_are_nan(tmp_path):
    data = from_csv(tmp_path, "Metadata_a,f,g\nx,,1\ny,NA,2\nz,nan,3\nw,NaN,4\nv,5,6\n")
    np.testing.assert_array_equal(data.X[:, 0], [np.nan] * 4 + [5])


def test_a_delimiter_at_the_end_of_rows_shifts_nothing(tmp_path):
    for text in ("Metadata_a,f\nx,1,\ny,2,\n", "Metadata_a,f,\nx,1,\ny,2,\n"):
        data = from_csv(tmp_path, text)
        assert data.obs["Metadata_a"].tolist() == ["x", "y"]
        assert data.X.tolist() == [[1], [2]]
        assert list(data.obs.columns) == ["Metadata_a"]


def test_rows_of_a_csv_longer_than_its_header_are_refused(tmp_path):
    (tmp_path / "t.csv").write_text("Metadata_a,f\n1,x,1\n2,y,2\n")
    refused(tmp_path, "t.csv", "more cells than the 2 columns of its header in 2 rows")
    (tmp_path / "t.csv").write_text("Metadata_a,f\nx,1,,\ny,2,,7\n")
    refused(tmp_path, "t.csv", "in 1 rows, first in row 1")
    (tmp_path / "t.csv").write_text("Metadata_a,f\nx,1\ny,2,3\n")
    refused(tmp_path, "t.csv", "2 columns of its header in 1 rows, first in row 1")


def test_cells_beyond_the_header_are_refused_also_far_below_it(tmp_path):
    rows = [f"x,{i}," for i in range(SLAB_ROWS + 2)]
    rows[-1] += "7"
    (tmp_path / "t.csv").write_text("\n".join(["Metadata_a,f", *rows]))
    reason = f"the 2 columns of its header in 1 rows, first in row {SLAB_ROWS + 1}"
    refused(tmp_path, "t.csv", reason)


def test_row_numbers_without_a_name_are_kept(tmp_path):
    with pytest.warns(InputWarning, match=r"without a name \(Unnamed: 0.1, Unnamed: 0\)"):
        data = from_csv(tmp_path, ",Unnamed: 0,Metadata_a,f\n4,0,x,1\n7,1,y,2\n")
    assert data.obs["Unnamed: 0.1"].tolist() == [4, 7]
    assert data.obs["Unnamed: 0"].tolist() == [0, 1]
    assert list(data.var_names) == ["f"]
    obs = from_columns(tmp_path, **{"": [4, 7], "Metadata_a": ["x", "y"]})
    assert obs["Unnamed: 0"].tolist() == [4, 7]
    assert obs["Metadata_a"].tolist() == ["x", "y"]


@pytest.mark.parametrize("name", ["t.CSV", "t.CSV.GZ", "t.Csv"])
def test_suffixes_of_csv_may_be_in_upper_case(tmp_path, name):
    assert from_csv(tmp_path, "Metadata_a,f\nx,1\n", name).X.tolist() == [[1]]


def test_suffixes_of_other_formats_may_be_in_upper_case(tmp_path):
    from_columns(tmp_path, Metadata_a=["x"])
    (tmp_path / "p/more.parquet").mkdir(parents=True)
    (tmp_path / "p/.copies").mkdir()
    shutil.copy(tmp_path / "t.parquet", tmp_path / "p/.copies/t.parquet")
    (tmp_path / "t.parquet").rename(tmp_path / "p/more.parquet/t.PARQUET")
    assert converted(tmp_path, "p").n_obs == 1
    anndata.AnnData(np.ones((2, 1), np.float32)).write_h5ad(tmp_path / "t.h5ad")
    (tmp_path / "t.h5ad").rename(tmp_path / "t.H5AD")
    assert converted(tmp_path, "t.H5AD").n_obs == 2


@pytest.mark.parametrize(
    ("column", "texts"),
    [
        (pa.array([datetime.datetime(2020, 1, 2, 3, 4, 5)]), ["2020-01-02T03:04:05"]),
        (pa.array([0], pa.timestamp("s", tz="UTC")), ["1970-01-01T00:00:00+00:00"]),
        (pa.array([datetime.date(2020, 1, 2)]), ["2020-01-02"]),
        (pa.array([datetime.date(2620, 1, 2)]), ["2620-01-02"]),
        (pa.array([datetime.time(3, 4)]), ["03:04:00"]),
        (pa.array([90], pa.duration("s")), ["0 days 00:01:30"]),
        (pa.array([decimal.Decimal("1.50")]), ["1.5"]),
        (pa.array([[1, 2]]), ["[1, 2]"]),
        (pa.array([{"a": [1.5], "b": "é"}]), ['{"a": [1.5], "b": "é"}']),
        (pa.array([b"A01"]), ["A01"]),
        (pa.array([b"\xff"]), ["\\xff"]),
        (pa.array(["x"]).dictionary_encode(), ["x"]),
        (pa.array(["x"], pa.large_string()), ["x"]),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)
def test_values_that_no_store_holds_become_text(tmp_path, column, texts):
    name = "Metadata_a"
    assert from_columns(tmp_path, **{name: column})[name].tolist() == texts
    missing = pa.concat_arrays([column, column, pa.nulls(1, column.type)])
    found = from_columns(tmp_path, **{name: missing})[name]
    assert found[:2].tolist() == texts * 2
    assert found.isna().tolist() == [False, False, True]


def test_numbers_beside_missing_ones_stay_what_they_are(tmp_path):
    large = 2**53 + 1
    obs = from_columns(
        tmp_path,
        Metadata_a=pa.array([large, None], pa.int64()),
        Metadata_b=pa.array([2**64 - 1, None], pa.uint64()),
        Metadata_c=pa.array([True, None]),
        Metadata_d=pa.array([0.5, None], pa.float32()),
        Metadata_e=pa.array([7, 8], pa.uint8()),
        Metadata_f=pa.array([3, None, 3][:2]).dictionary_encode(),
        Metadata_g=pa.nulls(2),
    )
    assert [obs[f"Metadata_{name}"].iloc[0] for name in "abcdef"] == [
        *(large, 2**64 - 1, True, 0.5, 7, 3),
    ]
    assert obs.iloc[1].isna().tolist() == [True, True, True, True, False, True, True]
    assert obs["Metadata_e"].dtype == np.uint8
    assert obs["Metadata_g"].isna().all()


@pytest.mark.parametrize(
    ("plates", "labels"),
    [
        (([12], [12.0, None], [13.0]), [12, 12, None, 13]),
        (([12], [0.5]), [12.0, 0.5]),
        (([12], ["12"], [12.0]), ["12", "12", "12"]),
        (([13], ["0012"]), ["13", "0012"]),
        # Beyond 2^53 a float may stand for several integers, and is spelled as none of them.
        (([2**60 + 1], [2.0**60]), [str(2**60 + 1), "1.152921504606847e+18"]),
        ((["a"], [2.0**60]), ["a", "1.152921504606847e+18"]),
        (([True], [1]), ["True", "1"]),
        (([1], pa.array([2], pa.uint64()), pa.array([3], pa.int8())), [1, 2, 3]),
        (([12], pa.nulls(1), pa.array([12]).dictionary_encode()), [12, None, 12]),
        ((pa.array(["a", "b"]).dictionary_encode(), ["c"]), ["a", "b", "c"]),
    ],
)
def test_a_plate_is_one_batch_whatever_the_types_of_its_files(tmp_path, plates, labels):
    found = from_folder(tmp_path, *plates)
    assert [None if pd.isna(label) else label for label in found] == labels
    assert [type(label) for label in found.dropna().tolist()] == [
        type(label) for label in labels if label is not None
    ]


@pytest.mark.parametrize("text", ["0012", "12.0", "1.2e1"])
def test_one_number_in_two_spellings_is_refused(tmp_path, text):
    with pytest.raises(InvalidInputError, match=rf"Metadata_Plate .* 1 labels .*{text} and 12\)"):
        from_folder(tmp_path, [12], [text])


def test_names_that_no_store_holds_are_changed_or_refused(tmp_path):
    obs = from_columns(tmp_path, **{"Metadata_mg/ml": [1, 2], "_index": [5, 6], "a/b": ["x", "y"]})
    assert list(obs.columns) == ["Metadata_mg_ml", "index", "a_b"]
    assert obs["Metadata_mg_ml"].tolist() == [1, 2]
    shutil.rmtree(tmp_path / "o.zarr")
    for names, reason in (
        (["a/b", "a_b"], r"2 annotations that get the same name .*a/b, a_b"),
        ([".", "x"], r"1 annotations with names that a store cannot hold \(\.\)"),
        (["zarr.json", "x"], r"cannot hold \(zarr.json\)"),
        (["é" * 200, "x"], "cannot hold"),
    ):
        table = pa.table({name: ["x"] for name in names} | {"f": [1.0]})
        pq.write_table(table, tmp_path / "t.parquet")
        refused(tmp_path, "t.parquet", reason)


def test_features_keep_any_name(tmp_path):
    names = ["a/b", ".", "zarr.json", "é"]
    pq.write_table(pa.table({name: [1.0] for name in names}), tmp_path / "t.parquet")
    data = converted(tmp_path, "t.parquet")
    assert list(data.var_names) == names
    assert data.X.tolist() == [[1] * 4]


def test_a_later_file_with_a_repeated_name_is_refused(tmp_path):
    (tmp_path / "p").mkdir()
    pq.write_table(pa.table({"f": [1.0], "g": [2.0]}), tmp_path / "p/0.parquet")
    pq.write_table(pa.table([[1.0], [2.0], [3.0]], names=["f", "f", "g"]), tmp_path / "p/1.parquet")
    refused(tmp_path, "p", r"1.parquet has 1 column names more than once \(f\)")


def test_h5ad_that_holds_what_a_store_does_not(tmp_path):
    obs = pd.DataFrame(
        {
            "well": pd.array(["A01", None], dtype="string"),
            "count": pd.array([1, None], dtype="Int64"),
        },
        index=pd.Index(["a", "b"], name="cell id"),
    )
    data = anndata.AnnData(np.eye(2, dtype=np.float32), obs)
    with anndata.settings.override(allow_write_nullable_strings=True):
        data.write_h5ad(tmp_path / "t.h5ad")
    found = converted(tmp_path, "t.h5ad").obs
    assert found.index.name == "cell id"
    assert found["well"].isna().tolist() == [False, True]
    assert found["count"].iloc[0] == 1


def test_an_h5ad_that_cannot_be_used_is_refused_in_one_line(tmp_path):
    anndata.AnnData(scipy.sparse.csc_matrix(np.eye(2))).write_h5ad(tmp_path / "csc.h5ad")
    refused(tmp_path, "csc.h5ad", "holds X as csc: save it dense or as csr")
    anndata.AnnData(np.eye(2)).write_h5ad(tmp_path / "t.h5ad")
    for name, damage in {
        "none.h5ad": lambda file: file.pop("X"),
        "obs.h5ad": lambda file: file["obs"].attrs.update({"encoding-type": "unheard of"}),
        "short.h5ad": lambda file: (file.pop("X"), file.create_dataset("X", data=np.eye(3))),
    }.items():
        (tmp_path / name).write_bytes((tmp_path / "t.h5ad").read_bytes())
        with h5py.File(tmp_path / name, "a") as file:
            damage(file)
    refused(tmp_path, "none.h5ad", "cannot be read as h5ad")
    refused(tmp_path, "obs.h5ad", "cannot be read as h5ad")
    refused(tmp_path, "short.h5ad", r"X of shape \(3, 3\) with 2 rows in obs")


def test_a_nul_in_a_label_is_refused_with_column_and_count(tmp_path):
    labels = ["a\0b", "a\0c", "a", "a"]
    reason = r"NUL character in 2 labels of 1 columns \(Metadata_a\): remove it"
    for column in (
        pa.array(labels),
        pa.array(labels).dictionary_encode(),
        pa.array([*labels, None]),
        pa.array([label.encode() for label in labels]),
    ):
        n = len(column)
        pq.write_table(pa.table({"Metadata_a": column, "f": np.zeros(n)}), tmp_path / "t.parquet")
        refused(tmp_path, "t.parquet", reason)
    # anndata itself takes labels for one that are equal up to a NUL.
    for column in (["b\0b", "c\0", "a", "a"], ["b\0b", "c\0", "a", "d"]):
        path = write_anndata(tmp_path / "in.zarr", np.zeros((4, 2), "f4"), Metadata_a=column)
        with pytest.raises(InvalidInputError, match=reason):
            open_store(path)
    frame = pd.DataFrame(index=["b\0b", "c\0", "a", "d"])
    anndata.AnnData(np.zeros((4, 2), "f4"), frame).write_zarr(tmp_path / "named.zarr")
    with pytest.raises(InvalidInputError, match=r"2 labels of 1 columns \(the names of rows\)"):
        open_store(str(tmp_path / "named.zarr"))
