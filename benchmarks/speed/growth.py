"""How time and memory grow with rows, with features and with workers.

    python -m benchmarks.speed.growth [--rows 100000 300000 1000000 5000000] [--folder FOLDER]

Every run is the installed `balans correct` with its default settings, by worker processes of one
thread unless others are given. The longest: 5,000,000 rows; give 20000000 too where there is time,
and a folder that keeps the generated stores.
"""

import argparse
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from balans_dask.errors import format_bytes
from balans_dask.events import read_events
from balans_dask.io.store import open_store
from balans_dask.workflows.mixture import Mixture
from balans_dask.workflows.records import correction_record
from benchmarks.harness.findings import Findings, benchmark_arguments, described, median, spread
from benchmarks.harness.measured_process import balans, planned_bytes
from benchmarks.harness.mixtures import BATCH, SPREADS, TINY_ROWS, mixture_store, working_folder
from benchmarks.harness.pictures import panels, spread_line
from benchmarks.harness.tables import lines
from benchmarks.speed.phases import PHASES, draw_phases, medians, phases_of

N_COLUMNS = 50
WIDE_ROWS = 50_000


def run(store: Path, workers: int, cluster: str) -> dict[str, Any]:
    """Correct by the installed command, and remove the output."""
    with tempfile.TemporaryDirectory(dir=store.parent) as place:
        out = Path(place) / "out.zarr"
        where = ("--cluster", cluster, "--workers", workers, "--verbose")
        done = balans("correct", store, out, "--batch-key", BATCH, *where)
        record = correction_record(open_store(str(out)))
        events = read_events(str(out))
    assert record is not None
    return done.figures | {
        "planned_bytes": planned_bytes(done.err),
        "n_landmarks": int(record["n_sampled"]),
        "phases": phases_of(events, done.seconds),
    }


def cases(given: argparse.Namespace) -> list[dict[str, int]]:
    """List sizes and workers, each once."""
    found = [
        {"n_rows": n_rows, "n_features": N_COLUMNS, "workers": workers}
        for n_rows in given.rows
        for workers in ((1, 2) if n_rows == given.one_worker_rows else (2,))
    ]
    return found + [
        {"n_rows": given.wide_rows, "n_features": n_features, "workers": 2}
        for n_features in given.features
    ]


def table(findings: Findings, given: argparse.Namespace) -> str:
    """Write all cases."""
    head = ["rows", "features", "workers", "seconds", "a row, us", "processor seconds",
            "of the driver", "landmarks", "peak memory", "planned"]  # fmt: skip
    return lines(head, [_row(case, findings.of(**case)) for case in cases(given)])


def _row(case: dict[str, int], runs: list[dict[str, Any]]) -> list[str]:
    seconds = [run["seconds"] for run in runs]
    return [
        f"{case['n_rows']:,}",
        f"{case['n_features']:,}",
        f"{case['workers']}",
        spread(seconds),
        f"{1e6 * median(seconds) / case['n_rows']:.1f}",
        spread([run["processor_seconds"] for run in runs]),
        spread([run["driver_seconds"] for run in runs]),
        f"{runs[0]['n_landmarks']:,}",
        format_bytes(max(run["peak_bytes"] for run in runs)),
        format_bytes(runs[0]["planned_bytes"]),
    ]


def speedup(findings: Findings, given: argparse.Namespace) -> str:
    """Write what the second worker gives, phase by phase."""
    case = {"n_rows": given.one_worker_rows, "n_features": N_COLUMNS}
    one, two = (findings.of(**case, workers=n) for n in (1, 2))
    if not one or not two:
        return ""
    before, after = medians(one), medians(two)
    rows = [[name, f"{before[name]:.2f}", f"{after[name]:.2f}", _ratio(before[name], after[name])]
            for name in PHASES]  # fmt: skip
    for name, figure in (("all", "seconds"), ("the driver's own processor time", "driver_seconds")):
        alone, together = (median([run[figure] for run in runs]) for runs in (one, two))
        rows.append([name, f"{alone:.2f}", f"{together:.2f}", _ratio(alone, together)])
    head = [f"{given.one_worker_rows:,} rows", "one worker, s", "two workers, s", "ratio"]
    return lines(head, rows)


def _ratio(one: float, two: float) -> str:
    return f"{one / two:.2f}" if two > 0.0 else "-"


def picture(findings: Findings, given: argparse.Namespace) -> Figure:
    """Draw time and memory over rows, and time over features."""
    figure, (time, memory, wide, phases) = panels(4)
    of_rows = {"n_features": N_COLUMNS, "workers": 2}
    seconds = [findings.values("seconds", **of_rows, n_rows=n) for n in given.rows]
    spread_line(time, given.rows, seconds, "")
    time.set(xscale="log", yscale="log", xlabel="rows", ylabel="seconds", title="time, 2 workers")
    for figure_name, label in (("peak_bytes", "measured"), ("planned_bytes", "planned")):
        found = [findings.values(figure_name, **of_rows, n_rows=n) for n in given.rows]
        memory.plot(given.rows, [max(each) / 2**30 for each in found], "o-", ms=4, label=label)
    memory.set(
        xscale="log", ylim=(0, None), xlabel="rows", ylabel="GiB", title="memory of all processes"
    )
    memory.legend(frameon=False)
    of_wide = {"n_rows": given.wide_rows, "workers": 2}
    seconds = [findings.values("seconds", **of_wide, n_features=p) for p in given.features]
    spread_line(wide, given.features, seconds, "")
    wide.set(xscale="log", ylim=(0, None), xlabel="features", ylabel="seconds",
             title=f"{given.wide_rows:,} rows")  # fmt: skip
    bars = {
        f"{case['n_rows']:,}, {case['workers']}": findings.of(**case)
        for case in cases(given)
        if case["n_features"] == N_COLUMNS
    }
    draw_phases(phases, bars, "rows, workers")
    return figure


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = benchmark_arguments(__doc__, repeats=3)
    sizes = [100_000, 300_000, 1_000_000, 5_000_000]
    parser.add_argument("--rows", type=int, nargs="+", default=sizes)
    parser.add_argument("--clusters", choices=SPREADS, default="overlapping")
    parser.add_argument("--one-worker-rows", type=int, default=1_000_000)
    parser.add_argument("--features", type=int, nargs="+", default=[50, 500, 5000])
    parser.add_argument("--wide-rows", type=int, default=WIDE_ROWS)
    parser.add_argument("--cluster", choices=("local", "threads"), default="local")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Measure all cases in turn, write JSON, table and plot."""
    given = arguments(argv)
    findings = Findings("growth", given, ["clusters", "cluster"])
    with working_folder(given.folder) as folder:
        # Kernels are compiled before anything is measured.
        run(mixture_store(folder, Mixture(TINY_ROWS)), 2, given.cluster)
        for repeat in range(given.repeats):
            for case in cases(given):
                mixture = Mixture(
                    case["n_rows"], case["n_features"], cluster_spread=SPREADS[given.clusters]
                )
                store = mixture_store(folder, mixture)
                correct = partial(run, store, case["workers"], given.cluster)
                findings.measure(case | {"repeat": repeat}, correct)
    tables = [table(findings, given), speedup(findings, given)]
    findings.publish(*described(__file__), tables, picture(findings, given))


if __name__ == "__main__":
    main()
