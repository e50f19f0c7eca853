"""A label has one spelling, wherever it comes from; names of joint labels can be taken apart."""

import datetime
from decimal import Decimal
from itertools import product

import anndata
import numpy as np
import pandas as pd
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from balans_dask import Balans
from balans_dask.errors import InvalidInputError
from balans_dask.io.model_store import read_model, write_model
from balans_dask.io.store import open_store
from balans_dask.io.tables.convert import convert_table
from balans_dask.labels import batch_labels, joined, spelled, split
from tests.support.commands import run
from tests.support.screens import gaussian_screen

DAY = pd.Timestamp("2026-01-31")
NOON = pd.Timestamp("2026-01-31T12:00:00")
BERLIN = NOON.tz_localize("Europe/Berlin")
SCREEN = gaussian_screen(240, n_batches=2, n_features=4)

COLUMNS = {
    "int64": (pd.Series([-1, 12], dtype="int64"), {"-1", "12"}),
    "uint8": (pd.Series([1, 12], dtype="uint8"), {"1", "12"}),
    "uint64": (pd.Series([2**64 - 1, 2**64 - 2], dtype="uint64"), {str(2**64 - i) for i in (1, 2)}),
    "Int64": (pd.Series([2**53 + 1, 2**53], dtype="Int64"), {str(2**53 + 1), str(2**53)}),
    "UInt64": (pd.Series([2**63 + 1, 1], dtype="UInt64"), {str(2**63 + 1), "1"}),
    "float64": (pd.Series([0.1, 2.0], dtype="float64"), {"0.1", "2"}),
    "float32": (pd.Series([0.1, 2.0], dtype="float32"), {"0.1", "2"}),
    "Float32": (pd.Series([0.1, 2.0], dtype="Float32"), {"0.1", "2"}),
    "large float": (pd.Series([2.0**53, 1e300]), {"9007199254740992.0", "1e+300"}),
    "bool": (pd.Series([True, False]), {"True", "False"}),
    "boolean": (pd.Series([True, False], dtype="boolean"), {"True", "False"}),
    "text": (pd.Series(["0012", "a | b"]), {"0012", "a | b"}),
    "string": (pd.Series(["é", "x"], dtype="string"), {"é", "x"}),
    "datetime64[ns]": (
        pd.Series([DAY, NOON + pd.Timedelta("1ns")], dtype="datetime64[ns]"),
        {"2026-01-31T00:00:00", "2026-01-31T12:00:00.000000001"},
    ),
    "datetime64[us]": (
        pd.Series([NOON, NOON + pd.Timedelta("1us")]).astype("datetime64[us]"),
        {"2026-01-31T12:00:00", "2026-01-31T12:00:00.000001"},
    ),
    "datetime64[s]": (
        pd.Series([DAY, NOON]).astype("datetime64[s]"),
        {"2026-01-31T00:00:00", "2026-01-31T12:00:00"},
    ),
    "time zone": (
        pd.Series([BERLIN, BERLIN + pd.Timedelta("181D")]),
        {"2026-01-31T12:00:00+01:00", "2026-07-31T13:00:00+02:00"},
    ),
    "dates": (
        pd.Series([datetime.date(2026, 1, 31), datetime.date(2026, 2, 1)]),
        {"2026-01-31", "2026-02-01"},
    ),
    "decimals": (pd.Series([Decimal("1.50"), Decimal("1E+2")]), {"1.5", "100"}),
    "timedelta": (
        pd.Series(pd.to_timedelta(["1D", "-1s"])),
        {"1 days 00:00:00", "-1 days +23:59:59"},
    ),
}
IN_H5AD = [
    name
    for name, (column, _) in COLUMNS.items()
    if column.dtype.kind not in "mM" and name != "decimals"
]
IN_CSV = [name for name in COLUMNS if name not in {"timedelta", "decimals"}]


@pytest.mark.parametrize(
    ("decimal", "name"),
    [("1.0", "1"), ("1.00", "1"), ("-0.0", "0"), ("1E-7", "0.0000001"), ("-1.20", "-1.2"),
     ("1" + "0" * 30 + ".10", "1" + "0" * 30 + ".1"), ("NaN", "NaN")],
)  # fmt: skip
def test_a_decimal_has_the_digits_that_it_needs(decimal, name):
    assert spelled(Decimal(decimal)) == name


