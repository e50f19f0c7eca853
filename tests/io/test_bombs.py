"""Chunks that would decode to more than their metadata state, or than there is memory for."""

import gzip
import os
import zlib

import anndata
import h5py
import numcodecs
import numpy as np
import pyarrow as pa
import pytest
import zarr

from balans_dask.errors import InvalidInputError
from balans_dask.io import encoded
from balans_dask.io.chunks import require_decodable
from balans_dask.io.codecs import COMPRESSORS, require_room
from balans_dask.io.store import open_store
from tests.support.commands import run
from tests.support.hostile_stores import copied, fill, rewrite
from tests.support.screens import gaussian_screen
from tests.support.stores import write_anndata

SCREEN = gaussian_screen(300, n_features=4)
KEY = ["--batch-key", "p"]
OPTIONS = [*KEY, "--operator", "smooth", "--patience", 10]
CHUNK = np.arange(1_000, dtype="f4")
LONG = np.zeros(1_001, dtype="f4").tobytes()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bombs")
    write_anndata(folder / "in.zarr", SCREEN.profiles, p=SCREEN.batch, n=np.arange(300))
    run("correct", folder / "in.zarr", folder / "o.zarr", *OPTIONS, "--model", folder / "m.zarr")
    return folder


def refused(*arguments):
    """The one line of a command that refuses what it was given."""
    lines = run(*arguments, code=2).splitlines()
    assert sum(line.startswith("balans: error: ") for line in lines) == 1, lines
    assert "Traceback" not in str(lines)
    return lines[-1]


def unstated(content):
    """A frame of zstd that does not say how long it will be."""
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()


def zstd(content):
    return numcodecs.Zstd().encode(content)


LIARS = {
    "blosc": ("blosc", numcodecs.Blosc(cname="zstd").encode(LONG)),
    "lz4": ("lz4", numcodecs.LZ4().encode(LONG)),
    "zstd": ("zstd", zstd(LONG)),
    "zstd that states nothing": ("zstd", unstated(LONG)),
    "zstd in two frames": ("zstd", zstd(LONG[:2_000]) + zstd(LONG[:2_004])),
    "zstd behind a comment": ("zstd", bytes.fromhex("502a4d180100000000") + zstd(LONG)),
    "gzip": ("gzip", gzip.compress(LONG)),
    "gzip in two members": ("gzip", gzip.compress(LONG[:2_000]) + gzip.compress(LONG[:2_004])),
    "zlib": ("zlib", zlib.compress(LONG)),
}


def compressed(path, compressor):
    codec = numcodecs.get_codec({"id": compressor})
    return zarr.create_array(path, data=CHUNK, chunks=CHUNK.shape, zarr_format=2, compressors=codec)


@pytest.mark.parametrize(("compressor", "stream"), LIARS.values(), ids=LIARS)
def test_a_stream_longer_than_its_chunk_is_refused_before_it_is_decoded(
    tmp_path, monkeypatch, compressor, stream
):
    monkeypatch.setattr(encoded, "HARMLESS_BYTES", 0)
    array = compressed(tmp_path / "a.zarr", compressor)
    require_decodable(array, tmp_path / "a.zarr")
    (tmp_path / "a.zarr" / "0").write_bytes(stream)
    with pytest.raises(InvalidInputError, match=r"more than the 4,000 bytes it may have"):
        require_decodable(array, tmp_path / "a.zarr")


@pytest.mark.parametrize("stream", ["", "unstated"])
@pytest.mark.parametrize("compressor", COMPRESSORS)
def test_what_a_chunk_should_hold_passes(tmp_path, monkeypatch, compressor, stream):
    monkeypatch.setattr(encoded, "HARMLESS_BYTES", 0)
    array = compressed(tmp_path / "a.zarr", compressor)
    if stream and compressor == "zstd":
        (tmp_path / "a.zarr" / "0").write_bytes(unstated(CHUNK.tobytes()))
    require_decodable(array, tmp_path / "a.zarr")
    np.testing.assert_array_equal(array[:], CHUNK)


