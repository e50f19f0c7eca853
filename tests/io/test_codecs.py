"""What of a store that somebody sent is decoded: nothing by a codec that is not on the list."""

import json

import anndata
import h5py
import numcodecs
import numpy as np
import pandas as pd
import pytest
import zarr
from zarr.abc.codec import BytesBytesCodec
from zarr.registry import register_codec

from balans_dask import Balans
from balans_dask.errors import InvalidInputError
from balans_dask.io.codecs import COMPRESSORS, require_known
from balans_dask.io.store import open_store
from tests.support.commands import run
from tests.support.hostile_stores import copied, pickled, rewrite
from tests.support.screens import gaussian_screen
from tests.support.stores import plain_layout

SCREEN = gaussian_screen(300, n_features=4)
KEY = ["--batch-key", "p"]
OPTIONS = [*KEY, "--operator", "smooth", "--patience", "10"]
TEXT = {"id": "vlen-utf8"}
NUMBERS = ["X", "obs/p/codes", "obsm/X_pca", "layers/raw", "uns/numbers", "varm/loadings"]
TEXTS = ["obs/_index", "obs/p/categories", "var/_index", "uns/texts"]
DECODED = []


class Decoded(BytesBytesCodec):
    """A codec of somebody's package, which is installed here."""

    is_fixed_size = True

    @classmethod
    def from_dict(cls, data):
        return cls()

    def to_dict(self):
        return {"name": "theirs"}

    async def _decode_single(self, chunk_bytes, chunk_spec):
        DECODED.append(chunk_bytes)
        return chunk_bytes

    def compute_encoded_size(self, input_byte_length, chunk_spec):
        return input_byte_length


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Inputs of both formats, and the store and the model of a correction."""
    folder = tmp_path_factory.mktemp("codecs")
    obs = pd.DataFrame({"p": SCREEN.batch}, index=[f"w{i}" for i in range(len(SCREEN.batch))])
    data = anndata.AnnData(SCREEN.profiles, obs, obsm={"X_pca": SCREEN.profiles[:, :2]})
    data.layers["raw"] = data.X
    data.uns["numbers"], data.uns["texts"] = np.arange(3), np.array(["a", "b"], dtype=object)
    data.varm["loadings"] = np.eye(4)
    for zarr_format in (2, 3):
        with plain_layout(zarr_format):
            data.write_zarr(folder / f"v{zarr_format}.zarr")
    run("correct", folder / "v3.zarr", folder / "out.zarr", *OPTIONS, "--model", folder / "m.zarr")
    return folder


@pytest.fixture
def store(place, tmp_path):
    return copied(place / "v2.zarr", tmp_path / "sent.zarr")


@pytest.fixture
def opened(tmp_path, monkeypatch):
    """The folder that unpickled code would make, where numcodecs is told to unpickle."""
    monkeypatch.setattr(numcodecs.pickles, "ALLOW_UNSAFE_PICKLE_DECODE", True)
    return tmp_path / "opened"


def refused(*arguments):
    """The one line of a command that refuses what it was given."""
    error = run(*arguments, code=2)
    assert error.count("\n") == 1, error
    return error


@pytest.mark.parametrize("array", NUMBERS + TEXTS)
def test_no_array_of_a_store_is_unpickled(store, opened, array):
    pickled(store, array, opened)
    error = refused("check", store, *KEY)
    # Zarr itself reads no numbers by pickle; text it would.
    assert f"{array} stored by the codec 'pickle'" in error if array in TEXTS else "pickle" in error
    assert not opened.exists()


@pytest.mark.skipif(
    int(zarr.__version__.split(".")[1]) >= 4, reason="this zarr and its numcodecs unpickle nothing"
)
@pytest.mark.parametrize("array", TEXTS)
def test_the_test_would_notice_code_that_runs(store, opened, array):
    pickled(store, array, opened)
    with pytest.raises((ValueError, TypeError, AttributeError)):
        zarr.open_group(store, mode="r")[array][:]
    assert opened.exists()


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("where", ["own", "consolidated"])
def test_metadata_that_are_read_are_those_that_are_checked(store, opened, where, listed):
    pickled(store, "obs/p/categories", opened, where)
    if not listed:
        (store / ".zmetadata").unlink()
    error = refused("check", store, *KEY)
    assert ("'pickle'" in error) == (listed == (where == "consolidated"))
    assert not opened.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["correct", "SENT", "OUT", *OPTIONS],
        ["correct", "SENT", "--into", *OPTIONS],
        ["transform", "m.zarr", "SENT", "OUT", *KEY],
        ["transform", "SENT", "v3.zarr", "OUT", *KEY],
        ["preprocess", "SENT", "OUT", "--normalize", "mad", "--by", "p"],
        ["sweep", "SENT", *KEY, "--label-key", "p"],
        ["evaluate", "SENT", *KEY, "--label-key", "p"],
        ["evaluate", "v3.zarr", "SENT", *KEY, "--label-key", "p"],
        ["report", "SENT", "--html", "OUT"],
        ["inspect", "SENT"],
        ["export", "SENT", "OUT"],
    ],
    ids=" ".join,
)
def test_every_command_refuses_a_codec_that_another_package_brings(place, tmp_path, arguments):
    register_codec("theirs", Decoded)
    model = arguments[:2] == ["transform", "SENT"]
    source, array = ("m.zarr", "mean") if model else ("out.zarr", "obs/balans_covered")
    sent = copied(place / source, tmp_path / "sent.zarr")
    rewrite(sent, array, lambda document: document["codecs"].append({"name": "theirs"}))
    places = {"SENT": sent, "OUT": tmp_path / "out"}
    places |= {name: place / name for name in ("m.zarr", "v3.zarr")}
    error = refused(*(places.get(each, each) for each in arguments))
    assert f"{sent} has {array} stored by the codec 'theirs', which is not read" in error
    assert not DECODED
    assert {path.name for path in tmp_path.iterdir()} == {"sent.zarr"}


def test_every_api_refuses_such_a_codec(place, tmp_path):
    register_codec("theirs", Decoded)
    sent = copied(place / "m.zarr", tmp_path / "m.zarr")
    rewrite(sent, "mean", lambda document: document["codecs"].append({"name": "theirs"}))
    with pytest.raises(InvalidInputError, match="codec 'theirs'"):
        Balans.load(sent)
    for kept in ({}, tmp_path / "x.zarr"):
        # In memory, and in files.
        array = zarr.create_array(kept, shape=SCREEN.profiles.shape, dtype="f4",
                                  compressors=[Decoded()])  # fmt: skip
        with pytest.raises(InvalidInputError, match="codec 'theirs'"):
            Balans().fit(array, SCREEN.batch)
    assert not DECODED


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"compressor": {"id": "pickle"}}, "obs/_index stored by the codec 'pickle'"),
        ({"filters": [TEXT, {"id": "json2"}]}, "codec 'json2'"),
        ({"filters": [TEXT, {"id": "msgpack2"}]}, "codec 'msgpack2'"),
        ({"filters": [TEXT, {"id": "vlen-array", "dtype": "<f4"}]}, "codec 'vlen-array'"),
        ({"filters": [TEXT, {"id": "categorize", "labels": ["a"], "dtype": "|O"}]}, "'categorize'"),
        ({"filters": [TEXT, {"id": "astype", "encode_dtype": "f4", "decode_dtype": "O"}]},
         "codec 'astype'"),
        ({"compressor": {"id": "bz2"}}, "codec 'bz2'"),
        ({"filters": [TEXT, {"id": "zlib"}]}, "stored by vlen-utf8 within zlib within blosc"),
        ({"filters": [TEXT, {"id": "delta", "dtype": "S9"}]}, "utf8 within delta within blosc"),
        ({"compressor": {"id": "nobodys"}}, "cannot be read as AnnData on Zarr"),
        ({"filters": [{"id": "pickle"}]}, "cannot be read as AnnData on Zarr"),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_not_on_the_list_is_refused(store, settings, said):
    rewrite(store, "obs/_index", lambda document: document.update(settings))
    assert said in refused("inspect", store)


@pytest.mark.parametrize(
    ("codecs", "said"),
    [
        (
            {"compressors": [zarr.codecs.GzipCodec(), zarr.codecs.BloscCodec()]},
            "stored by bytes within gzip within blosc: write it again with one compressor",
        ),
        ({"chunks": (1, 1), "shape": (2**13, 2**13)}, "cut into 67,108,864 chunks"),
    ],
)
def test_v3_arrays_are_stored_by_one_compressor_and_not_too_many_chunks(codecs, said):
    array = zarr.create_array({}, **({"shape": (4, 4), "dtype": "f4"} | codecs))
    with pytest.raises(InvalidInputError, match=said):
        require_known(array, "store")


def test_v3_arrays_have_plain_indexes_of_shards():
    index = [zarr.codecs.BytesCodec(), zarr.codecs.GzipCodec()]
    try:
        sharding = zarr.codecs.ShardingCodec(chunk_shape=(1, 1), index_codecs=index)
    except ValueError:
        pytest.skip("this version of zarr refuses such an index itself")
    array = zarr.create_array(
        {}, shape=(4, 4), dtype="f4", chunks=(2, 2), serializer=sharding, compressors=None
    )
    with pytest.raises(InvalidInputError, match="in shards with an index stored by bytes, gzip"):
        require_known(array, "store")


@pytest.mark.parametrize("compressor", COMPRESSORS)
def test_what_programs_write_is_read(place, tmp_path, compressor):
    data = anndata.read_zarr(place / "v2.zarr")
    filters = [numcodecs.Delta(dtype="f4"), numcodecs.CRC32()]
    codec = numcodecs.get_codec({"id": compressor})
    with plain_layout(2):
        data.write_zarr(tmp_path / "a.zarr")
    root = zarr.open_group(tmp_path / "a.zarr", mode="r+", use_consolidated=False)
    attributes = dict(root["X"].attrs)
    array = root.create_array("X", data=data.X, filters=filters, compressors=codec, overwrite=True)
    array.attrs.update(attributes)
    zarr.consolidate_metadata(str(tmp_path / "a.zarr"))
    assert np.allclose(open_store(str(tmp_path / "a.zarr")).features[...], data.X, atol=1e-5)


def test_groups_within_groups_end_somewhere(place, tmp_path):
    sent = copied(place / "v3.zarr", tmp_path / "sent.zarr")
    root = zarr.open_group(sent, mode="r+")
    root.create_group("uns/" + "/".join(["a"] * 40))
    zarr.consolidate_metadata(sent)
    assert "33 deep and more" in refused("inspect", sent)


@pytest.mark.parametrize("document", ["out.zarr/", "out.zarr/obs/", "m.zarr/"])
def test_deep_json_is_refused_without_a_recursion(place, tmp_path, document):
    source = document.split("/")[0]
    sent = copied(place / source, tmp_path / source)
    root = json.loads((sent / "zarr.json").read_text())
    root["consolidated_metadata"] = None
    (sent / "zarr.json").write_text(json.dumps(root))
    file = tmp_path / document / "zarr.json"
    deep = '{"a":' * 50_000 + "1" + "}" * 50_000
    file.write_text(file.read_text().replace('"attributes": {', f'"attributes": {{"a": {deep},', 1))
    said = "is not a model" if source == "m.zarr" else "its metadata are nested too deep"
    command = ["transform", sent, place / "v3.zarr", tmp_path / "o.zarr", *KEY]
    assert said in refused(*(command if source == "m.zarr" else ["inspect", sent]))


def test_an_array_of_a_store_stays_in_the_store(place, tmp_path):
    copied(place / "v3.zarr", tmp_path / "other.zarr")
    sent = copied(place / "v3.zarr", tmp_path / "sent.zarr")
    text = (sent / "zarr.json").read_text().replace('"uns/numbers"', '"uns/../../other.zarr/X"')
    (sent / "zarr.json").write_text(text)
    refused("inspect", sent)


def write_h5ad(place, path):
    anndata.read_zarr(place / "v3.zarr").write_h5ad(path)
    return path


def externally_linked(file):
    del file["X"]
    file["X"] = h5py.ExternalLink("other.h5", "/secret")


def externally_stored(file):
    del file["X"]
    file.create_dataset("X", (300, 4), "f4", external=[("other.h5", 0, 4800)])


def virtual(file):
    del file["X"]
    layout = h5py.VirtualLayout((300, 4), "f4")
    layout[...] = h5py.VirtualSource("other.h5", "secret", (300, 4))
    file.create_virtual_dataset("X", layout)


def by_a_plugin(file):
    # szip stands for whatever is not part of h5py: a filter needs no plugin until it is used.
    made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    made.set_chunk((300, 4))
    made.set_filter(h5py.h5z.FILTER_NBIT, h5py.h5z.FLAG_OPTIONAL)
    del file["X"]
    space = h5py.h5s.create_simple((300, 4))
    h5py.h5d.create(file.id, b"X", h5py.h5t.IEEE_F32LE, space, made)


def of_references(file):
    file.create_dataset("uns/ref", (2,), h5py.ref_dtype)


def deep(file):
    file.create_group("uns/" + "/".join(["a"] * 40))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (externally_linked, "has /X in another file"),
        (externally_stored, "has /X in another file"),
        (virtual, "has /X in another file"),
        (by_a_plugin, "has /X stored by the filter nbit"),
        (of_references, "has /uns/ref of references or sequences"),
        (deep, "33 deep and more"),
    ],
)
def test_what_an_hdf5_file_takes_from_elsewhere_is_refused(place, tmp_path, spoil, said):
    path = write_h5ad(place, tmp_path / "sent.h5ad")
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["secret"] = SCREEN.profiles.astype("f4")
    with h5py.File(path, "r+") as file:
        spoil(file)
    assert said in refused("convert", path, tmp_path / "out.zarr")
    assert not (tmp_path / "out.zarr").exists()


def test_a_loop_and_a_link_to_nowhere_hurt_nobody(place, tmp_path):
    path = write_h5ad(place, tmp_path / "sent.h5ad")
    with h5py.File(path, "r+") as file:
        file["uns/loop"] = file["uns"]
        file["uns/lost"] = h5py.SoftLink("/nowhere")
    run("convert", path, tmp_path / "out.zarr")