def names_of(column) -> set[str]:
    labels = batch_labels([column], ["batch"], len(column))
    assert labels.sizes.sum() == len(column)
    return set(labels.names)


def names_in_store(path) -> set[str]:
    return names_of(open_store(str(path)).column("Metadata_Batch"))


@pytest.mark.parametrize(("column", "names"), COLUMNS.values(), ids=COLUMNS)
def test_a_column_has_the_same_labels_however_it_is_held(column, names):
    repeated = pd.concat([column, column], ignore_index=True)
    held = [repeated, repeated.array, repeated.astype("category"), repeated.to_numpy()]
    if column.dtype.name.lower() != "float32":  # of which a list makes other numbers
        held += [repeated.astype(object), repeated.tolist()]
    for each in held:
        assert names_of(each) == names


@pytest.mark.parametrize(("column", "names"), COLUMNS.values(), ids=COLUMNS)
def test_parquet_converted_has_the_labels_of_its_columns(tmp_path, column, names):
    frame = pd.DataFrame({"Metadata_Batch": column, "f": [0.5, 1.5]})
    frame.to_parquet(tmp_path / "t.parquet", index=False)
    convert_table(str(tmp_path / "t.parquet"), str(tmp_path / "o.zarr"))
    assert names_in_store(tmp_path / "o.zarr") == names


@pytest.mark.parametrize("kind", IN_CSV)
def test_csv_in_iso_8601_has_the_labels_of_its_columns(tmp_path, kind):
    column, names = COLUMNS[kind]
    if column.dtype.kind == "M":
        column = column.map(pd.Timestamp.isoformat)
    frame = pd.DataFrame({"Metadata_Batch": column, "f": [0.5, 1.5]})
    frame.to_csv(tmp_path / "t.csv", index=False)
    convert_table(str(tmp_path / "t.csv"), str(tmp_path / "o.zarr"))
    assert names_in_store(tmp_path / "o.zarr") == names


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", IN_H5AD)
def test_h5ad_converted_has_the_labels_of_its_columns(tmp_path, kind):
    column, names = COLUMNS[kind]
    if column.dtype.name == "Float32" or kind == "dates":
        column = column.astype("float32" if kind == "Float32" else str)  # what it can hold
    obs = pd.DataFrame({"Metadata_Batch": column}).set_axis(["a", "b"])
    with anndata.settings.override(allow_write_nullable_strings=True):
        anndata.AnnData(np.ones((2, 1), "f4"), obs).write_h5ad(tmp_path / "t.h5ad")
    convert_table(str(tmp_path / "t.h5ad"), str(tmp_path / "o.zarr"))
    assert names_in_store(tmp_path / "o.zarr") == names


@pytest.mark.parametrize(
    ("column", "names"),
    [
        ([1, 1.0, "1", np.int8(1), np.float32(1), b"1"], {"1"}),
        ([True, 1, "1"], {"True", "1"}),
        ([0.0, -0.0], {"0"}),
        ([2**63, 2**63 + 1, -1], {str(2**63), str(2**63 + 1), "-1"}),
        ([2**64, 2.0**64], {str(2**64), "1.8446744073709552e+19"}),
        ([BERLIN, BERLIN.tz_convert("UTC")], {BERLIN.isoformat(), "2026-01-31T11:00:00+00:00"}),
        ([datetime.date(2026, 1, 31), DAY], {"2026-01-31", "2026-01-31T00:00:00"}),
        ([NOON, NOON.to_pydatetime(), NOON.to_datetime64()], {"2026-01-31T12:00:00"}),
        ([pd.Timedelta("1D"), datetime.timedelta(1), np.timedelta64(1, "D")], {"1 days 00:00:00"}),
        ([b"\xff", b"\xfe"], {"\\xff", "\\xfe"}),
    ],
)
def test_values_of_several_types_are_one_label_only_if_they_are_equal_and_spelled_alike(
    column, names
):
    values = np.empty(len(column), dtype=object)
    values[:] = column
    assert names_of(values) == names
    assert names_of(column) == names


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        (["a", None], "is missing in 1 of 2 rows"),
        ([np.nan, "a"], "is missing in 1 of 2 rows"),
        ([pd.NaT, DAY], "is missing in 1 of 2 rows"),
        (["a\0", "a"], "1 labels with a NUL"),
        (["\ud800", "a"], "1 labels with a NUL or half a character"),
        (pd.Series([["a"], ["b"]]), "a list is no label"),
        (pd.Series([{"a": 1}, "b"]), "a dict is no label"),
    ],
)
def test_what_is_no_label_is_refused(column, reason):
    with pytest.raises(InvalidInputError, match=f"batch .*{reason}"):
        batch_labels([column], ["batch"], 2)


