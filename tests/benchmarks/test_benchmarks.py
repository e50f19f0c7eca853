"""The benchmarks of speed and memory run, and write a table, figures and a plot, at tiny sizes."""

import argparse
import json
import os
import re

import pytest
from matplotlib.figure import Figure

from balans_dask.passes.engine import task
from balans_dask.passes.stage import (
    EXAMINING,
    FINISHING,
    PREPARING,
    SAMPLING,
    SUMMING,
    WRITING,
)
from benchmarks.harness.findings import Findings, spread
from benchmarks.harness.measured_process import balans, planned_bytes
from benchmarks.speed import growth, moving, passes, projection, rounds, whole_run, zarr_io
from benchmarks.speed.phases import BETWEEN, PHASES, START, phases_of
from benchmarks.speed.rounds import TimedEngine
from tests.support import REPOSITORY

SWEEPS = ("sgemm", "nearest", "elbow", "rows")


def published(folder, name):
    """Runs and table of a benchmark, whose plot must be there too."""
    assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    record = json.loads((folder / f"{name}.json").read_text())
    assert {"cpus", "processor", "memory_bytes"} <= record["machine"].keys()
    assert {"python", "numpy", "zarr", "dask"} <= record["versions"].keys()
    return record["runs"], (folder / f"{name}.md").read_text()


@pytest.fixture
def constants(tmp_path):
    """Results of other benchmarks, as few as a projection reads."""
    sweeps = [
        {"method": method, "sweep": sweep, "seconds": 64e-9}
        for method in passes.METHODS
        for sweep in (passes.BARE, *passes.SWEEPS)
    ]
    ran = {"method": "balans, threads", "n_rows": 1000, "n_fit_rows": 500, "n_batches": 100,
           "n_landmarks": 512, "phases": {SUMMING: 0.015}}  # fmt: skip
    parts = [
        {"what": what, "processor_seconds": 0.01, "n_pairs": 10**6}
        for what in (moving.MOVED, moving.EXAMINED)
    ]
    small = {"partitions": "small", "block_rows": 1, "engine": "processes", "rounds": [0.01],
             "n_tasks": 10}  # fmt: skip
    io = [{"way": way, "method": "package", "seconds": 0.001} for way in ("read", "write")]
    records = {
        "passes": ({"rows": 1, "components": 50}, sweeps),
        "rounds": ({}, [small]),
        "zarr_io": ({"rows": 1000, "columns": 50}, io),
        "moving": ({"rows": 1000}, parts),
        "whole_run": ({"workers": 2}, [{"start": "threads"}, ran, ran | {"n_fit_rows": 1000}]),
    }
    for name, (options, runs) in records.items():
        (tmp_path / f"{name}.json").write_text(json.dumps({"options": options, "runs": runs}))
    return tmp_path


def test_a_projection_names_what_takes_longest_at_every_size(constants):
    projection.main(["--results", str(constants), "--rows", "1000000", "--workers", "1"])
    text = (constants / "projection.md").read_text()
    rows = [line for line in text.splitlines() if "of" in line]
    assert sum("| arithmetic |" in row or "| scheduler |" in row for row in rows) == 4
    assert "| 1,000,000 rows, 1 workers | 100 batches | 10,000 batches |" in text
    # As many of every batch: 512 at least, of those that have so many.
    assert "| rows of the fit | 100,000 | 1,000,000 |" in text
    # A pair costs 1 ns a sweep and in the bare product, a row of a pass 4 us; a task 1 ms.
    assert "Constants: 3.00 ns a pair" in text
    assert "1.00 ms a task; 10.00 ns to move a row" in text
    assert "4.00 us a row and pass of sums; 200 MB/s read" in text
    # 15 passes over 100,000 rows; 2 landmarks' steps of 512 for 1,000,000 rows.
    assert re.search(r"\| fit: summing, s \| 6\.0 \|", text)
    assert re.search(r"\| all rows: moving, s \| 10\.2 \|", text)


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
    names = ["balans, threads", "balans, processes", "balans --paper, threads"]
    assert [run["method"] for run in corrected] == names
    for run in corrected:
        assert 10_000_000 < run["peak_bytes"] <= run["planned_bytes"]
        assert sum(run["phases"].values()) == pytest.approx(run["seconds"], abs=0.1)
        assert list(run["phases"]) == list(PHASES)
        assert 0 < run["driver_seconds"] <= run["processor_seconds"] + 0.1
        assert len(run["rare_covered"]) == 10
    threads, processes, paper = corrected
    assert threads["n_landmarks"] == processes["n_landmarks"] > 0
    # Two workers have a processor time of their own.
    assert processes["processor_seconds"] > processes["driver_seconds"] + 1.0
    assert paper["phases"][BETWEEN] == 0 < threads["phases"][BETWEEN]
    assert list(peer["steps"]) == ["import", "read", "pca", "harmony", "write"]
    assert sum(peer["steps"].values()) < peer["seconds"]
    assert "harmonypy 9.9" in text
    assert "## 20,000 rows, 3 batches, separated clusters" in text
    assert "## Start-up" in text
    assert "## Phases" in text


