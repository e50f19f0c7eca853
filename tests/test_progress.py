"""What a run says while it works: one stream of events, for logs, terminals and files."""

import io
import json
import logging
import os
import pty
import re
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import pytest
from dask.utils import key_split
from rich.console import Console

from balans_dask.events import Event, EventLog, Events, read_events
from balans_dask.model.sampler import Round
from balans_dask.model.stopping import Tally
from balans_dask.passes import dask_engine as waiting
from balans_dask.passes.engine import task
from balans_dask.passes.stage import SAMPLING, WRITING, Stage
from balans_dask.progress import Progress
from tests.support import REPOSITORY
from tests.support.commands import streams
from tests.support.screens import gaussian_screen
from tests.support.stores import write_anndata

SCREEN = gaussian_screen(9_000, n_features=6)
KEY = ["--batch-key", "plate", "--operator", "smooth"]
FACTS = {
    "time", "attempt", "seconds", "stage", "pass", "n_done", "n_total", "n_rounds", "n_sampled",
    "n_covered", "n_rows", "n_idle", "n_bytes", "peak_bytes", "seconds_left", "done",
}  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_anndata(
        tmp_path_factory.mktemp("progress") / "in.zarr", SCREEN.profiles, plate=SCREEN.batch
    )


def heard(*stages):
    """The events of some stages."""
    events = []
    stream = Events(events.append)
    for stage in stages:
        stream(stage)
    return events


def lines_of(events):
    """What a log says of some events."""
    log = io.StringIO()
    with Progress(Console(file=log, width=80, soft_wrap=True)) as progress:
        for event in events:
            progress(event)
    return log.getvalue().splitlines()


def at(event, seconds, **facts) -> Event:
    return replace(event, seconds=seconds, **facts)


def test_the_log_of_half_an_hour_has_a_line_for_every_stage_and_every_half_minute():
    [event] = heard(Stage(SAMPLING))
    rounds = [
        at(event, s, n_sampled=64 * s, n_covered=10**6 - 90 * (600 - s), n_rows=10**6, n_idle=3)
        for s in range(5, 600)
    ]
    parts = [
        at(event, 600 + s, stage=WRITING, n_done=s, n_total=1200, n_bytes=s * 2**21,
           seconds_left=1200.0 - s)
        for s in range(1200)
    ]  # fmt: skip
    lines = lines_of([event, *rounds, *parts])
    assert 55 <= len(lines) <= 65
    assert max(map(len, lines)) < 80
    assert lines[0] == " 0:00:00  sampling rows"
    assert lines[1] == " 0:00:30  sampling rows: 1,920 drawn, 94.87% of rows covered, 3 idle"
    assert " 0:09:59  sampling rows: 38,336 drawn, 99.99% of rows covered, 3 idle" in lines
    assert lines[-1] == (" 0:29:30  writing: 1,170 of 1,200 partitions, 2.29 GiB, 0:00:30 left")


def test_only_all_rows_are_all_of_them():
    [event] = heard(Stage(SAMPLING, Round(1, 64, 10**6 - 1, 10**6, Tally())))
    assert "99.99% of rows covered" in lines_of([event])[0]
    assert "100.00% of rows covered" in lines_of([replace(event, n_covered=10**6)])[0]


def test_nothing_is_said_while_the_input_may_yet_be_refused():
    [event] = heard(Stage("examining the input", n_total=9))
    assert lines_of([event, at(event, 3.0, n_done=4)]) == []
    assert len(lines_of([event, at(event, 31.0, n_done=4)])) == 1


def test_time_left_is_that_of_the_stage_and_counts_what_this_attempt_did():
    stage = Stage(WRITING, n_done=50, n_total=100, total_bytes=1000)
    first, *_, last = heard(stage, replace(stage, n_done=75), replace(stage, n_done=100))
    assert first.seconds_left is None
    assert (first.n_bytes, last.n_bytes) == (500, 1000)
    assert last.seconds_left == 0.0
    other = heard(stage, Stage(SAMPLING, Round(1, 64, 10, 100, Tally())))[1]
    assert other.seconds_left is None
    assert (other.n_sampled, other.n_covered, other.n_rows) == (64, 10, 100)


@task
def _after(file: Path | None) -> None:
    while file is not None and not file.exists():
        pass


def test_tasks_are_counted_while_others_still_run(engine, tmp_path, monkeypatch):
    """The second task waits for the file that the news of the first one makes."""
    monkeypatch.setattr(waiting, "WATCH_SECONDS", 0.2)
    told = []

    def tell(stage):
        told.append(stage)
        if stage.n_done == 1:
            (tmp_path / "go").touch()

    with engine.telling(tell), engine.following(Stage("waiting", n_total=2), ("slow",)):
        engine.wait(engine.map("slow", _after, [None, tmp_path / "go"]))
    assert [stage.n_done for stage in told] == [0, 1, 2]


