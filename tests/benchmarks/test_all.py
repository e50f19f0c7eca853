"""All experiments are of one form, are run by one command, and stand on one page."""

import json
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from benchmarks.experiments import run_all
from benchmarks.experiments.results_page import PAGE, anchor, page
from benchmarks.harness.experiment import RESULTS, SIZES, Reading
from tests.support import REPOSITORY

FOLDER = REPOSITORY / "benchmarks" / "experiments"
MODULES = {path.stem for path in FOLDER.glob("*.py") if "\nEXPERIMENT = " in path.read_text()}


def test_every_experiment_is_run_and_whatever_is_run_is_one():
    assert set(run_all.NAMES) == MODULES == run_all.TIMED | set(run_all.LONGEST_FIRST)
    assert len(run_all.NAMES) == len(MODULES)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_an_experiment_has_its_sizes_its_seeds_and_its_tests(name):
    experiment = run_all.experiment(name)
    assert experiment.name == name
    assert tuple(experiment.sizes) == SIZES
    for size, numbers in experiment.sizes.items():
        seeds = list(numbers["seeds"])
        assert len(set(seeds)) == len(seeds) >= (2 if size == "small" else 1)
        json.dumps(numbers)
    assert (Path(__file__).parent / f"test_{name}.py").exists()


def written(results: Path, size: str, name: str) -> None:
    record = {
        "title": f"Of {name}",
        "date": "2026-11-21",
        "seconds": 12.3,
        "machine": {"cpus": 2, "processor": "Z80", "memory_bytes": 3 * 2**30},
    }
    (results / size).mkdir(parents=True, exist_ok=True)
    (results / size / f"{name}.json").write_text(json.dumps(record))


def test_readings_stand_beside_the_full_size_before_the_small_one(tmp_path, capsys):
    written(tmp_path, "small", "scaling")
    written(tmp_path, "full", "scaling")
    written(tmp_path, "small", "severity")
    written(tmp_path, "tiny", "dimension")
    (tmp_path / "full" / "severity.json").write_text('{"runs": []}')
    text = page(tmp_path, ["severity", "scaling", "dimension"])
    readings = [Reading.of(name) for name in ("severity", "scaling", "dimension")]
    titles = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert titles == ["In short", *(reading.title for reading in readings)]
    for reading in readings:
        assert text.count(reading.answer) == 2
        assert f"\n## {reading.title}\n\n**{reading.answer}**\n\n{reading.explained}\n" in text
    assert "](../benchmarks/experiments/results/full/scaling.png)" in text
    assert "](../benchmarks/experiments/results/small/severity.png)" in text
    assert "dimension.png" not in text
    assert "Size `full`, 2026-11-21, 2 x Z80, 3 GiB, 12 s." in text
    # The readings are of other tables.
    assert "severity: read of full, 2026-" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("title", "place"),
    [
        ("Growth of time, and recovery", "growth-of-time-and-recovery"),
        ("Is noise independent?", "is-noise-independent"),
        ("Without the pseudo-inverse: clusters", "without-the-pseudo-inverse-clusters"),
    ],
)
def test_a_title_leads_to_its_section_as_github_and_sphinx_name_it(title, place):
    assert anchor(title) == place


@pytest.mark.parametrize("name", run_all.NAMES)
def test_a_reading_is_of_the_committed_tables_and_its_answer_is_short(name):
    reading = Reading.of(name)
    record = json.loads((RESULTS / "full" / f"{name}.json").read_text())
    assert reading.tables == f"full, {record['date']}"
    assert reading.title == record["title"]
    assert 8 <= len(reading.answer.split()) <= 60
    assert reading.answer.endswith(".")
    assert f"\n\n{reading.method}\n\nMachine: " in (RESULTS / "full" / f"{name}.md").read_text()


def test_the_page_of_the_documentation_is_that_of_the_readings():
    assert PAGE.read_text() == page(RESULTS), "write it by results_page.py"


