"""The benchmarks of speed and memory run, and write a table, figures and a plot, at tiny sizes."""

import argparse
import json
import os
import re
import shutil

import pytest
from matplotlib.figure import Figure

from balans_dask.passes.engine import task
from benchmarks.harness.findings import Findings, spread
from benchmarks.harness.measured_process import balans, planned_bytes
from benchmarks.speed import growth, passes, projection, rounds, whole_run, zarr_io
from benchmarks.speed.rounds import TimedEngine
from tests.support import REPOSITORY


def published(folder, name):
    """Runs and table of a benchmark, whose plot must be there too."""
    assert (folder / f"{name}.svg").read_text().startswith("<?xml")
    record = json.loads((folder / f"{name}.json").read_text())
    assert {"cpus", "processor", "memory_bytes"} <= record["machine"].keys()
    assert {"python", "numpy", "zarr", "dask"} <= record["versions"].keys()
    return record["runs"], (folder / f"{name}.md").read_text()


def test_a_projection_names_what_takes_longest_at_every_size(tmp_path):
    for name in ("passes.json", "rounds.json"):
        shutil.copy(REPOSITORY / "benchmarks" / "speed" / "results" / name, tmp_path)
    projection.main(["--results", str(tmp_path), "--rows", "1000", "--workers", "1"])
    rows = [line for line in (tmp_path / "projection.md").read_text().splitlines() if "of" in line]
    assert sum("| arithmetic |" in row or "| scheduler |" in row for row in rows) == 4


@pytest.fixture
def harmony(tmp_path, monkeypatch):
    """A harmonypy that corrects nothing, in a place where another process finds it."""
    place = tmp_path / "peers"
    (place / "harmonypy-9.9.dist-info").mkdir(parents=True)
    (place / "harmonypy-9.9.dist-info" / "METADATA").write_text("Name: harmonypy\nVersion: 9.9\n")
    (place / "harmonypy.py").write_text(
        "from types import SimpleNamespace\n"
        "def run_harmony(scores, table, key, random_state, verbose, ncores):\n"
        "    assert ncores == 2 and len(table[key]) == len(scores)\n"
        "    return SimpleNamespace(Z_corr=scores.T)\n"
    )
    path = [str(place), str(REPOSITORY), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, path)))


@pytest.mark.long
def test_whole_runs_count_time_memory_landmarks_and_rare_clusters(tmp_path, harmony):
    sizes = ["--rows", "20000", "--batches", "3", "--clusters", "separated", "--repeats", "1"]
    whole_run.main([*sizes, "--results", str(tmp_path)])
    runs, text = published(tmp_path, "whole_run")
    *corrected, peer = [run for run in runs if "method" in run]
    assert [run["method"] for run in corrected] == ["balans, threads", "balans, processes"]
    for run in corrected:
        assert 10_000_000 < run["peak_bytes"] <= run["planned_bytes"]
        assert sum(run["stages"].values()) < run["seconds"]
        assert len(run["rare_covered"]) == 10
    assert corrected[0]["n_landmarks"] == corrected[1]["n_landmarks"] > 0
    assert list(peer["steps"]) == ["import", "read", "pca", "harmony", "write"]
    assert sum(peer["steps"].values()) < peer["seconds"]
    assert "harmonypy 9.9" in text
    assert "## 20,000 rows, 3 batches, separated clusters" in text
    assert "## Start-up" in text


def test_passes_are_measured_in_turn_beside_the_bare_product(tmp_path):
    passes.main(["--rows", "8192", "--repeats", "2", "--results", str(tmp_path)])
    runs, text = published(tmp_path, "passes")
    assert [run["pass"] for run in runs] == ["sgemm", "1 scales", "2 elbow", "3 rows"] * 2
    for name in ("sgemm", "1 scales", "2 elbow", "3 rows", "all passes"):
        assert len(re.findall(rf"^\| {name} \|", text, re.MULTILINE)) == 1
    assert re.search(r"\| sgemm \| .* \| 1\.00 \|", text)


