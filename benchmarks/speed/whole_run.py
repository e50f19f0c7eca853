"""Whole runs from Zarr to Zarr beside harmonypy: time, memory against the plan, scores.

    python -m benchmarks.speed.whole_run [--harmony-python PYTHON] [--scores] [--rows N ...]

Every run is a process of its own: the installed `balans correct` with its default settings, by
threads and by processes, and `peers/harmony_store.py`, all on as many cores. Runs of one data set
take turns. `--scores` needs `pip install "balans-dask[evaluate]"`.
"""

import argparse
import json
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from balans_dask.events import read_events
from balans_dask.io.store import open_store
from balans_dask.report.run_sections import stage_times
from balans_dask.workflows.mixture import Mixture
from balans_dask.workflows.records import correction_record
from benchmarks.harness.findings import Findings, benchmark_arguments
from benchmarks.harness.measured_process import balans, measured, planned_bytes
from benchmarks.harness.mixtures import (
    BATCH,
    N_RARE,
    SPREADS,
    TINY_ROWS,
    mixture_store,
    working_folder,
)
from benchmarks.harness.peer_methods import Peers
from benchmarks.speed.whole_run_scores import rare_covered, scores_of
from benchmarks.speed.whole_run_tables import HARMONY, picture, startup_table, table

PEER = Path(__file__).parents[1] / "peers" / "harmony_store.py"
CLUSTERS = {"threads": "threads", "processes": "local"}
ABOUT = """Seconds of whole processes, imports included: median (range) of runs that took turns.
*run_harmony alone* is without imports, reading, principal components and writing. balans writes
corrected features and scores, harmonypy has scores alone to write. Memory: largest resident
memory of all processes together, beside what the plan of `balans check` says. *Rare covered*:
rare clusters of one row in 10,000 each of which at least half of the rows are covered. Scores:
0.6 biology + 0.4 batch on rows of the common clusters, drawn by batch and label."""
NO_CACHE = {"BALANS_NO_KERNEL_CACHE": "1"}

Run = Callable[..., dict[str, Any]]


@dataclass(frozen=True)
class Data:
    """One data set on disk, and what of it is scored."""

    store: Path
    folder: Path
    mixture: Mixture
    n_scored: int


def balans_run(data: Data, out: Path, cluster: str, workers: int, settings: str) -> dict[str, Any]:
    """Correct by the installed command."""
    where = ("--cluster", cluster, "--workers", workers)
    given = ("--batch-key", BATCH, *where, *shlex.split(settings))
    done = balans("correct", data.store, out, *given)
    events = read_events(str(out))
    record = correction_record(open_store(str(out)))
    assert record is not None
    return {
        "seconds": round(done.seconds, 3),
        "peak_bytes": done.peak_bytes,
        "planned_bytes": planned_bytes(done.err),
        "n_landmarks": int(record["n_sampled"]),
        "n_uncovered": int(record["n_uncovered"]),
        "rare_covered": rare_covered(out, data.mixture),
        "stages": {stage.name: round(stage.seconds, 3) for stage in stage_times(events)},
    }


