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


def refused(tmp_path, text, reason):
    (tmp_path / "t.csv").write_text(text)
    before = files(tmp_path)
    with pytest.raises(InvalidInputError, match=reason) as caught:
        convert_table(str(tmp_path / "t.csv"), str(tmp_path / "o.zarr"))
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
