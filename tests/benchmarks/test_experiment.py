"""An experiment that is resumed: what it measures, and what its files then say."""

import json
from datetime import date
from types import SimpleNamespace

import pytest
from matplotlib.figure import Figure

from benchmarks.harness import experiment, findings
from benchmarks.harness.experiment import Experiment

SECONDS = 5.0


class Clock:
    """Stands for the time of day and the day: both move when they are told to."""

    def __init__(self) -> None:
        self.now = 100.0
        self.day = date(2026, 1, 1)

    def perf_counter(self) -> float:
        return self.now

    def today(self) -> date:
        return self.day


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(findings, "time", made)
    monkeypatch.setattr(findings, "date", made)
    return made


READING = """<!-- tiny, 2026-01-01 -->

# Counted

One is one.

- first
- second

## Method

Ones are counted.

Twice.
"""


@pytest.fixture(autouse=True)
def _reading(tmp_path, monkeypatch):
    (tmp_path / "counted.md").write_text(READING)
    monkeypatch.setattr(experiment, "READINGS", tmp_path)


def counted(clock, seeds, breaks_at=None):
    """An experiment whose every run takes a second of preparation and four of measuring."""
    calls = []

    def run(seed):
        if seed == breaks_at:
            raise KeyboardInterrupt
        clock.now += SECONDS - 1
        calls.append(seed)
        return {"one": 1}

    def measure(found, setting):
        for seed in seeds:
            clock.now += 1
            found.measure({"seed": seed}, lambda seed=seed: run(seed))

    sizes = {"tiny": {"seeds": (0, 1, 2)}}
    made = Experiment(
        "counted", sizes, measure,
        tables=lambda found: ["| a |", "| --- |"], picture=lambda found: Figure(),
    )  # fmt: skip
    return SimpleNamespace(experiment=made, calls=calls)


def ran(made, folder, *arguments):
    made.experiment.main(["--size", "tiny", "--results", str(folder), *arguments])
    return json.loads((folder / "tiny" / "counted.json").read_text())


def test_a_complete_file_keeps_its_seconds_and_its_date(tmp_path, clock):
    first = ran(counted(clock, (0, 1)), tmp_path)
    assert first["seconds"] == 2 * SECONDS
    assert first["date"] == "2026-01-01"
    clock.day = date(2026, 1, 9)
    made = counted(clock, (0, 1))
    again = ran(made, tmp_path, "--resume")
    assert made.calls == []
    assert again == first


def test_seconds_add_up_and_the_date_is_that_of_the_last_run(tmp_path, clock):
    ran(counted(clock, (0, 1)), tmp_path)
    clock.day = date(2026, 1, 9)
    made = counted(clock, (0, 1, 2))
    record = ran(made, tmp_path, "--resume")
    assert made.calls == [2]
    assert record["seconds"] == 3 * SECONDS
    assert record["date"] == "2026-01-09"


def test_a_run_that_was_broken_off_counts_what_it_had_measured(tmp_path, clock):
    with pytest.raises(KeyboardInterrupt):
        ran(counted(clock, (0, 1), breaks_at=1), tmp_path)
    record = ran(counted(clock, (0, 1)), tmp_path, "--resume")
    assert record["seconds"] == 2 * SECONDS


def test_without_resume_seconds_begin_anew(tmp_path, clock):
    ran(counted(clock, (0, 1)), tmp_path)
    assert ran(counted(clock, (0,)), tmp_path)["seconds"] == SECONDS


def test_title_and_method_are_those_of_the_reading(tmp_path, clock):
    ran(counted(clock, (0,)), tmp_path)
    text = (tmp_path / "tiny" / "counted.md").read_text()
    assert text.startswith("# Counted\n\nOnes are counted.\n\nTwice.\n\nMachine: ")


def test_what_has_no_run_has_a_date(tmp_path, clock):
    given = SimpleNamespace(results=tmp_path, resume=False)
    other = findings.Findings("other", given, [])
    other.publish("Other", "How long?", ["a table"], Figure())
    assert "# Other\n\nHow long?\n\nMachine: " in (tmp_path / "other.md").read_text()
    assert json.loads((tmp_path / "other.json").read_text())["date"] == "2026-01-01"
