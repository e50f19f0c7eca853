"""Whole runs from Zarr to Zarr beside harmonypy: time, memory against the plan, scores.

    python -m benchmarks.speed.whole_run [--harmony-python PYTHON] [--scores] [--rows N ...]

Every run is a process of its own: the installed `balans correct --operator smooth`, by threads and
by processes, and `peers/harmony_store.py`, all on as many cores. Runs of one data set take turns.
`--scores` needs `pip install "balans-dask[evaluate]"`.
"""

import argparse
import json
import math
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from matplotlib.figure import Figure

from balans_dask.errors import format_bytes
from balans_dask.evaluate.rows import read_embeddings, stratified_rows
from balans_dask.evaluate.scib import batch_scores, biology_scores
from balans_dask.evaluate.scoring import totals
from balans_dask.evaluate.stores import open_stores
from balans_dask.events import read_events
from balans_dask.io.store import open_store
from balans_dask.report.run_sections import stage_times
from balans_dask.workflows.mixture import Mixture
from balans_dask.workflows.records import correction_record
from benchmarks.harness.arrays import Floats, Ints
from benchmarks.harness.findings import Findings, benchmark_arguments, described, median, spread
from benchmarks.harness.measured_process import SMOOTH, balans, measured, planned_bytes
from benchmarks.harness.mixtures import (
    BATCH,
    N_RARE,
    SPREADS,
    TINY_ROWS,
    TREATMENT,
    mixture_store,
    working_folder,
)
from benchmarks.harness.peer_methods import Peers
from benchmarks.harness.pictures import panels, spread_line
from benchmarks.harness.tables import lines

PEER = Path(__file__).parents[1] / "peers" / "harmony_store.py"
CLUSTERS = {"threads": "threads", "processes": "local"}
NO_CACHE = {"BALANS_NO_KERNEL_CACHE": "1"}
Run = Callable[..., dict[str, Any]]
HARMONY = "harmonypy"
ALONE = "run_harmony alone"
COLUMNS = ["method", "seconds", "of harmonypy", "peak memory", "planned", "landmarks",
           "rare covered", "total", "biology", "batch"]  # fmt: skip
COVERED = 0.5


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
    given = ("--batch-key", BATCH, *where, *SMOOTH, *shlex.split(settings))
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
            given_options = (store, Path(place) / "out.zarr", "--batch-key", BATCH, *where, *SMOOTH)
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
        "--settings",
        action="append",
        help='further settings, which win, as --settings="--operator align"',
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
    findings.publish(*described(__file__), tables, figure)


def rare_covered(out: Path, mixture: Mixture) -> list[float]:
    """Share of covered rows of every rare cluster."""
    rows = open_store(str(out)).obs
    cluster = rows[TREATMENT].cat.codes.to_numpy()
    covered = rows["balans_covered"].to_numpy(dtype=bool)
    numbers = range(mixture.n_clusters, mixture.n_clusters + mixture.n_rare)
    return [round(float(covered[cluster == number].mean()), 3) for number in numbers]


def scores_of(store: Path, out: Path, mixture: Mixture, n_rows: int) -> dict[str, Any]:
    """Score a correction, and its input beside it.

    ``out`` is of the command or of the peer; ``n_rows`` rows are scored.

    Returns scores: ``corrected`` and ``raw``, each with ``batch``, ``biology`` and ``total``.
    """
    annotations = open_store(str(store)).obs
    chosen = _chosen(annotations, mixture, n_rows)
    raw, corrected = _embeddings(store, out, chosen)
    batch = annotations[BATCH].to_numpy(dtype=str)[chosen]
    label = annotations[TREATMENT].to_numpy(dtype=str)[chosen]
    found = {}
    for name, embedding in (("corrected", corrected), ("raw", raw)):
        scores = batch_scores(embedding, raw, batch, label) | biology_scores(embedding, label)
        found[name] = {key: round(value, 5) for key, value in vars(totals(scores)).items()}
    return found


def _chosen(annotations: Any, mixture: Mixture, n_rows: int) -> Ints:
    """Rows of common clusters: a few rows of a rare one would be a label of their own."""
    cluster = annotations[TREATMENT].cat.codes.to_numpy().astype(np.int64)
    batch = annotations[BATCH].cat.codes.to_numpy()
    common = np.flatnonzero(cluster < mixture.n_clusters)
    strata = cluster[common] * mixture.n_batches + batch[common]
    return common[stratified_rows(strata, n_rows)]


