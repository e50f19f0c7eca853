"""Whole runs from Zarr to Zarr beside harmonypy: time, processors, memory against the plan.

    python -m benchmarks.speed.whole_run [--harmony-python PYTHON] [--rows N ...] [--methods M ...]

Every run is a process of its own: the installed `balans correct`, by threads and by processes, with
`--paper` by threads, and `peers/harmony_store.py`, all on as many cores. Runs of one data set take
turns. The longest sizes are options: `--rows 5000000`.
"""

import argparse
import json
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from balans_dask.errors import format_bytes
from balans_dask.evaluate.peers.processes import Peers
from balans_dask.events import read_events
from balans_dask.io.store import open_store
from balans_dask.workflows.mixture import Mixture
from balans_dask.workflows.records import correction_record
from benchmarks.harness.findings import Findings, benchmark_arguments, described, median, spread
from benchmarks.harness.measured_process import balans, measured, planned_bytes
from benchmarks.harness.mixtures import (
    BATCH,
    N_RARE,
    SPREADS,
    TINY_ROWS,
    TREATMENT,
    mixture_store,
    working_folder,
)
from benchmarks.harness.pictures import grid, spread_line
from benchmarks.harness.tables import lines
from benchmarks.speed.phases import PHASES, draw_phases, medians, phases_of

PEER = Path(__file__).parents[1] / "peers" / "harmony_store.py"
STARTS = ("threads", "processes")
NO_CACHE = {"BALANS_NO_KERNEL_CACHE": "1"}
Run = Callable[..., dict[str, Any]]
HARMONY = "harmonypy"
ALONE = "run_harmony alone"
METHODS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "threads": ("balans, threads", "threads", ()),
    "processes": ("balans, processes", "local", ()),
    "paper": ("balans --paper, threads", "threads", ("--paper",)),
}
"""What ``--methods`` chooses from, beside harmonypy: name in tables, cluster, further options."""
COLUMNS = ["method", "seconds", f"of {HARMONY}", f"of {ALONE}", "processor seconds", "peak memory",
           "planned", "landmarks", "rare covered"]  # fmt: skip
COVERED = 0.5
RARE_FROM = 20_000
"""Rows from which rare clusters, of one row in 10,000 each, have more than one row."""


@dataclass(frozen=True)
class Data:
    """One data set on disk."""

    store: Path
    folder: Path
    mixture: Mixture


def workers_of(cluster: str, n_workers: int) -> tuple[object, ...]:
    """Ask for workers."""
    return ("--cluster", cluster, "--workers", n_workers)


def balans_run(
    data: Data, out: Path, cluster: str, n_workers: int, more: Sequence[str]
) -> dict[str, Any]:
    """Correct by the installed command."""
    given = ("--batch-key", BATCH, "--verbose", *workers_of(cluster, n_workers), *more)
    done = balans("correct", data.store, out, *given)
    record = correction_record(open_store(str(out)))
    assert record is not None
    return done.figures | {
        "planned_bytes": planned_bytes(done.err),
        "n_landmarks": int(record["n_sampled"]),
        "n_fit_rows": int(record.get("n_fit_rows", data.mixture.n_rows)),
        "n_uncovered": int(record["n_uncovered"]),
        "rare_covered": rare_covered(out, data.mixture),
        "phases": phases_of(read_events(str(out)), done.seconds),
    }