def test_a_run_is_divided_into_phases():
    stages = [(0.5, EXAMINING), (1.0, PREPARING), (1.5, SAMPLING), (3.5, SUMMING), (4.5, WRITING),
              (5.0, WRITING), (5.5, PREPARING), (6.0, WRITING), (8.0, WRITING), (9.0, FINISHING),
              (9.5, "done")]  # fmt: skip
    found = phases_of([{"seconds": at, "stage": stage} for at, stage in stages], 12.0)
    assert found == {START: 3.0, EXAMINING: 0.5, PREPARING: 1.0, SAMPLING: 2.0, SUMMING: 1.0,
                     BETWEEN: 1.0, WRITING: 3.0, FINISHING: 0.5}  # fmt: skip


def test_sweeps_are_measured_in_turn_beside_the_bare_product(tmp_path):
    passes.main(["--rows", "8192", "--repeats", "2", "--results", str(tmp_path)])
    runs, text = published(tmp_path, "passes")
    sweeps = [(method, sweep) for method in ("paper", "align") for sweep in SWEEPS]
    assert [(run["method"], run["sweep"]) for run in runs] == sweeps * 2
    for case in ("paper, blocks of 64", "align, blocks of 256"):
        for sweep in (*SWEEPS, "all sweeps"):
            assert len(re.findall(rf"^\| {case}: {sweep} \|", text, re.MULTILINE)) == 1
        assert re.search(rf"\| {case}: sgemm \| .* \| 1\.00 \|", text)


def test_a_store_is_moved_beside_a_copy_of_what_is_written(tmp_path):
    sizes = ["--rows", "6000", "--columns", "8", "--repeats", "1", "--results", str(tmp_path)]
    moving.main([*sizes, "--folder", str(tmp_path / "kept")])
    runs, text = published(tmp_path, "moving")
    assert [run["what"] for run in runs] == [moving.TRANSFORM, moving.COPY, *moving.PARTS]
    transform, copy, move, *_ = runs
    assert transform["phases"][WRITING] > 0 == transform["phases"][SAMPLING]
    assert 0 < copy["sync_seconds"] < copy["seconds"]
    assert move["n_pairs"] % 6000 == 0 < move["n_pairs"]
    assert "| of it: files to disk |" in text


@pytest.mark.long
def test_growth_is_counted_by_rows_features_and_workers(tmp_path):
    sizes = ["--rows", "5000", "9000", "--one-worker-rows", "9000"]
    wide = ["--features", "20", "--wide-rows", "3000", "--repeats", "1"]
    growth.main([*sizes, *wide, "--results", str(tmp_path), "--folder", str(tmp_path / "kept")])
    runs, text = published(tmp_path, "growth")
    cases = [(run["n_rows"], run["n_features"], run["workers"]) for run in runs]
    assert cases == [(5000, 50, 2), (9000, 50, 1), (9000, 50, 2), (3000, 20, 2)]
    assert all(0 < run["driver_seconds"] < run["processor_seconds"] for run in runs)
    assert "| 9,000 rows | one worker, s | two workers, s | ratio |" in text
    assert "| the driver's own processor time |" in text
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
