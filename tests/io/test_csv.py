"""Every cell of a csv is read as it is written, wherever it stands, or the file is refused."""

import gzip
from decimal import Decimal

import anndata
import numpy as np
import pandas as pd
import pytest

from balans_dask.errors import InputWarning, InvalidInputError
from balans_dask.io.tables import csv_table
from balans_dask.io.tables.convert import convert_table
from tests.support.stores import files


@pytest.fixture
def _short_slabs(monkeypatch):
    monkeypatch.setattr(csv_table, "SLAB_ROWS", 10)


def converted(tmp_path, text, name="t.csv"):
    data = text.encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    convert_table(str(tmp_path / name), str(tmp_path / "o.zarr"), overwrite=True)
    return anndata.read_zarr(tmp_path / "o.zarr")


def refused(tmp_path, text, reason, name="t.csv"):
    (tmp_path / name).write_text(text)
    before = files(tmp_path)
    with pytest.raises(InvalidInputError, match=reason) as caught:
        convert_table(str(tmp_path / name), str(tmp_path / "o.zarr"))
    assert "\n" not in str(caught.value)
    assert files(tmp_path) == before


def table(columns, rows):
    return "\n".join([columns, *rows]) + "\n"


def test_numbers_are_the_nearest_ones_and_those_of_parquet(tmp_path):
    rng = np.random.default_rng(0)
    low = (rng.integers(1, 65535, 2000) / 65535).astype(np.float32)
    high = np.nextafter(low, np.float32(2))
    # Means of neighbours, of which the last digit decides.
    texts = [repr(float(value)) for value in (low.astype(float) + high.astype(float)) / 2]
    texts += [str(Decimal(float(value))) for value in rng.normal(size=200)]
    whole = [9007199254740993, 9007199791611905, 16777217] + [0] * (len(texts) - 3)
    rows = [f"x,{text},{number}" for text, number in zip(texts, whole, strict=True)]
    data = converted(tmp_path, table("Metadata_a,f,g", rows))
    expected = np.array([float(text) for text in texts])
    np.testing.assert_array_equal(data.X[:, 0], expected.astype(np.float32))
    pd.DataFrame({"f": expected, "g": whole}).to_parquet(tmp_path / "t.parquet")
    convert_table(str(tmp_path / "t.parquet"), str(tmp_path / "p.zarr"))
    np.testing.assert_array_equal(data.X, anndata.read_zarr(tmp_path / "p.zarr").X)


@pytest.mark.parametrize(
    "texts",
    [
        ["100000000000000000000", "-2", "3"],
        ["18446744073709551615", "-2", "18446744073709551616"],
        ["100000000000000000000", "0.5", "-1e3"],
        ["-9999999999999999999999", "", "NA"],
        ["9" * 60, " 7 ", "+1"],
        ["1e400", "-1e999", "inf"],
    ],
)
def test_numbers_of_any_size_are_features(tmp_path, texts):
    numbers = [np.nan if text in ("", "NA") else float(text) for text in texts]
    data = converted(tmp_path, table("Metadata_a,f,g", [f"x,{text},1" for text in texts]))
    assert list(data.var_names) == ["f", "g"]
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(data.X[:, 0], np.array(numbers).astype(np.float32))


@pytest.mark.usefixtures("_short_slabs")
def test_large_numbers_may_come_late(tmp_path):
    texts = [*map(str, range(15)), "1" + "0" * 30, "-1"]
    data = converted(tmp_path, table("Metadata_a,f", [f"x,{text}" for text in texts]))
    assert data.X[:, 0].tolist() == [np.float32(float(text)) for text in texts]


@pytest.mark.parametrize("row", [0, 1, 12])
@pytest.mark.usefixtures("_short_slabs")
def test_a_cell_of_any_length_is_read_wherever_it_stands(tmp_path, row):
    labels = ["a"] * 15
    labels[row] = "long, " * 50_000
    rows = [f'"{label}",{place}' for place, label in enumerate(labels)]
    refused(tmp_path, table(f"{'n' * 200_000},f", rows), "names that a store cannot hold")
    data = converted(tmp_path, table("Metadata_a,f", rows))
    assert data.obs["Metadata_a"].tolist() == labels


