"""What a path or URL may be, and what is refused in one line."""

import re
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from balans_dask.io.paths import path_beside, path_from
from balans_dask.io.places import is_remote, place_of
from tests.support.commands import run, streams
from tests.support.stores import files_but_input

BATCH = ("--batch-key", "Metadata_Plate")


class Ranges(SimpleHTTPRequestHandler):
    """Python's web server, with parts of files, as every other has them."""

    def do_GET(self):
        wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        file = Path(self.translate_path(self.path))
        if wanted is None or not file.is_file():
            super().do_GET()
            return
        first, last = wanted.groups()
        n_bytes = file.stat().st_size
        start = int(first) if first else n_bytes - int(last)
        stop = min(int(last) + 1, n_bytes) if first and last else n_bytes
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{n_bytes}")
        self.send_header("Content-Length", str(stop - start))
        self.end_headers()
        self.wfile.write(file.read_bytes()[start:stop])

    def log_message(self, *args):
        pass


@pytest.fixture
def web(plates):
    """A plain web server of a folder with stores."""
    for name in ("aiohttp", "upath"):
        pytest.importorskip(name, reason="needs the cloud extra: make test-cloud")
    handler = partial(Ranges, directory=str(plates))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def one_line(text):
    assert len(text.splitlines()) == 1
    return text


def test_a_public_store_of_a_web_server_is_checked_corrected_and_inspected(web, plates, tmp_path):
    assert "40,000" in streams("check", f"{web}/in.zarr", *BATCH)[0]
    smooth = (*BATCH, "--operator", "smooth")
    run("correct", f"{web}/in.zarr", tmp_path / "out.zarr", *smooth)
    assert files_but_input(tmp_path / "out.zarr") == files_but_input(plates / "out.zarr")
    assert "landmarks" in streams("inspect", f"{web}/model.zarr")[0]
    run("convert", f"{web}/plates/plate0.parquet", tmp_path / "plate0.zarr")


def test_a_web_server_can_only_be_read(web, plates):
    refused = run("correct", plates / "in.zarr", f"{web}/new.zarr", *BATCH, code=2)
    assert "can only be read" in one_line(refused)
    assert "does not exist" in one_line(run("check", f"{web}/none.zarr", *BATCH, code=2))


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://host/store.zarr", "unknown kind"),
        ("s3://bucket", "names no folder"),
        ("s3://no-such-bucket/new.zarr", "is not there"),
    ],
)
def test_an_output_that_cannot_be_is_refused_in_one_line(server, plates, url, reason):
    assert reason in one_line(run("correct", plates / "in.zarr", url, *BATCH, code=2))


def test_an_input_that_is_not_there_is_refused_in_one_line(bucket):
    assert "does not exist" in one_line(run("check", bucket.url("none.zarr"), *BATCH, code=2))
    bucket.write("some/text.txt", b"text")
    assert "not a Zarr store" in one_line(run("check", bucket.url("some"), *BATCH, code=2))
    assert "without a .parquet" in one_line(
        run("convert", bucket.url("some"), bucket.url("x.zarr"), code=2)
    )
    assert bucket.names("x.zarr.partial") == []


def test_a_server_that_does_not_answer_is_refused_in_one_line(server, plates):
    options = ("--storage-option", "endpoint_url=http://127.0.0.1:9", *BATCH)
    assert "cannot be reached" in one_line(run("check", "s3://bucket/in.zarr", *options, code=2))


def test_what_is_not_ours_is_not_replaced(bucket, plates):
    bucket.write("mine/text.txt", b"text")
    options = (*BATCH, "--overwrite")
    refused = run("correct", plates / "in.zarr", bucket.url("mine"), *options, code=2)
    assert "not a Zarr store" in refused
    assert bucket.files("mine") == {"text.txt": b"text"}


@pytest.mark.parametrize(
    ("protocol", "extra"), [("s3", "cloud"), ("https", "cloud"), ("gs", "gcs")]
)
def test_without_its_libraries_a_url_is_refused_by_the_name_of_the_extra(
    monkeypatch, protocol, extra
):
    monkeypatch.setitem(sys.modules, "upath", None)
    refused = one_line(run("check", f"{protocol}://bucket/in.zarr", *BATCH, code=2))
    assert f'pip install "balans-dask[{extra}]"' in refused


@pytest.mark.parametrize("option", ["endpoint_url", "=hush", "aws-key=hush", "secret={hush"])
def test_an_option_that_is_none_is_refused_and_not_repeated(option):
    refused = run("check", "s3://bucket/in.zarr", *BATCH, "--storage-option", option, code=2)
    assert "--storage-option" in one_line(refused)
    assert "hush" not in refused


@pytest.mark.parametrize("value", ["{secret = 'hush'}", "['=hush']", "12321"])
def test_an_option_of_a_file_that_is_none_is_refused_and_not_repeated(tmp_path, value):
    (tmp_path / "run.toml").write_text(f"[check]\nstorage-option = {value}")
    given = ("--config", tmp_path / "run.toml")
    refused = one_line(run("check", "s3://bucket/in.zarr", *BATCH, *given, code=2))
    assert "storage-option" in refused
    assert "hush" not in refused
    assert "12321" not in refused


def test_a_path_is_a_path_of_this_machine():
    assert not is_remote(place_of("some/folder"))


def test_no_store_holds_the_login_of_another():
    given = "https://me:hush@host:81/runs/in.zarr?token=hush"
    assert path_from("/data/out.zarr", given) == "https://host:81/runs/in.zarr"


@pytest.mark.parametrize(
    ("store", "other", "relative"),
    [
        ("s3://b/runs/out.zarr", "s3://b/in.zarr", "../in.zarr"),
        ("s3://b/out.zarr", "s3://b/in.zarr", "in.zarr"),
        ("s3://b/out.zarr", "s3://c/in.zarr", "s3://c/in.zarr"),
        ("s3://b/out.zarr", "/data/in.zarr", "/data/in.zarr"),
        ("/data/out.zarr", "https://host/in.zarr", "https://host/in.zarr"),
        ("/data/runs/out.zarr", "/data/in.zarr", "../in.zarr"),
    ],
)
def test_one_store_finds_another(store, other, relative):
    assert path_from(store, other) == relative
    assert path_beside(store, relative) == other