class Runs:
    """Stands for experiments: remembers them, and lets one fail."""

    def __init__(self, fails: str = "") -> None:
        self.names: list[str] = []
        self.commands: list[list[str]] = []
        self.at_once: dict[str, int] = {}
        self.threads: dict[str, str] = {}
        self._running = 0
        self._fails = fails

    def __call__(self, name: str, arguments: list[str]) -> None:
        self.names.append(name)
        self.commands.append(arguments)
        self.threads[name] = os.environ.get("OMP_NUM_THREADS", "all")
        self._running += 1
        time.sleep(0.02)
        self.at_once[name] = self._running
        self._running -= 1
        if name == self._fails:
            raise ValueError("no such luck")


def run(folder: Path, runs: Runs, *arguments: str) -> str:
    place = ["--results", str(folder), "--page", str(folder / "page.md")]
    run_all.main([*arguments, *place], runs, ThreadPoolExecutor)
    return (folder / "page.md").read_text()


@pytest.fixture(autouse=True)
def same_environment(monkeypatch):
    """Of this process, in which threads stand for processes."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "environ", os.environ.copy())


def test_all_are_run_those_about_seconds_alone_and_first_and_the_page_is_written(tmp_path):
    runs = Runs()
    assert Reading.of("scaling").answer in run(tmp_path, runs)
    assert runs.names[:2] == ["scaling", "stopping_rules"]
    assert sorted(runs.names) == sorted(run_all.NAMES)
    assert {runs.at_once[name] for name in run_all.TIMED} == {1}
    assert max(runs.at_once.values()) == 2
    assert {runs.threads[name] for name in run_all.TIMED} == {"all"}
    assert {runs.threads[name] for name in set(run_all.NAMES) - run_all.TIMED} == {"1"}


def test_those_that_are_named_are_run_as_asked(tmp_path):
    runs = Runs()
    run(tmp_path, runs, "--only", "severity", "dimension", "--size", "full", "--resume")
    assert set(runs.names) == {"severity", "dimension"}
    assert all("--resume" in command and "full" in command for command in runs.commands)


@pytest.mark.parametrize("name", ["severity", "scaling"])
def test_one_that_fails_does_not_keep_others_from_running_and_is_named(tmp_path, capsys, name):
    runs = Runs(fails=name)
    with pytest.raises(SystemExit, match=f"failed: {name}$"):
        run(tmp_path, runs)
    said = capsys.readouterr().err
    assert f"{name} failed: ValueError: no such luck" in said
    assert 'raise ValueError("no such luck")' in said
    assert sorted(runs.names) == sorted(run_all.NAMES)
    assert Reading.of("scaling").answer in (tmp_path / "page.md").read_text()


def test_other_methods_are_those_that_make_peers_made_unless_given(tmp_path, monkeypatch):
    monkeypatch.delenv("BALANS_PEERS", raising=False)
    monkeypatch.setattr(run_all, "PEERS", tmp_path / "python")
    assert "BALANS_PEERS" not in run_all.environment()
    (tmp_path / "python").touch()
    assert run_all.environment()["BALANS_PEERS"] == str(tmp_path / "python")
    monkeypatch.setenv("BALANS_PEERS", sys.executable)
    assert run_all.environment()["BALANS_PEERS"] == sys.executable


def test_the_command_alone_finds_all_modules_in_its_own_processes(tmp_path):
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.experiments.run_all"]
    command += ["--only", "noise_model"]
    command += ["--size", "tiny", "--results", str(tmp_path), "--page", str(tmp_path / "page.md")]
    alone = {name: os.environ[name] for name in os.environ if name != "PYTHONPATH"}
    alone["BALANS_DATA"] = str(tmp_path / "no real profiles")
    answer = subprocess.run(command, cwd=REPOSITORY, env=alone, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    assert (tmp_path / "tiny" / "noise_model.json").exists()
    assert "noise_model: " in answer.stderr
    assert Reading.of("scaling").answer in (tmp_path / "page.md").read_text()