@pytest.mark.usefixtures("_short_slabs")
def test_a_reader_that_is_let_go_leaves_another_as_it_is(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("Metadata_a,f\n" + "x,1\n" * 12 + f'"{"long, " * 50_000}",1\n')
    left, read = (csv_table.csv_blocks(str(path), 2) for _ in range(2))
    next(left)
    assert next(read).n_rows == 10
    left.close()
    assert next(read).n_rows == 3


@pytest.mark.parametrize("row", [0, 1, 9, 10, 11, 20, 23])
@pytest.mark.parametrize("more", [",7", ",,7", ",,,,,,,,,,,,7"])
@pytest.mark.usefixtures("_short_slabs")
def test_a_cell_that_no_column_has_is_refused_in_any_row(tmp_path, row, more):
    rows = [f"x,{place}" for place in range(24)]
    rows[row] += more
    refused(tmp_path, table("Metadata_a,f", rows), rf"2 columns .* in 1 rows, first in row {row}:")
    rows[row] = f"x,{row}" + "," * len(more)
    data = converted(tmp_path, table("Metadata_a,f", rows))
    assert data.X[:, 0].tolist() == list(range(24))


@pytest.mark.parametrize("end", ["", ","])
def test_a_cell_that_no_column_has_is_refused_where_a_slab_of_the_default_begins(tmp_path, end):
    rows = [f"x,{place}{end}" for place in range(8200)]
    for place in range(8192, 8200):
        rows[place] = f"y,{place},7"
    refused(tmp_path, table("Metadata_a,f", rows), "in 8 rows, first in row 8192:")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.usefixtures("_short_slabs")
def test_slabs_end_between_rows_whatever_their_cells_hold(tmp_path, end):
    labels = [f'a{place}{end}"b", {end}c' for place in range(25)]
    rows = ['"' + label.replace('"', '""') + f'",{place}' for place, label in enumerate(labels)]
    rows[5] += f"{end}{end}  "
    rows[7] = (
        rows[7].replace('"', "'", 1).replace("\r", "").replace("\n", "").replace(",", '5",', 1)
    )
    text = "\ufeff" + end.join(["Metadata_a,f", *rows[:7], *rows[8:]])
    data = converted(tmp_path, text, "t.csv.gz")
    assert data.obs["Metadata_a"].tolist() == labels[:7] + labels[8:]
    assert data.X[:, 0].tolist() == [place for place in range(25) if place != 7]


@pytest.mark.parametrize(
    ("columns", "row", "reason"),
    [
        (
            "Metadata_a,f",
            "x\0y,1",
            r"NUL character in 1 cells of 1 columns \(Metadata_a\).* row 12:",
        ),
        ("Metadata_a,f", "x\0,1\0", r"in 2 cells of 2 columns \(Metadata_a, f\), first in row 12:"),
        ("Metadata\0_a,f", "x,1", "in 1 cells of 1 columns .*first in the header:"),
    ],
)
@pytest.mark.usefixtures("_short_slabs")
def test_a_nul_is_refused_with_its_place(tmp_path, columns, row, reason):
    rows = [f"x,{place}" for place in range(12)]
    refused(tmp_path, table(columns, [*rows, row]), reason)


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        (["1", "2", "1,5", "4"], r"1 columns .*because 1 cells .*\(f: '1,5' in row 2\)"),
        (["1", "-", "-", "4", "5"], r"because 2 cells .*\(f: '-' in row 1\)"),
        (["1", "#DIV/0!", "", "4"], r"\(f: '#DIV/0!' in row 1\)"),
        (["1", "x" * 60, "3", "4"], rf"\(f: '{'x' * 40}\.\.\.' in row 1\)"),
    ],
)
@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_a_bad_cell_that_makes_a_feature_a_description_is_said(tmp_path, name, cells, reason):
    if name == "t.csv":
        rows = [f'x,"{cell}",1' for cell in cells]
        (tmp_path / name).write_text(table("Metadata_a,f,g", rows))
    else:
        text = [cell or None for cell in cells]
        pd.DataFrame({"Metadata_a": "x", "f": text, "g": 1.0}).to_parquet(tmp_path / name)
    with pytest.warns(InputWarning, match=reason):
        convert_table(str(tmp_path / name), str(tmp_path / "o.zarr"))
    data = anndata.read_zarr(tmp_path / "o.zarr")
    assert list(data.var_names) == ["g"]
    assert data.obs["f"].dropna().tolist() == [cell for cell in cells if cell]


