"""Secrets stay out of messages, records, configurations, scripts and reports."""

import json
import shlex
from importlib.util import find_spec

import dask
import pytest

from balans_dask import storage_options
from balans_dask.errors import (
    InputWarning,
    Interrupted,
    InvalidInputError,
    public,
    public_arguments,
    public_script,
    warn_of_input,
)
from balans_dask.events import EventLog
from balans_dask.passes.stage import EXAMINING
from tests.support.commands import run, streams
from tests.support.screens import gaussian_screen
from tests.support.stores import files, write_anndata

SECRET = "hush/Hush+hush1"
GIVEN = ["--storage-option", f"secret={SECRET}", f"--storage-option=token={SECRET}",
         "--storage-option", "endpoint_url=http://host:9000"]  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> str:
    screen = gaussian_screen(300, n_features=4)
    path = tmp_path_factory.mktemp("store") / "in.zarr"
    return write_anndata(path, screen.profiles, batch=screen.batch)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("s3://key:pass@bucket/a.zarr is damaged", "s3://...@bucket/a.zarr is damaged"),
        ("https://me:p@ss@host/a.zarr", "https://...@host/a.zarr"),
        ("(https://host/a.zarr?sig=x%2B&se=1)", "(https://host/a.zarr?...)"),
        ("https://host/a.zarr#access_token=x", "https://host/a.zarr#..."),
        ("https:/me:pass@host/a?sig=x", "https:/...@host/a?..."),
        ("tls://host:8786", "tls://host:8786"),
        ("s3://bucket/plate@1.zarr and what?.zarr", "s3://bucket/plate@1.zarr and what?.zarr"),
        ("C:/data/me@home/a.zarr", "C:/data/me@home/a.zarr"),
        ("obs column 'sig=1' == \"token\"", "obs column 'sig=1' == \"token\""),
    ],
)
def test_the_login_and_the_query_of_a_url_are_not_told(text, told):
    assert public(text) == told
    assert str(InvalidInputError(text)) == told
    assert repr(told) in repr(InvalidInputError(text))
    with pytest.warns(InputWarning) as said:
        warn_of_input(text)
    assert str(said[0].message) == told


def test_values_of_storage_options_are_in_no_message_once_they_were_given():
    secret = "a1B2c3D4e5"
    with storage_options(secret=secret, client_kwargs={"aws_session_token": secret[::-1]}):
        pass
    refused = InvalidInputError(f"the server says {secret!r} and {secret[::-1]}, not x{secret}x")
    assert str(refused) == f"the server says '...' and ..., not x{secret}x"


def test_arguments_are_told_so_that_the_command_can_be_completed():
    given = ["correct", "s3://me:pass@b/in.zarr", "--storage-option", "secret=x=y",
             "--storage-option=key=z", "--storage-option", "endpoint_url=http://u:p@host:1",
             "--anchor", "token == 'negcon'"]  # fmt: skip
    assert public_arguments(given) == [
        "correct", "s3://...@b/in.zarr", "--storage-option", "secret=...",
        "--storage-option=key=...", "--storage-option", "endpoint_url=http://...@host:1",
        "--anchor", "token == 'negcon'",
    ]  # fmt: skip


@pytest.fixture
def stopped_at_once(monkeypatch):
    """A signal that comes when the run has noted its first event."""
    note = EventLog.__call__

    def stop(self, event):
        note(self, event)
        if event.stage != EXAMINING:
            raise Interrupted("SIGTERM")

    monkeypatch.setattr(EventLog, "__call__", stop)
    return monkeypatch


def test_a_stopped_run_repeats_no_secret_and_its_command_continues_it(
    store, tmp_path, stopped_at_once
):
    smooth = ["--batch-key", "batch", "--operator", "smooth", "--quiet"]
    asked = ["correct", store, tmp_path / "o.zarr", *smooth, *GIVEN]
    said = run(*asked, code=75)
    assert SECRET not in said
    words = shlex.split(said.partition("continue with: ")[2])
    assert words[0] == "balans"
    assert words[-1] == "--resume"
    assert "endpoint_url=http://host:9000" in words
    assert "write the value of secret in the place of ..." in run(*words[1:], code=2)
    stopped_at_once.undo()
    completed = [word.replace("=...", f"={SECRET}") for word in words[1:]]
    page = ["--performance-report", tmp_path / "page.html"] if find_spec("bokeh") else []
    said = run(*completed, *page)
    assert SECRET not in said
    written = files(tmp_path)
    assert [name for name, content in written.items() if SECRET.encode() in content] == []
    first = json.loads((tmp_path / "o.zarr.events.jsonl").read_text().splitlines()[0])
    assert first["configuration"]["storage-option"] == [
        "secret=...", "token=...", "endpoint_url=http://host:9000",
    ]  # fmt: skip


def test_a_printed_configuration_names_what_has_to_be_given_again(store):
    given = ["--batch-key", "batch", "--model", "s3://me:pass@bucket/m.zarr"]
    printed = streams("correct", store, "o.zarr", *given, *GIVEN, "--print-config")[0]
    assert SECRET not in printed
    assert '"secret=..."' in printed
    assert 'model = "s3://...@bucket/m.zarr"' in printed


def test_a_secret_that_became_an_argument_of_its_own_is_not_repeated(store):
    said = run("check", store, "--batch-key", "batch", "--storage-option", "secret", SECRET, code=2)
    assert SECRET not in said
    assert "KEY=VALUE" in said


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("export AWS_SECRET_ACCESS_KEY=abc/d", "export AWS_SECRET_ACCESS_KEY=..."),
        ("MY_TOKEN='a b' run; x=1", "MY_TOKEN=... run; x=1"),
        ("export DB_PASSWORD=$FROM_HOME", "export DB_PASSWORD=$FROM_HOME"),
        ('export TOKEN="$(cat ~/.token)"', 'export TOKEN="$(cat ~/.token)"'),
        ("export OMP_NUM_THREADS=1", "export OMP_NUM_THREADS=1"),
        ("export AWS_PROFILE=me", "export AWS_PROFILE=me"),
    ],
)
def test_a_script_that_is_shown_keeps_what_it_exports_to_itself(line, told):
    assert public_script(line) == told


JOB = ["--dry-run", "--cluster", "slurm", "--cores", 1, "--memory", "1GB"]


def test_the_script_of_a_job_that_is_shown_has_no_secret_of_jobqueue_yaml(store):
    pytest.importorskip("dask_jobqueue")
    own = {"jobqueue.slurm.job-script-prologue": [f"export AWS_SECRET_ACCESS_KEY={SECRET}"]}
    with dask.config.set(own):
        shown = streams("correct", store, "o.zarr", "--batch-key", "batch", *JOB)[0]
    assert "export AWS_SECRET_ACCESS_KEY=..." in shown
    assert SECRET not in shown


def test_a_key_within_the_configuration_of_dask_is_in_no_job_script(store):
    pytest.importorskip("dask_jobqueue")
    key = f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----\n"
    own = {f"distributed.comm.tls.{role}.{part}": key
           for role in ("scheduler", "worker", "client") for part in ("key", "cert")}  # fmt: skip
    with dask.config.set({**own, "distributed.comm.tls.ca-file": key}):
        out, said = streams("correct", store, "o.zarr", "--batch-key", "batch", *JOB, code=2)
    assert "name a file" in said
    assert SECRET not in out + said