@given(value=st.datetimes() | st.timedeltas(), nanoseconds=st.integers(0, 999))
def test_times_and_durations_are_spelled_as_by_pandas(value, nanoseconds):
    exact = pd.Timestamp if isinstance(value, datetime.datetime) else pd.Timedelta
    try:
        found = exact(value).as_unit("ns") + pd.Timedelta(nanoseconds, "ns")
    except (OverflowError, pd.errors.OutOfBoundsDatetime, pd.errors.OutOfBoundsTimedelta):
        return
    text = found.isoformat() if exact is pd.Timestamp else str(found)
    assert spelled(found) == spelled(found.to_numpy()) == text


parts = st.text(" |\\ab", max_size=6) | st.text(max_size=4)


@given(labels=st.lists(parts, min_size=1, max_size=4))
def test_a_name_is_taken_apart_into_the_labels_it_was_made_of(labels):
    assert split(joined(labels), len(labels)) == tuple(labels)


def test_no_two_joint_labels_have_one_name():
    short = ["".join(letters) for n in range(4) for letters in product(" |\\", repeat=n)]
    pairs = list(product(short, repeat=2))
    assert len({joined(pair) for pair in pairs}) == len(pairs)


@pytest.mark.parametrize("part", ["a", "a|b", "a |b", "a\\b", "C:\\x\\", "|x", "x|", "a  b", ""])
def test_a_name_without_a_bar_that_reads_as_the_separator_is_what_it_was(part):
    assert joined([part, "z"]) == f"{part} | z"


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (
            [np.array([2**64 - 1, 2**64 - 2], "u8"), np.array([-1, -2])],
            {str(2**64 - 1), str(2**64 - 2), "-1", "-2"},
        ),
        (
            [np.array([2**53 + 1, 2**53]), np.array([0.5, 1])],
            {str(2**53 + 1), str(2**53), "0.5", "1"},
        ),
        ([np.array([0.1, 0.5], "f4"), np.array([0.1, 0.5])], {"0.1", "0.5"}),
        ([np.array([0.1, 0.5], "f4"), np.array(["0.1", "b"])], {"0.1", "0.5", "b"}),
        ([np.array([2**63 + 1, 7], "u8"), np.array([str(2**63 + 2), "7"])],
         {str(2**63 + 1), str(2**63 + 2), "7"}),
    ],
)  # fmt: skip
def test_files_of_other_types_do_not_merge_or_split_labels(tmp_path, files, names):
    (tmp_path / "t").mkdir()
    for place, column in enumerate(files):
        frame = pd.DataFrame({"Metadata_Batch": column, "f": [0.5, 1.5]})
        frame.to_parquet(tmp_path / "t" / f"{place}.parquet", index=False)
    convert_table(str(tmp_path / "t"), str(tmp_path / "o.zarr"))
    assert names_in_store(tmp_path / "o.zarr") == names


@pytest.fixture(scope="module")
def displacing() -> Balans:
    return Balans(operator="displace", n_components=None, max_rows=64)


@pytest.mark.parametrize("kind", ["datetime64[ns]", "float32", "timedelta"])
def test_a_model_knows_the_batches_of_a_table_and_of_the_store_made_of_it(
    tmp_path, displacing, kind
):
    pair, names = COLUMNS[kind]
    column = pair.iloc[np.arange(len(SCREEN.profiles)) % 2].reset_index(drop=True)
    frame = pd.DataFrame(SCREEN.profiles).add_prefix("f").assign(Metadata_Batch=column)
    frame.to_parquet(tmp_path / "t.parquet", index=False)
    convert_table(str(tmp_path / "t.parquet"), str(tmp_path / "o.zarr"))
    stored = open_store(str(tmp_path / "o.zarr")).column("Metadata_Batch")
    for fitted, given_ in ((column, stored), (stored, column)):
        expected = displacing.fit_transform(SCREEN.profiles, batch=fitted)
        assert set(displacing.batches_) == names
        np.testing.assert_array_equal(displacing.transform(SCREEN.profiles, batch=given_), expected)


