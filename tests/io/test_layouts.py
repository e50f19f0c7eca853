"""Stores as versions of anndata lay them out, from 0.7.8 to 0.13: each is read, and corrected."""

import re
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import zarr
from anndata.io import read_elem, write_elem
from zarr.storage import MemoryStore

from balans_dask import Balans, pp
from balans_dask.io.elements import read_element, write_element
from balans_dask.io.layout import SMALL_CODECS, write_annotations
from balans_dask.io.store import open_store
from balans_dask.report.source import reported
from tests.support.commands import run, streams
from tests.support.stores import files, plain_layout

pytestmark = pytest.mark.filterwarnings("ignore:Element .* was written without encoding metadata")

N_ROWS = 24
PLATES = np.repeat(["P1", "P2"], N_ROWS // 2)
WELLS = np.array([f"W{i}" for i in range(N_ROWS)])
MISSING = np.arange(N_ROWS) % 4 == 3
COMPOUNDS = np.array(["aspirin", "taxol", "dmso", ""] * (N_ROWS // 4))
SOURCES = np.full(N_ROWS, "S")
FEATURES = ["Cells_0", "Cells_1", "Cells_2"]


class Layout:
    """Writes elements with zarr alone, as a version of anndata encodes them."""

    def __init__(self, root: zarr.Group, sharded: bool = False, na_value: str | None = None):
        self.root, self.sharded, self.na_value = root, sharded, na_value
        self.is_v2 = root.metadata.zarr_format == 2

    def array(self, path: str, values: np.ndarray, encoding: str | None = None) -> zarr.Array:
        is_text = values.dtype.kind == "U"
        found = self.root.create_array(
            path,
            shape=values.shape,
            dtype=str if is_text else values.dtype,
            chunks=values.shape,
            shards=values.shape if self.sharded else None,
        )
        found[...] = values.astype(object) if is_text else values
        if encoding is not None:
            found.attrs.update({"encoding-type": encoding, "encoding-version": "0.2.0"})
        return found

    def text(self, path: str, values: np.ndarray) -> None:
        self.array(path, values, "string-array")

    def numbers(self, path: str, values: np.ndarray) -> None:
        self.array(path, values, "array")

    def masked(self, path: str, values: np.ndarray, mask: np.ndarray, encoding: str) -> None:
        group = self.root.create_group(path)
        group.attrs.update({"encoding-type": encoding, "encoding-version": "0.1.0"})
        if encoding == "nullable-string-array" and self.na_value is not None:
            group.attrs["na-value"] = self.na_value
        self.array(
            f"{path}/values", values, "string-array" if values.dtype.kind == "U" else "array"
        )
        self.numbers(f"{path}/mask", mask)

    def nullable_text(self, path: str, values: np.ndarray) -> None:
        self.masked(path, values, values == "", "nullable-string-array")

    def categories(self, path: str, values: np.ndarray) -> None:
        names, codes = np.unique(values, return_inverse=True)
        group = self.root.create_group(path)
        group.attrs.update(
            {"encoding-type": "categorical", "encoding-version": "0.2.0", "ordered": False}
        )
        self.text(f"{path}/categories", names)
        self.numbers(f"{path}/codes", codes.astype(np.int8))

    def old_categories(self, path: str, values: np.ndarray) -> None:
        """As anndata 0.7 did: the categories of all columns in a group of their own."""
        names, codes = np.unique(values, return_inverse=True)
        table, name = path.split("/")
        self.array(f"{table}/__categories/{name}", names).attrs["ordered"] = False
        column = self.array(path, codes.astype(np.int8))
        column.attrs["categories"] = f"__categories/{name}"

    def table(self, name: str, version: str, columns: list[str]) -> None:
        self.root.require_group(name).attrs.update(
            {
                "encoding-type": "dataframe",
                "encoding-version": version,
                "_index": "_index",
                "column-order": columns,
            }
        )


def as_0_7(root: zarr.Group) -> None:
    layout = Layout(root)
    layout.array("obs/_index", WELLS)
    layout.old_categories("obs/plate", PLATES)
    layout.old_categories("obs/source", SOURCES)
    layout.array("obs/compound", COMPOUNDS)
    layout.array("obs/count", np.arange(N_ROWS))
    layout.array("var/_index", np.array(FEATURES))
    layout.table("obs", "0.1.0", ["plate", "source", "compound", "count"])
    layout.table("var", "0.1.0", [])


def as_0_8(root: zarr.Group) -> None:
    layout = Layout(root)
    layout.text("obs/_index", WELLS)
    layout.categories("obs/plate", PLATES)
    layout.categories("obs/source", SOURCES)
    layout.text("obs/compound", COMPOUNDS)
    layout.masked("obs/count", np.arange(N_ROWS), MISSING, "nullable-integer")
    layout.masked("obs/good", np.ones(N_ROWS, bool), MISSING, "nullable-boolean")
    layout.text("var/_index", np.array(FEATURES))
    layout.table("obs", "0.2.0", ["plate", "source", "compound", "count", "good"])
    layout.table("var", "0.2.0", [])


def with_nullable_text(layout: Layout) -> None:
    layout.nullable_text("obs/_index", WELLS)
    layout.nullable_text("obs/plate", PLATES)
    layout.nullable_text("obs/source", SOURCES)
    layout.nullable_text("obs/compound", COMPOUNDS)
    # Nothing of it is on disk but the mask: chunks of the fill value are not written.
    layout.nullable_text("obs/note", np.full(N_ROWS, ""))
    layout.masked("obs/count", np.arange(N_ROWS), MISSING, "nullable-integer")
    layout.nullable_text("var/_index", np.array(FEATURES))
    layout.table("obs", "0.2.0", ["plate", "source", "compound", "note", "count"])
    layout.table("var", "0.2.0", [])


LAYOUTS = {
    "0.7.8, Zarr v2": (2, as_0_7),
    "0.8 to 0.12, Zarr v2": (2, as_0_8),
    "0.12, Zarr v3": (3, as_0_8),
    "0.11 with nullable text, Zarr v2": (2, lambda root: with_nullable_text(Layout(root))),
    "0.12 with nullable text, Zarr v3": (3, lambda root: with_nullable_text(Layout(root))),
    "0.13, pandas 3": (3, lambda root: with_nullable_text(Layout(root, True, "NaN"))),
    "0.13, pandas 3, pd.NA": (3, lambda root: with_nullable_text(Layout(root, True, "NA"))),
}


def made(path: Path, zarr_format: int, fill) -> Path:
    root = zarr.create_group(path, zarr_format=zarr_format)
    fill(root)
    values = np.random.default_rng(0).normal(size=(N_ROWS, len(FEATURES))).astype(np.float32)
    values[N_ROWS // 2 :] += 3
    Layout(root).numbers("X", values)
    return path


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """As anndata 0.13 with pandas 3 writes it by default."""
    return made(tmp_path / "a.zarr", *LAYOUTS["0.13, pandas 3"])


def values(column: pd.Series) -> list[object]:
    return [
        None if missing else value for value, missing in zip(column, column.isna(), strict=True)
    ]


@pytest.mark.parametrize("version", LAYOUTS)
def test_annotations_of_any_version_of_anndata_are_read_and_written(tmp_path, version):
    source = open_store(str(made(tmp_path / "a.zarr", *LAYOUTS[version])))
    root = zarr.create_group(tmp_path / "b.zarr")
    write_annotations(root, {"obs": source.obs, "var": source.var})
    known, found = anndata.read_zarr(tmp_path / "a.zarr").obs, read_elem(root["obs"])
    assert list(found.index) == list(WELLS)
    assert list(source.column("plate")) == list(PLATES)
    assert list(found.columns) == list(known.columns)
    for name in known.columns:
        assert values(found[name]) == values(known[name])
    assert list(read_elem(root["var"]).index) == FEATURES


def test_nullable_text_passes_every_command(tmp_path, store):
    model, out = tmp_path / "m.zarr", tmp_path / "out.zarr"
    smooth = ["--batch-key", "plate", "--operator", "smooth", "--quiet"]
    run("correct", store, out, *smooth, "--model", model)
    run("transform", model, store, tmp_path / "t.zarr", "--batch-key", "plate", "--quiet")
    run("preprocess", store, tmp_path / "p.zarr", "--normalize", "mad", "--by", "plate", "--quiet")
    for made_from_it in ("out", "t", "p"):
        found = anndata.read_zarr(tmp_path / f"{made_from_it}.zarr").obs
        assert values(found["compound"]) == [compound or None for compound in COMPOUNDS]
    run("export", out, tmp_path / "e.parquet")
    exported = pd.read_parquet(tmp_path / "e.parquet")
    assert values(exported["Metadata_compound"]) == [compound or None for compound in COMPOUNDS]
    compounds = reported(str(out), "compound", None).labels[0]
    assert (compounds.names, compounds.codes[:4].tolist()) == (
        ["aspirin", "taxol", "dmso"],
        [0, 1, 2, -1],
    )
    shown, _ = streams("inspect", out)
    assert "plate" in shown


def test_nullable_text_is_swept_and_gains_results_in_place(store):
    one = ("--n-neighbors", 3, "--operator", "smooth", "--n-passes", 1, "--strength", 1)
    shown, _ = streams("sweep", store, "--batch-key", "plate", "--label-key", "compound", *one)
    assert "smooth" in shown
    run("correct", store, "--into", "--batch-key", "plate", "--operator", "smooth", "--quiet")
    found = anndata.read_zarr(store)
    assert found.obs["balans_covered"].all()
    assert list(found.obs["plate"]) == list(PLATES)
    assert values(found.obs["compound"]) == [compound or None for compound in COMPOUNDS]


def test_nullable_text_is_a_batch_in_python(store):
    data = anndata.read_zarr(store)
    pp.balans_integrate(data, key="plate", basis=None)
    assert np.isfinite(data.obsm["X_pca_balans"]).all()
    fitted = Balans().fit(np.asarray(data.X), batch=data.obs["plate"])
    assert list(fitted.batches_) == ["P1", "P2"]


@pytest.mark.parametrize(
    ("version", "lost"),
    [
        ("0.7.8, Zarr v2", "obs/__categories/source/0"),
        ("0.12, Zarr v3", "obs/source/categories/c/0"),
        ("0.12 with nullable text, Zarr v3", "obs/source/values/c/0"),
        ("0.13, pandas 3", "obs/_index/values/c/0"),
    ],
)
def test_lost_text_is_refused_wherever_it_is(tmp_path, version, lost):
    source = made(tmp_path / "a.zarr", *LAYOUTS[version])
    (source / lost).unlink()
    said = run("check", source, "--batch-key", "plate", "--batch-key", "source", code=2)
    assert re.search(
        "lacks 1 of 1 stored chunks of " + lost.replace("/c/", "/").removesuffix("/0"), said
    )


def test_text_is_stored_plainly_but_where_its_type_has_room_for_missing_values(tmp_path):
    frame = pd.DataFrame(
        {
            "plain": pd.array(["a", "b"], dtype=pd.StringDtype(na_value=np.nan)),
            "some": pd.array(["a", None], dtype=pd.StringDtype(na_value=np.nan)),
            "nullable": pd.array(["a", "b"], dtype="string"),
        },
        index=pd.Index(["x", "y"], dtype=pd.StringDtype(na_value=np.nan)),
    )
    root = zarr.create_group(tmp_path / "a.zarr")
    write_annotations(root, {"obs": frame, "uns/balans/deep": {"by": np.array(["a"])}})
    kinds = {
        name: root[f"obs/{name}"].attrs["encoding-type"] for name in ("_index", *frame.columns)
    }
    assert kinds == {
        "_index": "string-array",
        "plain": "string-array",
        "some": "nullable-string-array",
        "nullable": "nullable-string-array",
    }
    assert root["obs/_index"].shards is None
    assert root["uns/balans/deep/by"][:].tolist() == ["a"]


RECORD = {
    "words": {"short": "a", "long": "a longer text, in \u00e4 and \u00f6", "none": ""},
    "numbers": {"one": 1, "zero": 0, "third": 1 / 3, "nothing": 0.0, "yes": True, "no": False},
    "rows": {"first": 7, "all": np.arange(3), "deeper": {"last": 9, "nobody": {}}},
    "of numpy": np.float32(0.5),
}


TABLE = pd.DataFrame(
    {
        "text": np.array(["a", "", "\u00e4"], dtype=object),
        "floats": np.array([0.0, np.nan, -1.5], dtype=np.float32),
        "integers": np.arange(3),
        "truths": [True, False, True],
        "levels": pd.Categorical(["b", None, "a"], categories=["b", "a", "c"], ordered=True),
        "years": pd.Categorical([2020, 2021, 2020]),
        "counts": pd.array([1, None, 3], dtype="Int64"),
        "flags": pd.array([True, None, False], dtype="boolean"),
    },
    index=pd.Index(["x", "y", "z"], dtype=object),
)
ELEMENTS = {
    "record": RECORD,
    "table": TABLE,
    "table without rows": TABLE[:0],
    "table without columns": TABLE[[]],
    "table of numbered rows": TABLE.reset_index(drop=True),
    "table of named rows": TABLE.rename_axis("well"),
    "arrays": {
        "words": ["a", "long"],
        "nothing": [],
        "no words": np.array([], dtype=object),
        "squares": np.ones((2, 2), dtype=">f8"),
        "alone": np.array(4.0),
        "a word": np.str_("w"),
        "truth": np.True_,
    },
}


@pytest.mark.parametrize("name", ELEMENTS)
def test_elements_have_the_files_that_anndata_writes_and_are_read_as_it_does(tmp_path, name):
    ours, known = (zarr.create_group(tmp_path / side, zarr_format=3) for side in ("a", "b"))
    write_annotations(ours, {"element": ELEMENTS[name]})
    with plain_layout():
        write_elem(known, "element", ELEMENTS[name], dataset_kwargs={"compressors": SMALL_CODECS})
    assert files(tmp_path / "a") == files(tmp_path / "b")
    found, expected = read_element(ours["element"]), read_elem(known["element"])
    if isinstance(expected, pd.DataFrame):
        pd.testing.assert_frame_equal(found, expected)
    else:
        np.testing.assert_equal(found, expected)


@pytest.mark.parametrize(
    "frame",
    [
        TABLE.assign(**{"a/b": 1}),
        TABLE.assign(_index=1),
        TABLE.rename(columns={"truths": "text"}),
        TABLE.rename(columns={"text": 1}),
        TABLE.assign(when=pd.Timestamp("2020-01-01")),
    ],
    ids=["slash", "reserved", "repeated", "numbered", "time"],
)
def test_what_anndata_refuses_is_refused_in_its_words(frame):
    said = []
    for write in (write_elem, lambda *given: write_element(*given, SMALL_CODECS)):
        with pytest.raises(Exception) as refused:  # noqa: PT011  (of zarr, numpy or anndata)
            write(zarr.create_group(MemoryStore(), zarr_format=3), "obs", frame)
        said.append((type(refused.value), str(refused.value)))
    assert said[0] == said[1]