def test_columns_that_describe_rows_anyway_are_not_complained_of(tmp_path):
    data = converted(tmp_path, table("Metadata_a,site,f", ["1,a,1", "2,b,2", "x,3,3"]))
    assert list(data.obs.columns) == ["Metadata_a", "site"]


EXCEL = """\ufeffWell;Plate;Dose, µM;Cells_Area;Metadata_comment\r
A01;1;0,5;1203,25;"a; b"\r
A02;1;1;1e-3;1,5\r
A03;2;;-,25;2,5\r
"""
"""As a German Excel writes it as CSV UTF-8: whole numbers have no decimals."""


@pytest.mark.parametrize("name", ["t.csv", "t.CSV.gz"])
@pytest.mark.parametrize("in_folder", [False, True])
def test_semicolons_and_decimal_commas_of_a_german_excel(tmp_path, name, in_folder):
    (tmp_path / "plates").mkdir()
    data = converted(tmp_path, EXCEL, f"plates/{name}")
    if in_folder:
        convert_table(str(tmp_path / "plates"), str(tmp_path / "f.zarr"))
        data = anndata.read_zarr(tmp_path / "f.zarr")
    assert list(data.var_names) == ["Dose, µM", "Cells_Area"]
    expected = [[0.5, 1203.25], [1, 1e-3], [np.nan, -0.25]]
    np.testing.assert_array_equal(data.X, np.array(expected, np.float32))
    assert data.obs["Plate"].tolist() == [1, 1, 2]
    assert data.obs["Metadata_comment"].tolist() == ["a; b", "1,5", "2,5"]


def test_text_in_another_encoding_is_refused_with_the_remedy(tmp_path):
    (tmp_path / "t.csv").write_bytes(EXCEL[1:].encode("cp1252"))
    with pytest.raises(InvalidInputError, match=r"in UTF-8: save it so \(in Excel as CSV UTF-8\)"):
        convert_table(str(tmp_path / "t.csv"), str(tmp_path / "o.zarr"))


@pytest.mark.parametrize(
    ("name", "delimiter", "decimal"),
    [("t.csv", ";", "."), ("t.csv", ";", ","), ("t.csv", "\t", "."), ("t.csv.gz", "\t", ","),
     ("t.tsv", "\t", "."), ("t.tsv.gz", "\t", ",")],
)  # fmt: skip
@pytest.mark.usefixtures("_short_slabs")
@pytest.mark.filterwarnings("ignore:.*without a name")
def test_a_table_is_the_same_with_other_separators(tmp_path, name, delimiter, decimal):
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(25, 3)), columns=["a", "b,c", "d"])
    table.insert(0, "Metadata_Plate", ["0012"] * 25)
    table.insert(1, "Metadata_dose", np.arange(25) / 2)
    table.loc[12, "d"] = 1e30
    table.to_csv(tmp_path / "plain.csv")
    expected = converted(tmp_path, (tmp_path / "plain.csv").read_text(), "plain.csv")
    data = converted(tmp_path, table.to_csv(sep=delimiter, decimal=decimal), name)
    np.testing.assert_array_equal(data.X, expected.X)
    pd.testing.assert_frame_equal(data.obs, expected.obs)
    assert data.obs["Metadata_dose"].dtype == float
    assert list(data.var_names) == ["a", "b,c", "d"]


def test_numbers_of_any_size_have_the_mark_of_the_file(tmp_path):
    rows = ["1,5;100000000000000000000;1", "1e400;2,5;", "-,5;-1;NA"]
    data = converted(tmp_path, table("f;g;h", rows))
    expected = np.array([[1.5, 1e20, 1], [np.inf, 2.5, np.nan], [-0.5, -1, np.nan]])
    np.testing.assert_array_equal(data.X, expected.astype(np.float32))