@pytest.mark.parametrize("location", ["start", "end"])
def test_chunks_of_shards_are_looked_at_one_by_one(tmp_path, location):
    path = tmp_path / "a.zarr"
    shards = zarr.codecs.ShardingCodec(
        chunk_shape=(500,), codecs=[zarr.codecs.BytesCodec(), zarr.codecs.ZstdCodec()],
        index_location=location,
    )  # fmt: skip
    array = zarr.create_array(path, shape=CHUNK.shape, chunks=(1_000,), dtype="f4",
                              serializer=shards, compressors=None)  # fmt: skip
    array[:] = CHUNK
    require_decodable(array, path)
    file = path / "c" / "0"
    content = file.read_bytes()
    index = content[:36] if location == "start" else content[-36:]
    offsets = np.frombuffer(index[:32], dtype="<u8").reshape(2, 2)
    first, length = offsets[1].tolist()
    spoilt = zstd(np.zeros(501, dtype="f4").tobytes()).ljust(length, b"\0")
    file.write_bytes(content[:first] + spoilt + content[first + length :])
    with pytest.raises(InvalidInputError, match="more than the 2,000 bytes"):
        require_decodable(array, path)
    moved = offsets.copy()
    moved[1, 0] = 10**9
    file.write_bytes(content.replace(index[:32], moved.tobytes()))
    with pytest.raises(InvalidInputError, match=r"a\.zarr is cut off"):
        require_decodable(array, path)


def longer(content):
    """A buffer of blosc that says to go on behind its end, where its first block would be."""
    content = bytearray(content)
    content[12:16] = (2**31 - 100).to_bytes(4, "little")
    content[16:20] = (2**31 - 2**24).to_bytes(4, "little")
    return bytes(content)