def harmony_run(data: Data, out: Path, python: str, threads: int) -> dict[str, Any]:
    """Correct by harmonypy, in another Python if that has it."""
    given = ("--batch-key", BATCH, "--threads", str(threads))
    limits = {name: str(threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    argv = [python, str(PEER), str(data.store), str(out), *given]
    done = measured(argv, os.environ | limits)
    return {
        "seconds": round(done.seconds, 3),
        "peak_bytes": done.peak_bytes,
        "steps": json.loads(done.out),
    }


def cleaned(data: Data, run: Run) -> dict[str, Any]:
    """Run, score if asked, and remove the output."""
    with tempfile.TemporaryDirectory(dir=data.folder) as place:
        out = Path(place) / "out.zarr"
        found = run(data, out)
        if data.n_scored:
            found["scores"] = scores_of(data.store, out, data.mixture, data.n_scored)
    return found


def methods(given: argparse.Namespace, peer: str | None) -> dict[str, Run]:
    """Name all that take turns."""
    found: dict[str, Run] = {}
    for settings in given.settings or [""]:
        for name, cluster in CLUSTERS.items():
            run = partial(balans_run, cluster=cluster, workers=given.workers, settings=settings)
            found[f"balans, {name} {settings}".strip()] = run
    if peer:
        found[HARMONY] = partial(harmony_run, python=given.harmony_python, threads=given.workers)
    return found


def cases(given: argparse.Namespace) -> list[tuple[dict[str, Any], Mixture]]:
    """List the data sets."""
    return [
        (
            {"clusters": kind, "n_rows": n_rows, "n_batches": n_batches},
            Mixture(n_rows, 50, n_batches=n_batches, n_rare=N_RARE, cluster_spread=SPREADS[kind]),
        )
        for kind in given.clusters
        for n_batches in given.batches
        for n_rows in given.rows
    ]


def measure_startup(findings: Findings, folder: Path, given: argparse.Namespace) -> None:
    """Correct a thousand rows: what is left is the start of the processes."""
    store = mixture_store(folder, Mixture(TINY_ROWS))
    starts = [(name, kept) for kept in (True, False) for name in CLUSTERS]

    def start(name: str, kept: bool) -> dict[str, float]:
        where = ("--cluster", CLUSTERS[name], "--workers", given.workers)
        environment: Mapping[str, str] = os.environ if kept else os.environ | NO_CACHE
        with tempfile.TemporaryDirectory(dir=folder) as place:
            given_options = (store, Path(place) / "out.zarr", "--batch-key", BATCH, *where)
            done = balans("correct", *given_options, environment=environment)
        return {"seconds": round(done.seconds, 3)}

    start("processes", kept=True)
    for repeat in range(given.repeats):
        for name, kept in starts:
            case = {"start": name, "kernels_kept": kept, "repeat": repeat}
            findings.measure(case, partial(start, name, kept))


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = benchmark_arguments(__doc__, repeats=3)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 300_000, 1_000_000])
    parser.add_argument("--batches", type=int, nargs="+", default=[5, 100])
    parser.add_argument("--clusters", nargs="+", choices=SPREADS, default=list(SPREADS))
    parser.add_argument("--workers", type=int, default=2, help="cores of every method")
    parser.add_argument(
        "--settings", action="append", help='other settings, as --settings="--stopping auto"'
    )
    parser.add_argument("--harmony-python", default=sys.executable, help="one with harmonypy")
    parser.add_argument("--scores", action="store_true", help="score the first run of every case")
    parser.add_argument("--scored-rows", type=int, default=3000)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Measure all cases, write JSON, table and plot."""
    given = arguments(argv)
    peer = Peers(given.harmony_python).versions().get("harmonypy")
    if peer is None:
        print("harmonypy is not installed there: it is left out", file=sys.stderr)
    findings = Findings("whole_run", given, ["workers"], {"harmonypy": peer or "none"})
    with working_folder(given.folder) as folder:
        measure_startup(findings, folder, given)
        for case, mixture in cases(given):
            store = mixture_store(folder, mixture)
            for repeat in range(given.repeats):
                n_scored = given.scored_rows if given.scores and repeat == 0 else 0
                data = Data(store, folder, mixture, n_scored)
                for name, run in methods(given, peer).items():
                    named = {**case, "method": name, "repeat": repeat}
                    findings.measure(named, partial(cleaned, data, run))
            if given.folder is None:
                shutil.rmtree(store)
    tables = [startup_table(findings), *(table(findings, case) for case, _ in cases(given))]
    figure = picture(findings, [case for case, _ in cases(given)])
    findings.publish("Whole runs beside harmonypy", ABOUT, tables, figure)


if __name__ == "__main__":
    main()