@pytest.mark.parametrize(
    ("columns", "rows", "names"),
    [
        ("Metadata_a;b,f", ["x;y,0.5", "z;w,1.5"], ["f"]),
        ("Metadata_a,f;g;h", ["x,0.5", "y,1.5"], ["f;g;h"]),
        ('"Metadata_a","f;g;h"', ['"x;y;z","0.5"', '"x","1.5"'], ["f;g;h"]),
        ("Metadata_a\tb,f", ["x\ty,0.5"], ["f"]),
        ("f\tg,h\tMetadata_a", ["0.5\t1\tx,y"], ["f", "g,h"]),
        ("f;g", ["0.5;1"], ["f", "g"]),
        (";f;g", ["0;0.5;1", "1;1.5;2"], ["f", "g"]),
        ("f;g;", ["0.5;1;", "1.5;2;"], ["f", "g"]),
    ],
)
@pytest.mark.filterwarnings("ignore:.*without a name")
def test_the_separator_is_the_one_that_all_rows_have(tmp_path, columns, rows, names):
    data = converted(tmp_path, table(columns, rows))
    assert list(data.var_names) == names
    assert len(data) == len(rows)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (["1,234;7", "5,678;8"], r"comma in 1 columns \(f: '1,234'\), which may be decimals or th"),
        (["1,5;7.5", "5,678;8"], r"\(f: '1,5'\) and with a point in 1 \(g: '7\.5'\): write one"),
        (["1,5;a"] * 300 + ["1.5;b"], r"text in 1 numeric features \(f: '1\.5' in row 300\)"),
    ],
)
@pytest.mark.parametrize("name", ["t.csv", "t.tsv"])
@pytest.mark.usefixtures("_short_slabs")
def test_a_comma_that_may_be_another_thing_is_refused(tmp_path, name, rows, reason):
    text = table("f;g", rows)
    refused(tmp_path, text.replace(";", "\t") if name == "t.tsv" else text, reason, name)


def test_beside_commas_a_number_has_a_point(tmp_path):
    data = converted(tmp_path, table("Metadata_a,f", ['"1,5",0.5', '"2,5",1.5']))
    assert data.obs["Metadata_a"].tolist() == ["1,5", "2,5"]


@pytest.mark.parametrize(("late", "kept"), [("2.5", [1.0] * 24 + [2.5]), ("2", [1] * 24 + [2])])
@pytest.mark.usefixtures("_short_slabs")
def test_integers_of_the_first_slab_describe_rows_whatever_follows(tmp_path, late, kept):
    rows = [f"{value},0.5" for value in ["1"] * 24 + [late]]
    data = converted(tmp_path, table("site,f", rows))
    assert list(data.var_names) == ["f"]
    assert data.obs["site"].tolist() == kept


@pytest.mark.parametrize(
    ("cells", "is_feature"),
    [
        (["1", "2", "3"], False),
        (["0012", "0013", "2"], False),
        (["1", "", "3"], False),
        (["", "", ""], False),
        (["1.0", "NA", "3.0"], False),
        (["1" + "0" * 30, "2", "3"], False),
        (["1.0", "2.0", "3.0"], True),
        (["1", "2.5", "3"], True),
        (["1", "inf", ""], True),
    ],
)
def test_what_a_column_of_integers_is_in_csv(tmp_path, cells, is_feature):
    data = converted(tmp_path, table("PlateID,f", [f"{cell},0.5" for cell in cells]))
    assert list(data.var_names) == (["PlateID", "f"] if is_feature else ["f"])
    if cells[0] == "0012":
        assert data.obs["PlateID"].tolist() == ["0012", "0013", "2"]


def test_a_bad_cell_of_a_feature_named_like_a_row_is_said(tmp_path):
    with pytest.warns(InputWarning, match=r"\(Cells_Row: '#DIV/0!' in row 2\)"):
        converted(tmp_path, table("Cells_Row,Row,f", ["1.5,1,1", "2.5,x,2", "#DIV/0!,3,3"]))