LIKE_ONE = [("a | b", "c"), ("a", "b | c"), ("x", "y"), ("x", "z")]


class Joint:
    """A fit of joint batches, two of which look alike, and transforms of some of its rows."""

    keys = ("--batch-key", "Metadata_A", "--batch-key", "Metadata_B", "--quiet")

    def __init__(self, folder) -> None:
        self.folder = folder
        frame = pd.DataFrame(LIKE_ONE, columns=["Metadata_A", "Metadata_B"])
        self.frame = frame.iloc[np.arange(240) % 4].reset_index(drop=True)
        moved = SCREEN.profiles + 3.0 * (np.arange(240) % 4)[:, None]
        self.frame[["f0", "f1", "f2", "f3"]] = moved
        self.convert(self.frame, "in.zarr")
        run("correct", folder / "in.zarr", folder / "b.zarr", *self.keys, "--operator", "displace",
            "--max-rows", 64, "--model", folder / "m.zarr")  # fmt: skip
        self.expected = zarr.open_array(folder / "b.zarr" / "X", mode="r")[...]

    def convert(self, frame: pd.DataFrame, name: str) -> None:
        frame.to_parquet(self.folder / "t.parquet", index=False)
        convert_table(str(self.folder / "t.parquet"), str(self.folder / name), overwrite=True)

    def transform(self, model, name: str, out, code: int = 0) -> str:
        return run("transform", model, self.folder / name, out, *self.keys, code=code)


@pytest.fixture(scope="module")
def joint(tmp_path_factory) -> Joint:
    return Joint(tmp_path_factory.mktemp("joint"))


def test_joint_labels_that_look_alike_stay_apart_in_a_model(tmp_path, joint):
    joint.transform(joint.folder / "m.zarr", "in.zarr", tmp_path / "t.zarr")
    found = zarr.open_array(tmp_path / "t.zarr" / "X", mode="r")[...]
    np.testing.assert_array_equal(found, joint.expected)


def as_before(model, path, batches):
    """Make of a model one that an earlier version has written."""
    attributes, arrays = read_model(str(model))
    attributes["batches"] = batches
    del attributes["record"]["spelling"]
    write_model(str(path), attributes, arrays, overwrite=False)
    return path


def test_a_model_of_an_earlier_version_is_refused_where_one_name_is_that_of_two_batches(
    tmp_path, joint
):
    names = ["a | b | c", "a | b | c", "x | y", "x | z"]
    old = as_before(joint.folder / "m.zarr", tmp_path / "m.zarr", names)
    said = joint.transform(old, "in.zarr", tmp_path / "t.zarr", code=2)
    assert "has one name for several batches" in said
    assert "2 of 4 batches" in said


@pytest.mark.parametrize("kept", [["x"], ["x", "a | b"]])
def test_a_model_of_an_earlier_version_knows_a_batch_by_the_name_that_it_wrote(
    tmp_path, joint, kept
):
    # It wrote what is now ("a", "b | c") in a way that is no longer known.
    names = ["a bc", "a | b | c", "x | y", "x | z"]
    old = as_before(joint.folder / "m.zarr", tmp_path / "m.zarr", names)
    rows = joint.frame[joint.frame.Metadata_A.isin(kept)]
    joint.convert(rows, "some.zarr")
    joint.transform(old, "some.zarr", tmp_path / "t.zarr")
    found = zarr.open_array(tmp_path / "t.zarr" / "X", mode="r")[...]
    np.testing.assert_array_equal(found, joint.expected[rows.index])


def test_times_of_a_model_that_python_wrote_before_are_known(tmp_path, displacing):
    column = pd.Series([DAY, NOON] * 120)
    expected = displacing.fit_transform(SCREEN.profiles, batch=column)
    displacing.save(tmp_path / "m.zarr")
    old = as_before(tmp_path / "m.zarr", tmp_path / "old.zarr", [str(DAY), str(NOON)])
    found = Balans.load(old).transform(SCREEN.profiles, batch=column)
    np.testing.assert_array_equal(found, expected)
