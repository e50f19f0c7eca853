"""How time and memory grow with rows, with features and with workers.

    python -m benchmarks.speed.growth [--rows 100000 300000 1000000 5000000] [--folder FOLDER]

Every run is the installed `balans correct --operator smooth`, with its own settings and by worker
processes unless others are given. The longest: 5,000,000 rows; give 20000000 too where there is
time, and a folder that keeps the generated stores.
"""

import argparse
import shlex
import tempfile
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from balans_dask.errors import format_bytes
from balans_dask.events import read_events
from balans_dask.report.run_sections import stage_times
from balans_dask.workflows.mixture import Mixture
from benchmarks.harness.findings import Findings, benchmark_arguments, described, median, spread
from benchmarks.harness.measured_process import SMOOTH, balans, planned_bytes
from benchmarks.harness.mixtures import BATCH, SPREADS, TINY_ROWS, mixture_store, working_folder
from benchmarks.harness.pictures import panels, spread_line
from benchmarks.harness.tables import lines

N_COLUMNS = 50
WIDE_ROWS = 50_000
SAMPLING = "sampling rows"


def run(store: Path, workers: int, cluster: str, settings: str) -> dict[str, Any]:
    """Correct by the installed command, and remove the output."""
    where = ("--cluster", cluster, "--workers", workers, *SMOOTH)
    with tempfile.TemporaryDirectory(dir=store.parent) as place:
        out = Path(place) / "out.zarr"
        done = balans("correct", store, out, "--batch-key", BATCH, *where, *shlex.split(settings))
        events = read_events(str(out))
    stages = {stage.name: round(stage.seconds, 3) for stage in stage_times(events)}
    ends = [event for event in events if event["n_sampled"] is not None]
    return {
        "seconds": round(done.seconds, 3),
        "peak_bytes": done.peak_bytes,
        "planned_bytes": planned_bytes(done.err),
        "stages": stages,
        "n_landmarks": ends[-1]["n_sampled"],
        "n_rounds": len(ends),
        "round_seconds": median([b["seconds"] - a["seconds"] for a, b in pairwise(ends)]),
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
    head = ["rows", "features", "workers", "seconds", "a row, us", "landmarks", "sampling, s",
            "a round, ms", "peak memory", "planned"]  # fmt: skip
    return lines(head, [_row(case, findings.of(**case)) for case in cases(given)])


def _row(case: dict[str, int], runs: list[dict[str, Any]]) -> list[str]:
    seconds = [run["seconds"] for run in runs]
    return [
        f"{case['n_rows']:,}",
        f"{case['n_features']:,}",
        f"{case['workers']}",
        spread(seconds),
        f"{1e6 * median(seconds) / case['n_rows']:.1f}",
        f"{runs[0]['n_landmarks']:,}",
        spread([run["stages"][SAMPLING] for run in runs]),
        spread([1000 * run["round_seconds"] for run in runs], 0),
        format_bytes(max(run["peak_bytes"] for run in runs)),
        format_bytes(runs[0]["planned_bytes"]),
    ]


def speedup(findings: Findings, given: argparse.Namespace) -> str:
    """Write what the second worker gives."""
    case = {"n_rows": given.one_worker_rows, "n_features": N_COLUMNS}
    one, two = (findings.values("round_seconds", **case, workers=n) for n in (1, 2))
    if not one or not two:
        return ""
    ratio = median(one) / median(two)
    return lines(["rows", "rounds of two workers over those of one"],
                 [[f"{given.one_worker_rows:,}", f"{ratio:.2f}"]])  # fmt: skip


def picture(findings: Findings, given: argparse.Namespace) -> Figure:
    """Draw time and memory over rows, and time over features."""
    figure, (time, memory, wide) = panels(3)
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
    parser.add_argument(
        "--settings", default="", help='further ones, which win, as --settings="--operator align"'
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Measure all cases in turn, write JSON, table and plot."""
    given = arguments(argv)
    findings = Findings("growth", given, ["clusters", "cluster", "settings"])
    with working_folder(given.folder) as folder:
        # Kernels are compiled before anything is measured.
        run(mixture_store(folder, Mixture(TINY_ROWS)), 2, given.cluster, given.settings)
        for repeat in range(given.repeats):
            for case in cases(given):
                mixture = Mixture(
                    case["n_rows"], case["n_features"], cluster_spread=SPREADS[given.clusters]
                )
                store = mixture_store(folder, mixture)
                correct = partial(run, store, case["workers"], given.cluster, given.settings)
                findings.measure(case | {"repeat": repeat}, correct)
    tables = [table(findings, given), speedup(findings, given)]
    findings.publish(*described(__file__), tables, picture(findings, given))


if __name__ == "__main__":
    main()
