"""An experiment that is resumed: what it measures, and what its files then say."""

import json
from datetime import date
from types import SimpleNamespace

import pytest
from matplotlib.figure import Figure

from benchmarks.harness import findings
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


def counted(clock, seeds, said="One is one.", breaks_at=None):
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
        "counted", "Counted", "Is one one?", sizes, measure,
        tables=lambda found: ["| a |", "| --- |"], picture=lambda found: Figure(),
        reading=lambda found: [said, "- first\n- second"],
    )  # fmt: skip
    return SimpleNamespace(experiment=made, calls=calls)


def ran(made, folder, *arguments):
    made.experiment.main(["--size", "tiny", "--results", str(folder), *arguments])
    return json.loads((folder / "tiny" / "counted.json").read_text())


def test_a_complete_file_keeps_its_seconds_and_its_date_and_gets_new_words(tmp_path, clock):
    first = ran(counted(clock, (0, 1)), tmp_path)
    assert first["seconds"] == 2 * SECONDS
    assert first["date"] == "2026-01-01"
    clock.day = date(2026, 1, 9)
    made = counted(clock, (0, 1), said="Two is two.")
    again = ran(made, tmp_path, "--resume")
    assert made.calls == []
    assert again == first | {"reading": ["Two is two.", "- first\n- second"]}
    assert "Two is two." in (tmp_path / "tiny" / "counted.md").read_text()


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


def test_the_answer_stands_in_bold_before_the_paragraphs_and_what_has_none_has_no_gap(
    tmp_path, clock
):
    ran(counted(clock, (0,), said="One is one."), tmp_path)
    text = (tmp_path / "tiny" / "counted.md").read_text()
    assert "\n\nIs one one?\n\n**One is one.**\n\n- first\n- second\n\nMachine: " in text
    given = SimpleNamespace(results=tmp_path, resume=False)
    other = findings.Findings("other", given, [])
    other.publish("Other", "How long?", ["a table"], Figure())
    assert "# Other\n\nHow long?\n\nMachine: " in (tmp_path / "other.md").read_text()
    assert json.loads((tmp_path / "other.json").read_text())["date"] == "2026-01-01"