def _embeddings(store: Path, out: Path, chosen: Ints) -> Sequence[Floats]:
    if isinstance(zarr.open(str(out), mode="r"), zarr.Group):
        opened = open_stores([str(store), str(out)], [BATCH])
        return [one.scores for one in read_embeddings(opened, chosen)]
    # The peer's scores have their own signs, which no distance knows.
    raw = read_embeddings(open_stores([str(store)], [BATCH]), chosen)[0].scores
    return [raw, zarr.open_array(str(out), mode="r")[:][chosen].astype(np.float64)]


def startup_table(findings: Findings) -> str:
    """Start-up: a whole run of a thousand rows."""
    rows = []
    for kept, meaning in ((True, "kernels from an earlier run"), (False, "kernels compiled")):
        starts = findings.each("start", kernels_kept=kept)
        for name in starts:
            seconds = findings.values("seconds", start=name, kernels_kept=kept)
            rows.append([f"{name}, {meaning}", spread(seconds)])
    return "## Start-up: 1,000 rows\n\n" + lines(["balans correct", "seconds"], rows)


def table(findings: Findings, case: Mapping[str, Any]) -> str:
    """One data set's figures."""
    names = findings.each("method", **case)
    beside = median(findings.values("seconds", **case, method=HARMONY))
    rows = [_row(name, findings.of(**case, method=name), beside) for name in names]
    rows += _harmony_alone(findings.of(**case, method=HARMONY), beside)
    rows += _raw(findings.of(**case))
    title = f"{case['n_rows']:,} rows, {case['n_batches']} batches, {case['clusters']} clusters"
    return f"## {title}\n\n{lines(COLUMNS, rows)}"


def _row(name: str, runs: Sequence[Mapping[str, Any]], beside: float) -> list[str]:
    seconds = [run["seconds"] for run in runs]
    first = runs[0]
    rare = first.get("rare_covered")
    n_covered = sum(share >= COVERED for share in rare or [])
    return [
        name,
        spread(seconds),
        _ratio(seconds, beside),
        format_bytes(max(run["peak_bytes"] for run in runs)),
        format_bytes(first["planned_bytes"]) if "planned_bytes" in first else "-",
        f"{first['n_landmarks']:,}" if "n_landmarks" in first else "-",
        f"{n_covered} of {len(rare)}" if rare else "-",
        *_scores(next((run["scores"]["corrected"] for run in runs if "scores" in run), None)),
    ]


def _harmony_alone(runs: Sequence[Mapping[str, Any]], beside: float) -> list[list[str]]:
    if not runs:
        return []
    seconds = [run["steps"]["harmony"] for run in runs]
    row = [ALONE, spread(seconds), _ratio(seconds, beside)]
    return [row + ["-"] * (len(COLUMNS) - len(row))]


def _ratio(seconds: Sequence[float], beside: float) -> str:
    return "-" if math.isnan(beside) else f"{median(seconds) / beside:.2f}"


def _raw(runs: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    found = [run["scores"]["raw"] for run in runs if "scores" in run]
    return [["raw", *["-"] * 6, *_scores(found[0])]] if found else []


def _scores(scores: Mapping[str, float] | None) -> list[str]:
    names = ("total", "biology", "batch")
    return ["-"] * 3 if scores is None else [f"{scores[name]:.3f}" for name in names]


def picture(findings: Findings, cases: Sequence[Mapping[str, Any]]) -> Figure:
    """Seconds over rows, a panel for every number of batches and kind of clusters."""
    kinds = list(dict.fromkeys((case["clusters"], case["n_batches"]) for case in cases))
    figure, axes = panels(len(kinds))
    for axis, (clusters, n_batches) in zip(axes, kinds, strict=True):
        case = {"clusters": clusters, "n_batches": n_batches}
        for name in findings.each("method", **case):
            sizes = sorted({run["n_rows"] for run in findings.of(**case, method=name)})
            seconds = [findings.values("seconds", **case, method=name, n_rows=n) for n in sizes]
            spread_line(axis, sizes, seconds, name)
        axis.set(xscale="log", yscale="log", title=f"{clusters}, {n_batches} batches",
                 xlabel="rows", ylabel="seconds")  # fmt: skip
        axis.legend(frameon=False, fontsize=8)
    return figure


if __name__ == "__main__":
    main()
