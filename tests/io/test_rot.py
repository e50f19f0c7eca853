"""Stored numbers that have changed or gone: seen by whoever reads them, in one line."""

import anndata
import numpy as np
import pytest
import zarr

from balans_dask.io.store import open_store
from tests.support.commands import run
from tests.support.hostile_stores import copied
from tests.support.screens import gaussian_screen
from tests.support.stores import files, write_anndata

SCREEN = gaussian_screen(600, n_features=4)
KEY = ["--batch-key", "p"]
OPTIONS = [*KEY, "--operator", "smooth", "--patience", 10]
CHUNKS_OF_A_SHARD = 4
INDEX_BYTES = 16 * CHUNKS_OF_A_SHARD + 4
CUTS = {"nothing": 0, "less than the index": INDEX_BYTES - 1, "half": None}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """An input in shards whose fill value is a number, and what a correction makes of it."""
    folder = tmp_path_factory.mktemp("rot")
    write_anndata(
        folder / "in.zarr",
        SCREEN.profiles,
        p=SCREEN.batch,
        label=np.repeat(["a", "b"], 300),
        obsm={"X_pca": SCREEN.profiles[:, :2]},
    )
    root = zarr.open_group(folder / "in.zarr", mode="r+", use_consolidated=False)
    for name in ("X", "obsm/X_pca"):
        found = root[name]
        array = root.create_array(
            name,
            data=found[...],
            chunks=(50, found.shape[1]),
            shards=(200, found.shape[1]),
            fill_value=0,
            overwrite=True,
        )
        array.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    zarr.consolidate_metadata(str(folder / "in.zarr"))
    run("correct", folder / "in.zarr", folder / "o.zarr", *OPTIONS, "--model", folder / "m.zarr")
    return folder


def refused(*arguments):
    """The one line of a command that refuses what it was given."""
    lines = run(*arguments, code=2).splitlines()
    errors = [line for line in lines if not line.startswith("balans: warning: ")]
    assert len(errors) == 1, errors
    return errors[0]


def cut(file, n_bytes):
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2 if n_bytes is None else n_bytes])


@pytest.mark.parametrize("n_bytes", CUTS.values(), ids=CUTS)
def test_a_shard_of_an_input_that_was_cut_off_is_refused(place, tmp_path, n_bytes):
    sent = copied(place / "in.zarr", tmp_path / "sent.zarr")
    cut(sent / "X" / "c" / "1" / "0", n_bytes)
    said = "X/c/1/0 of" if n_bytes is None else "has 1 shards of X cut off: restore them"
    into = tmp_path / "out.zarr"
    assert said in refused("correct", sent, into, *OPTIONS)
    assert said in refused("transform", place / "m.zarr", sent, into, *KEY)
    if n_bytes is not None:
        assert said in refused("check", sent, *KEY)
    assert [path.name for path in tmp_path.iterdir()] == ["sent.zarr"]


def test_a_cut_embedding_is_refused(place, tmp_path):
    sent = copied(place / "in.zarr", tmp_path / "sent.zarr")
    cut(sent / "obsm" / "X_pca" / "c" / "0" / "0", 0)
    said = "has 1 shards of obsm/X_pca cut off"
    assert said in refused("check", sent, *KEY, "--basis", "X_pca")
    assert said in refused("correct", sent, "--into", *OPTIONS, "--basis", "X_pca")


@pytest.mark.parametrize("n_bytes", [0, None])
def test_a_table_of_a_model_that_was_cut_off_is_refused(place, tmp_path, n_bytes):
    sent = copied(place / "m.zarr", tmp_path / "m.zarr")
    cut(sent / "pass_0" / "scores" / "c" / "0" / "0", n_bytes)
    refused("transform", sent, place / "in.zarr", tmp_path / "out.zarr", *KEY)
    refused("inspect", sent)


def arrays_of(store):
    members = zarr.open_group(store, mode="r").members(max_depth=None)
    return {name: array for name, array in members if isinstance(array, zarr.Array)}


@pytest.mark.parametrize("store", ["o.zarr", "m.zarr"])
def test_every_chunk_that_is_written_ends_with_a_checksum(place, store):
    for name, array in arrays_of(place / store).items():
        last = array.metadata.to_dict()["codecs"][-1]
        inner = last["configuration"]["codecs"][-1] if array.shards else last
        assert inner["name"] == "crc32c", name


@pytest.mark.parametrize(
    "name",
    [
        "X/c/0/0",
        "obsm/X_pca_balans/c/0/0",
        "obs/balans_covered/c/0",
        "obs/_index/c/0",
        "uns/balans/n_sampled/c",
    ],
)
def test_a_bit_that_changes_in_an_output_is_seen(place, tmp_path, name):
    sent = copied(place / "o.zarr", tmp_path / "o.zarr")
    file = sent / name
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 1
    file.write_bytes(content)
    commands = {
        "evaluate": ["evaluate", sent, *KEY, "--label-key", "label"],
        "report": ["report", sent, "--html", tmp_path / "r.html"],
        "check": ["check", sent, *KEY],
        "basis": ["correct", sent, "--into", *OPTIONS, "--basis", "X_pca_balans"],
        "correct": ["correct", sent, tmp_path / "again.zarr", *OPTIONS],
    }
    del commands["basis" if not name.startswith("obsm") else "evaluate"]
    read = {"X": ["correct"], "obsm": ["basis", "report"], "uns": ["evaluate", "report"]}
    for command in read.get(name.split("/")[0], commands):
        assert "o.zarr" in refused(*commands[command])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["o.zarr"]


def test_outputs_are_read_by_anndata_and_zarr_as_before(place):
    data = anndata.read_zarr(place / "o.zarr")
    np.testing.assert_array_equal(data.X, open_store(str(place / "o.zarr")).features[...])
    assert data.uns["balans"]["n_sampled"] > 0
    assert files(place / "o.zarr")