def in_blosc(path, data, kind):
    """An array, and the file that begins with its first chunk."""
    if kind == "2":
        codec = numcodecs.Blosc(cname="lz4")
        found = {"chunks": data.shape, "zarr_format": 2, "compressors": codec}
    else:
        shards = data.shape if kind == "shards" else None
        chunks = (len(data) // 2 if shards else len(data),)
        found = {"chunks": chunks, "shards": shards, "compressors": zarr.codecs.BloscCodec()}
    return zarr.create_array(path, data=data, **found), path / ("0" if kind == "2" else "c/0")


@pytest.mark.parametrize("kind", ["2", "3", "shards"])
@pytest.mark.parametrize("data", [CHUNK, np.array(["a", "b"] * 99, dtype="T")], ids=["f4", "text"])
def test_blosc_never_reads_beyond_the_end_of_a_chunk(tmp_path, monkeypatch, kind, data):
    path = tmp_path / "a.zarr"
    array, file = in_blosc(path, data, kind)
    require_decodable(array, path)
    file.write_bytes(longer(file.read_bytes()))
    # To count texts the chunk is decoded, which would end the process of the tests.
    monkeypatch.setattr(encoded, "_n_texts", lambda stored, encoding: encoding.n_values)
    with pytest.raises(InvalidInputError, match=r"0 of .*a\.zarr is cut off: restore it"):
        require_decodable(array, path)


def test_a_lie_of_blosc_within_shards_is_refused_by_commands(place, tmp_path):
    sent = copied(place / "in.zarr", tmp_path / "sent.zarr")
    root = zarr.open_group(sent, mode="r+", use_consolidated=False)
    for name in ("X", "obs/_index"):
        found = root[name]
        attributes, shape, data = found.attrs.asdict(), found.shape, found[...]
        made = root.create_array(name, shape=shape, dtype=found.dtype, overwrite=True,
                                 chunks=(100, *shape[1:]), shards=shape,
                                 compressors=zarr.codecs.BloscCodec(typesize=4))  # fmt: skip
        made[...] = data
        made.attrs.update(attributes)
    zarr.consolidate_metadata(str(sent))
    file = sent / "X" / "c" / "0" / "0"
    file.write_bytes(longer(file.read_bytes()))
    assert "X/c/0/0 of" in refused("check", sent, *KEY)
    file = sent / "obs" / "_index" / "c" / "0"
    file.write_bytes(longer(file.read_bytes()))
    assert "obs/_index/c/0 of" in refused("inspect", sent)


def test_chunks_of_text_are_counted_once_whatever_memory_is_free(tmp_path, monkeypatch):
    path = tmp_path / "a.zarr"
    array = zarr.create_array(path, data=np.array(["a", "b"], dtype="T"), chunks=(2,))
    require_decodable(array, path)
    monkeypatch.setattr(encoded, "_n_texts", None)
    monkeypatch.setattr(encoded, "_decoded_bytes", None)
    require_decodable(array, path, limit_bytes=1_000)
    with pytest.raises(InvalidInputError, match=r"more than the 2 bytes"):
        require_decodable(array, path, limit_bytes=8)


def test_of_zstd_that_states_its_length_headers_alone_are_read(tmp_path, monkeypatch):
    array = compressed(tmp_path / "a.zarr", "zstd")
    file = tmp_path / "a.zarr" / "0"
    rng = np.random.default_rng(0)
    file.write_bytes(zstd(rng.bytes(2_000)) + zstd(rng.bytes(2_000)))
    n_read = []

    pread = os.pread

    def counted(file, n_bytes, start):
        n_read.append(n_bytes)
        return pread(file, n_bytes, start)

    monkeypatch.setattr(os, "pread", counted)
    require_decodable(array, tmp_path / "a.zarr")
    assert 0 < sum(n_read) < 100 < file.stat().st_size


def test_text_holds_as_many_values_as_its_chunk(place, tmp_path):
    sent = copied(place / "in.zarr", tmp_path / "sent.zarr")
    fill(sent, "obs/_index", zstd((2**31).to_bytes(4, "little") + bytes(1_000)))
    assert "obs/_index/c/0 of" in refused("inspect", sent)
    assert "does not hold the 300 texts of a chunk" in refused("check", sent, *KEY)


def test_text_stays_within_the_memory_limit(place, tmp_path):
    sent = copied(place / "in.zarr", tmp_path / "sent.zarr")
    # As many texts as there should be, of which one is long.
    long = 32 * 2**20
    texts = [long, *[0] * 299]
    content = b"".join(n.to_bytes(4, "little") + bytes(n) for n in texts)
    fill(sent, "obs/_index", zstd((300).to_bytes(4, "little") + content))
    error = refused("check", sent, *KEY, "--memory-limit", f"{3 * long}B")
    assert f"decodes to more than the {3 * long // 4:,} bytes" in error


BOMB = zstd(bytes(2_000_000))


@pytest.mark.parametrize(
    ("store", "array", "arguments"),
    [
        ("in.zarr", "obs/n", ["check", "SENT", *KEY]),
        ("in.zarr", "X", ["correct", "SENT", "OUT", *OPTIONS]),
        ("in.zarr", "X", ["transform", "m.zarr", "SENT", "OUT", *KEY]),
        ("in.zarr", "X", ["export", "SENT", "OUT"]),
        ("in.zarr", "X", ["preprocess", "SENT", "OUT", "--normalize", "mad", "--by", "p"]),
        ("in.zarr", "var/_index", ["inspect", "SENT"]),
        ("m.zarr", "mean", ["transform", "SENT", "in.zarr", "OUT", *KEY]),
        ("m.zarr", "pass_0/scores", ["inspect", "SENT"]),
        ("o.zarr", "uns/balans/n_sampled", ["report", "SENT", "--html", "OUT"]),
        ("o.zarr", "obs/balans_covered", ["evaluate", "SENT", *KEY, "--label-key", "p"]),
    ],
)
def test_a_chunk_that_decodes_to_more_is_refused(place, tmp_path, store, array, arguments):
    sent = copied(place / store, tmp_path / "sent.zarr")
    fill(sent, array, BOMB)
    if array in ("X", "obs/n"):
        # Where a checksum would see it, the writer of a bomb gives the right one.
        assert "crc32c" not in str(zarr.open_array(sent / array, mode="r").metadata.codecs)
    places = {"SENT": sent, "OUT": tmp_path / "out"}
    places |= {name: place / name for name in ("m.zarr", "in.zarr")}
    error = refused(*(places.get(each, each) for each in arguments))
    assert f"{array}/c" in error
    assert "decodes to more than" in error or "texts of a chunk" in error
    assert [path.name for path in tmp_path.iterdir()] == ["sent.zarr"]


def enlarge(document):
    """Two gibibytes in a chunk, of which the array is a small part."""
    cut = [2**27, 4] if len(document["shape"]) == 2 else [2**28]
    document["chunk_grid"]["configuration"]["chunk_shape"] = cut


@pytest.mark.parametrize(("array", "said"), [("X", "memory"), ("obs/n", "obs/n in chunks of")])
def test_a_chunk_larger_than_the_memory_limit_is_refused_by_its_metadata(
    place, tmp_path, array, said
):
    sent = copied(place / "in.zarr", tmp_path / "sent.zarr")
    rewrite(sent, array, enlarge)
    for command in (["check", sent], ["correct", sent, tmp_path / "out.zarr"]):
        error = refused(*command, *KEY, "--memory-limit", "1GB")
        assert said in error
        assert "--memory-limit" in error


def test_annotations_larger_than_the_memory_are_refused_by_their_metadata():
    array = zarr.create_array({}, shape=(2**50,), chunks=(2**20,), dtype="f4")
    with pytest.raises(InvalidInputError, match=r"annotations of 4,503,599,627,370,496 bytes"):
        require_room([array], "store")


def test_a_store_of_one_large_chunk_is_read(tmp_path):
    rows = np.ones((200_000, 20), dtype="f4")
    obs = {"p": np.repeat(["a", "b"], 100_000)}
    with anndata.settings.override(auto_shard_zarr_v3=False):
        write_anndata(tmp_path / "a.zarr", rows, chunks=rows.shape, **obs)
    found = open_store(str(tmp_path / "a.zarr"))
    assert found.features.chunks == rows.shape
    require_decodable(found.features, tmp_path / "a.zarr")


def test_a_chunk_of_an_hdf5_file_that_inflates_to_more_is_refused(place, tmp_path):
    anndata.read_zarr(place / "in.zarr").write_h5ad(tmp_path / "a.h5ad")
    with h5py.File(tmp_path / "a.h5ad", "r+") as file:
        del file["X"]
        made = file.create_dataset("X", (300, 4), "f4", chunks=(300, 4), compression="gzip")
        made.id.write_direct_chunk((0, 0), zlib.compress(bytes(70 * 2**20)))
    error = refused("convert", tmp_path / "a.h5ad", tmp_path / "out.zarr")
    assert "/X with a chunk that decodes to more than the 4,800 bytes" in error


@pytest.mark.parametrize("link", ["none", "hard", "soft"])
def test_another_name_of_a_group_of_an_hdf5_file_hides_nothing(place, tmp_path, link):
    anndata.read_zarr(place / "in.zarr").write_h5ad(tmp_path / "a.h5ad")
    with h5py.File(tmp_path / "a.h5ad", "r+") as file:
        obs = file["obs"]
        described = dict(obs["n"].attrs)
        del obs["n"]
        made = obs.create_dataset("n", (300,), "i8", chunks=(300,), compression="gzip")
        made.attrs.update(described)
        made.id.write_direct_chunk((0,), zlib.compress(bytes(70 * 2**20)))
        if link == "hard":
            # Two names that come before and behind, whichever is looked at first.
            file["a"] = file["z"] = obs
        elif link == "soft":
            file.move("obs", "z")
            file["obs"] = h5py.SoftLink("/z")
    error = refused("convert", tmp_path / "a.h5ad", tmp_path / "out.zarr")
    assert "with a chunk that decodes to more than the 2,400 bytes" in error


def test_annotations_of_an_hdf5_file_fit_in_memory(place, tmp_path):
    anndata.read_zarr(place / "in.zarr").write_h5ad(tmp_path / "a.h5ad")
    with h5py.File(tmp_path / "a.h5ad", "r+") as file:
        file["obs"].create_dataset("huge", (2**50,), "f4", chunks=(2**20,))
    error = refused("convert", tmp_path / "a.h5ad", tmp_path / "out.zarr")
    assert "has annotations of 4,503,599,6" in error