def harmony_run(data: Data, out: Path, python: str, threads: int) -> dict[str, Any]:
    """Correct by harmonypy, in another Python if that has it."""
    given = ("--batch-key", BATCH, "--threads", str(threads))
    limits = {name: str(threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    argv = [python, str(PEER), str(data.store), str(out), *given]
    done = measured(argv, os.environ | limits)
    return done.figures | {"steps": json.loads(done.out)}


def cleaned(data: Data, run: Run) -> dict[str, Any]:
    """Run, and remove the output."""
    with tempfile.TemporaryDirectory(dir=data.folder) as place:
        return run(data, Path(place) / "out.zarr")


def methods(given: argparse.Namespace, peer: str | None) -> dict[str, Run]:
    """Name all that take turns."""
    found: dict[str, Run] = {}
    for name, (label, cluster, more) in METHODS.items():
        if name in given.methods:
            found[label] = partial(balans_run, cluster=cluster, n_workers=given.workers, more=more)
    if peer and HARMONY in given.methods:
        found[HARMONY] = partial(harmony_run, python=given.harmony_python, threads=given.workers)
    return found


def cases(given: argparse.Namespace) -> list[tuple[dict[str, Any], Mixture]]:
    """List the data sets."""
    return [
        (
            {"clusters": kind, "n_rows": n_rows, "n_batches": n_batches},
            Mixture(
                n_rows,
                50,
                n_batches=n_batches,
                n_rare=N_RARE if n_rows >= RARE_FROM else 0,
                cluster_spread=SPREADS[kind],
            ),
        )
        for kind in given.clusters
        for n_batches in given.batches
        for n_rows in given.rows
    ]


def measure_startup(findings: Findings, folder: Path, given: argparse.Namespace) -> None:
    """Correct a thousand rows with and without kernels from an earlier run."""
    store = mixture_store(folder, Mixture(TINY_ROWS))

    def start(name: str, kept: bool) -> dict[str, float]:
        where = workers_of(METHODS[name][1], given.workers)
        environment: Mapping[str, str] = os.environ if kept else os.environ | NO_CACHE
        with tempfile.TemporaryDirectory(dir=folder) as place:
            options = (store, Path(place) / "out.zarr", "--batch-key", BATCH, *where)
            return balans("correct", *options, environment=environment).figures

    for repeat in range(given.repeats):
        for kept in (True, False):
            for name in STARTS:
                if name in given.methods:
                    case = {"start": name, "kernels_kept": kept, "repeat": repeat}
                    findings.measure(case, partial(start, name, kept))


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = benchmark_arguments(__doc__, repeats=3)
    sizes = [1_000, 20_000, 200_000, 1_000_000]
    parser.add_argument("--rows", type=int, nargs="+", default=sizes)
    parser.add_argument("--batches", type=int, nargs="+", default=[5, 100])
    parser.add_argument("--clusters", nargs="+", choices=SPREADS, default=list(SPREADS))
    every = [*METHODS, HARMONY]
    parser.add_argument("--methods", nargs="+", choices=every, default=every)
    parser.add_argument("--workers", type=int, default=2, help="cores of every method")
    parser.add_argument("--harmony-python", default=sys.executable, help="one with harmonypy")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Measure all cases, write JSON, table and plot."""
    given = arguments(argv)
    peer = Peers(given.harmony_python).versions().get("harmonypy")
    if peer is None and HARMONY in given.methods:
        print("harmonypy is not installed there: it is left out", file=sys.stderr)
    findings = Findings("whole_run", given, ["workers"], {"harmonypy": peer or "none"})
    with working_folder(given.folder) as folder:
        small = Mixture(TINY_ROWS)
        for run in methods(given, peer).values():
            # Kernels are compiled before anything is measured.
            cleaned(Data(mixture_store(folder, small), folder, small), run)
        measure_startup(findings, folder, given)
        for case, mixture in cases(given):
            store = mixture_store(folder, mixture)
            for repeat in range(given.repeats):
                data = Data(store, folder, mixture)
                for name, run in methods(given, peer).items():
                    named = {**case, "method": name, "repeat": repeat}
                    findings.measure(named, partial(cleaned, data, run))
            if given.folder is None:
                shutil.rmtree(store)
    measured_cases = [case for case, _ in cases(given)]
    tables = [startup_table(findings), *(table(findings, case) for case in measured_cases)]
    tables.append(phase_table(findings, measured_cases))
    findings.publish(*described(__file__), tables, picture(findings, measured_cases))


def rare_covered(out: Path, mixture: Mixture) -> list[float]:
    """Share of covered rows of every rare cluster."""
    rows = open_store(str(out)).obs
    cluster = rows[TREATMENT].cat.codes.to_numpy()
    covered = rows["balans_covered"].to_numpy(dtype=bool)
    numbers = range(mixture.n_clusters, mixture.n_clusters + mixture.n_rare)
    return [round(float(covered[cluster == number].mean()), 3) for number in numbers]


def startup_table(findings: Findings) -> str:
    """Start-up: a whole run of a thousand rows."""
    rows = []
    for kept, meaning in ((True, "kernels from an earlier run"), (False, "kernels compiled")):
        for name in findings.each("start", kernels_kept=kept):
            case = {"start": name, "kernels_kept": kept}
            figures = (findings.values(key, **case) for key in ("seconds", "processor_seconds"))
            rows.append([f"{name}, {meaning}", *map(spread, figures)])
    head = ["balans correct", "seconds", "processor seconds"]
    return "## Start-up: 1,000 rows\n\n" + lines(head, rows)


def table(findings: Findings, case: Mapping[str, Any]) -> str:
    """One data set's figures."""
    names = findings.each("method", **case)
    peers = findings.of(**case, method=HARMONY)
    beside = [median([run["seconds"] for run in peers]), median([_alone(run) for run in peers])]
    rows = [_row(name, findings.of(**case, method=name), beside) for name in names]
    if peers:
        alone = [_alone(run) for run in peers]
        row = [ALONE, spread(alone), *_ratios(alone, beside)]
        rows.append(row + ["-"] * (len(COLUMNS) - len(row)))
    title = f"{case['n_rows']:,} rows, {case['n_batches']} batches, {case['clusters']} clusters"
    return f"## {title}\n\n{lines(COLUMNS, rows)}"


def _alone(run: Mapping[str, Any]) -> float:
    return float(run["steps"]["harmony"])


def _row(name: str, runs: Sequence[Mapping[str, Any]], beside: Sequence[float]) -> list[str]:
    seconds = [run["seconds"] for run in runs]
    first = runs[0]
    rare = first.get("rare_covered")
    n_covered = sum(share >= COVERED for share in rare or [])
    return [
        name,
        spread(seconds),
        *_ratios(seconds, beside),
        spread([run["processor_seconds"] for run in runs], 2),
        format_bytes(max(run["peak_bytes"] for run in runs)),
        format_bytes(first["planned_bytes"]) if "planned_bytes" in first else "-",
        f"{first['n_landmarks']:,}" if "n_landmarks" in first else "-",
        f"{n_covered} of {len(rare)}" if rare else "-",
    ]


def _ratios(seconds: Sequence[float], beside: Sequence[float]) -> list[str]:
    return ["-" if math.isnan(each) else f"{median(seconds) / each:.2f}" for each in beside]


def phase_table(findings: Findings, cases: Sequence[Mapping[str, Any]]) -> str:
    """Medians of the phases of every size and method."""
    rows = []
    for case in cases:
        for name, runs in _bars(findings, case).items():
            where = f"{case['n_rows']:,}, {case['n_batches']}, {case['clusters']}: {name}"
            rows.append([where, *(f"{each:.2f}" for each in medians(runs).values())])
    return "## Phases, in seconds\n\n" + lines(["rows, batches, clusters: method", *PHASES], rows)


def _bars(findings: Findings, case: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    names = [name for name in findings.each("method", **case) if name != HARMONY]
    return {name: findings.of(**case, method=name) for name in names}


def picture(findings: Findings, cases: Sequence[Mapping[str, Any]]) -> Figure:
    """Seconds over rows, a panel for every number of batches and kind of clusters; then phases."""
    kinds = list(dict.fromkeys((case["clusters"], case["n_batches"]) for case in cases))
    figure, axes = grid(2 * len(kinds), len(kinds))
    for axis, below, (clusters, n_batches) in zip(
        axes, axes[len(kinds) :], kinds, strict=False
    ):  # fmt: skip
        case = {"clusters": clusters, "n_batches": n_batches}
        for name in findings.each("method", **case):
            sizes = sorted({run["n_rows"] for run in findings.of(**case, method=name)})
            seconds = [findings.values("seconds", **case, method=name, n_rows=n) for n in sizes]
            spread_line(axis, sizes, seconds, name)
        title = f"{clusters}, {n_batches} batches"
        axis.set(xscale="log", yscale="log", title=title, xlabel="rows", ylabel="seconds")
        axis.legend(frameon=False, fontsize=8)
        bars = {
            f"{n_rows:,}: {name}": runs
            for n_rows in sorted({run["n_rows"] for run in findings.of(**case)})
            for name, runs in _bars(findings, case | {"n_rows": n_rows}).items()
        }
        draw_phases(below, bars, title)
    return figure


if __name__ == "__main__":
    main()