@pytest.mark.long
def test_growth_is_counted_by_rows_features_and_workers(tmp_path):
    sizes = ["--rows", "5000", "9000", "--one-worker-rows", "9000"]
    wide = ["--features", "20", "--wide-rows", "3000", "--repeats", "1"]
    growth.main([*sizes, *wide, "--results", str(tmp_path), "--folder", str(tmp_path / "kept")])
    runs, text = published(tmp_path, "growth")
    cases = [(run["n_rows"], run["n_features"], run["workers"]) for run in runs]
    assert cases == [(5000, 50, 2), (9000, 50, 1), (9000, 50, 2), (3000, 20, 2)]
    assert all(0 < run["round_seconds"] < run["seconds"] for run in runs)
    assert re.search(r"\| 9,000 \| [\d.]+ \|$", text, re.MULTILINE)
    # With the small one that only starts the kernels.
    assert len(list((tmp_path / "kept").glob("*.zarr"))) == 4


@pytest.mark.long
def test_rounds_compare_dask_with_the_same_tasks_alone(tmp_path):
    sizes = ["--partitions", "6", "--rows", "20000", "--rounds", "3", "--repeats", "1"]
    rounds.main([*sizes, "--blocks", "8", "--results", str(tmp_path)])
    runs, text = published(tmp_path, "rounds")
    small = [run for run in runs if run["partitions"] == "small"]
    assert [len(run["rounds"]) for run in small] == [2, 2, 2]
    # Five tasks a partition and round; six partitions are merged by the driver itself.
    assert small[-1]["n_tasks"] == 5 * 6
    assert small[0]["n_partitions"] == small[1]["n_partitions"] == 6
    assert "| small, threads | 8 | 6 of 4,096 rows | 30 |" in text


def test_reads_and_writes_take_turns_and_an_interrupted_benchmark_goes_on(tmp_path):
    sizes = ["--rows", "70000", "--columns", "3", "--results", str(tmp_path)]
    zarr_io.main([*sizes, "--repeats", "1"])
    runs, text = published(tmp_path, "zarr_io")
    assert [(run["way"], run["method"]) for run in runs] == [
        *(("read", method) for method in zarr_io.READS),
        *(("write", method) for method in zarr_io.WRITES),
    ]
    assert "| write, package |" in text
    zarr_io.main([*sizes, "--repeats", "2", "--resume"])
    assert published(tmp_path, "zarr_io")[0][: len(runs)] == runs
    assert len(published(tmp_path, "zarr_io")[0]) == 2 * len(runs)


def test_a_file_of_other_options_is_measured_anew_unless_it_broke_off(tmp_path, capsys):
    def findings(option):
        given = argparse.Namespace(results=tmp_path, resume=True, option=option)
        return Findings("name", given, ["option"])

    begun = findings(1)
    begun.measure({"case": 0}, lambda: {"seconds": 1.0})
    with pytest.raises(SystemExit, match="other options, and broke off: leave out --resume"):
        findings(2)
    again = findings(1)
    again.measure({"case": 0}, lambda: pytest.fail("it is there"))
    again.publish("title", "about", [], Figure())
    assert findings(1).record["title"] == "title"
    assert findings(2).of() == []
    assert "other options: measured anew" in capsys.readouterr().err
    more = findings(1)
    more.measure({"case": 1}, lambda: {"seconds": 1.0})
    with pytest.raises(SystemExit, match="broke off"):
        findings(2)


def test_a_command_that_fails_ends_the_benchmark_with_what_it_said():
    with pytest.raises(RuntimeError, match=r"failed with 2: .*nowhere\.zarr"):
        balans("inspect", "nowhere.zarr")


def test_memory_is_read_from_the_plan():
    plan = "each worker   │ at most 500 MiB\nall processes │ at most 1.5 GiB\n"
    assert planned_bytes(plan) == 1.5 * 2**30


def test_a_timed_engine_counts_its_tasks():
    engine = TimedEngine()
    doubled = engine.leaves("double", task(lambda value: 2 * value), range(20))
    assert engine.collect("sum", doubled, task(sum)) == 380
    assert engine.n_tasks == 20 + 2


@pytest.mark.parametrize(
    ("values", "text"),
    [([], "-"), ([1.25], "1.2"), ([3.0, 1.0, 1234.5], "3.0 (1.0 to 1,234.5)")],
)
def test_a_spread_is_a_median_and_a_range(values, text):
    assert spread(values) == text