def test_leaves_of_a_reduction_are_counted_though_nobody_holds_them(engine, tmp_path, monkeypatch):
    monkeypatch.setattr(waiting, "WATCH_SECONDS", 0.2)
    told = []

    def tell(stage):
        told.append((stage.n_done, stage.n_total))
        if stage.n_done == 3:
            (tmp_path / "go").touch()

    with engine.telling(tell), engine.following(Stage("adding", n_total=4), ("leaf",)):
        leaves = engine.leaves("leaf", _after, [None, None, None, tmp_path / "go"])
        engine.wait([engine.reduce("sum", leaves, _none, arity=2)])
    assert told == [(0, 4), (3, 4), (4, 4)]


@task
def _none(parts: list[None]) -> None:
    assert parts is not None


def test_the_file_of_events_says_how_far_every_stage_was(store, tmp_path):
    streams("correct", store, tmp_path / "out.zarr", *KEY, "--quiet", "--workers", 1)
    events = read_events(str(tmp_path / "out.zarr"))
    assert all(event.keys() - {"configuration"} == FACTS for event in events)
    last = {name: list(of)[-1] for name, of in groupby(events, key=lambda e: e["stage"])}
    assert list(last) == [
        "examining the input", "preparing scores", "sampling rows", "summing rows", "writing",
        "finishing", "done",
    ]  # fmt: skip
    for name in ("examining the input", "preparing scores", "summing rows", "writing"):
        assert last[name]["n_done"] == last[name]["n_total"] > 0, name
    assert last["writing"]["n_bytes"] == 2 * SCREEN.profiles.nbytes
    assert last["sampling rows"]["n_rows"] == 9_000
    assert events[0]["configuration"]["batch-key"] == ["plate"]
    assert events[0]["configuration"]["workers"] == 1


def test_events_of_a_run_that_finds_all_done_change_nothing(tmp_path):
    log = Events(EventLog(str(tmp_path / "out.zarr")))
    log(Stage("examining the input", n_total=1))
    log.finish()
    assert list(tmp_path.iterdir()) == []


def test_a_terminal_shows_bars(store, tmp_path):
    driver, screen = pty.openpty()
    command = [sys.executable, "-m", "balans_dask", "correct", store, tmp_path / "out.zarr", *KEY]
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "100"}
    with subprocess.Popen(
        command, stdout=screen, stderr=screen, stdin=screen, env=environment
    ) as process:
        os.close(screen)
        shown = b""
        # A closed terminal is an error to its reader.
        with suppress(OSError):
            while part := os.read(driver, 2**16):
                shown += part
        os.close(driver)
    text = shown.decode()
    assert process.returncode == 0, text
    for name in ("preparing scores", "sampling rows", "writing"):
        assert name in text
    assert "━" in text
    assert "\x1b[?25h" in text, "the cursor is still hidden"
    assert "9,000 rows corrected" in text


def test_importing_makes_no_handlers_and_prints_nothing():
    code = (
        "import logging, balans_dask, balans_dask.cli.app, balans_dask.estimator; "
        "print(logging.root.handlers, [logging.getLogger(n).handlers for n in "
        "logging.root.manager.loggerDict if n.startswith('balans_dask')])"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True
    )
    handlers = done.stdout.strip()
    assert set(handlers) <= set("[], "), handlers
    assert done.stderr == ""


def test_stages_are_logged_for_those_who_listen(caplog):
    with caplog.at_level(logging.INFO, logger="balans_dask"):
        heard(Stage(SAMPLING), Stage(SAMPLING), Stage(WRITING, number=1))
    assert caplog.messages == ["sampling rows, pass 1", "writing, pass 2"]


def test_tasks_have_names_that_read_well_on_the_dashboard(engine):
    """Dask takes a word of eight letters for a hash if it begins as one might: coverage."""
    calls = re.compile(r'ngine\.(?:map|leaves|share|reduce|collect)\(\s*"([^"]+)"')
    sources = (REPOSITORY / "balans_dask").rglob("*.py")
    names = {name for path in sources for name in calls.findall(path.read_text())}
    assert {"moments", "scales", "landmarks", "verify"} <= names
    for name in names:
        [future] = engine.map(name, _after, [None])
        assert key_split(future.key) == f"balans-{name}"
        engine.take([future])


def test_the_configuration_is_noted_as_json(tmp_path):
    folder = tmp_path / "out.zarr.partial"
    folder.mkdir()
    events = Events(EventLog(str(tmp_path / "out.zarr"), {"batch-key": ["plate"]}))
    events(Stage(SAMPLING))
    events(Stage(WRITING))
    lines = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    assert [line.get("configuration") for line in lines] == [{"batch-key": ["plate"]}, None]
