"""Cost of the sweeps of a round a (landmark, profile) pair, beside the bare product they contain.

    python -m benchmarks.speed.passes [--rows 262144] [--components 50] [--repeats 7]

Rounds of the paper, which finds elbows on all rows, and of `align`, which finds them on a sample.
All are measured in one process, on one thread, in turn.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from balans_dask.kernels._blas import single_threaded_blas
from balans_dask.kernels.affinity import kept_affinities
from balans_dask.kernels.batch_tiles import tile_by_batch
from balans_dask.kernels.coverage import elbow_rows
from balans_dask.kernels.elbow import elbow_thresholds, scaled_distance_counts
from balans_dask.kernels.landmarks import landmark_block, tile_products
from balans_dask.kernels.local_scale import nearest_by_batch, squared_scales
from balans_dask.parameters import Parameters
from balans_dask.workflows.mixture import Mixture
from benchmarks.harness.findings import Findings, benchmark_arguments, described, median, spread
from benchmarks.harness.pictures import panels
from benchmarks.harness.tables import lines

METHODS = {"paper": Parameters(operator="smooth"), "align": Parameters()}
BARE = "sgemm"
SWEEPS = ("nearest", "elbow", "rows")
"""Of a round. Each counts with the pairs of all rows, also where it looks at a sample of them."""
Sweep = Callable[[int], object]


def cases(n_rows: int, n_components: int, n_batches: int) -> dict[tuple[str, str], Sweep]:
    """Return the bare product and the sweeps of a round over one partition, of both methods.

    Each takes the number of the repeat: as in a run, the next round has another block of landmarks,
    the first sweep of a round makes its products, and the others find them.
    """
    mixture = Mixture(n_rows, n_components, n_batches=n_batches)
    profiles = np.concatenate([rows for _, rows in mixture.slabs(65_536)])
    profiles -= profiles.mean(axis=0)
    codes = mixture.annotations()["Metadata_batch"].cat.codes.to_numpy()
    return {
        (method, name): sweep
        for method, parameters in METHODS.items()
        for name, sweep in sweeps(profiles, codes, parameters).items()
    }


def sweeps(profiles: Any, codes: Any, parameters: Parameters) -> dict[str, Sweep]:
    """Return what a round of one method does with these rows."""
    n_rows, block_rows, k = len(profiles), parameters.block_rows, parameters.n_neighbors
    tiles = tile_by_batch(0, profiles, codes)
    kept = tiles.keeping_products(block_rows)
    counted, n_counted = kept, n_rows
    if parameters.operator == "align":
        sample = elbow_rows(parameters.seed, 0, n_rows)
        counted, n_counted = tile_by_batch(0, profiles[sample], codes[sample]), len(sample)
    step = n_rows // block_rows
    bare = []
    for first in (0, step // 2):
        rows = first + np.arange(block_rows) * step
        bare.append(landmark_block(rows, tiles.rows(rows), block_rows))
    scaled = [b.with_scales(squared_scales(nearest_by_batch(tiles, b, k), 0.0)) for b in bare]
    cut = [
        block.with_thresholds(elbow_thresholds(scaled_distance_counts(counted, block), n_counted))
        for block in scaled
    ]
    return {
        BARE: lambda repeat: [None for _ in tile_products(tiles, bare[repeat % 2])],
        "nearest": lambda repeat: nearest_by_batch(kept, bare[repeat % 2], k),
        "elbow": lambda repeat: scaled_distance_counts(counted, scaled[repeat % 2]),
        "rows": lambda repeat: kept_affinities(kept, cut[repeat % 2]),
    }


def measure(findings: Findings, functions: dict[tuple[str, str], Sweep], repeats: int) -> None:
    """Take processor seconds, so that others on the machine count less; functions take turns."""
    for function in functions.values():
        function(-1)
    for repeat in range(repeats):
        for (method, name), function in functions.items():
            case = {"method": method, "sweep": name, "repeat": repeat}
            findings.measure(case, partial(_timed, function, repeat))


def _timed(function: Sweep, repeat: int) -> dict[str, float]:
    start = time.thread_time()
    function(repeat)
    return {"seconds": round(time.thread_time() - start, 6)}


def nanoseconds(runs: Sequence[dict[str, Any]], n_rows: int) -> dict[str, list[float]]:
    """Return the cost a pair of the bare product and of every sweep, of the runs of one method."""
    found: dict[str, list[float]] = {}
    for run in runs:
        pairs = n_rows * METHODS[run["method"]].block_rows
        found.setdefault(run["sweep"], []).append(1e9 * run["seconds"] / pairs)
    return found


def round_nanoseconds(costs: dict[str, list[float]]) -> float:
    """Cost of all sweeps of a round, a pair."""
    return sum(median(costs[name]) for name in SWEEPS)


def table(findings: Findings, n_rows: int) -> str:
    """Write every sweep beside the product of the same shape, and their sum."""
    rows = []
    for method, parameters in METHODS.items():
        costs = nanoseconds(findings.of(method=method), n_rows)
        bare, name = median(costs[BARE]), f"{method}, blocks of {parameters.block_rows}"
        rows += [
            [f"{name}: {sweep}", spread(values, 2), f"{median(values) / bare:.2f}"]
            for sweep, values in costs.items()
        ]
        whole = round_nanoseconds(costs)
        rows.append([f"{name}: all sweeps", f"{whole:.2f}", f"{whole / bare:.2f}"])
    return lines(["sweep", "ns a pair", f"x {BARE}"], rows)


def picture(findings: Findings, n_rows: int) -> Figure:
    """Draw the medians."""
    figure, axes = panels(len(METHODS))
    for axis, method in zip(axes, METHODS, strict=True):
        costs = nanoseconds(findings.of(method=method), n_rows)
        axis.barh(list(costs), [median(values) for values in costs.values()])
        axis.invert_yaxis()
        axis.set(xlabel="ns a (landmark, profile) pair", title=method)
    return figure


def main(argv: list[str] | None = None) -> None:
    """Measure, write JSON, table and plot."""
    parser = benchmark_arguments(__doc__, repeats=7)
    parser.add_argument("--rows", type=int, default=262_144)
    parser.add_argument("--components", type=int, default=50)
    parser.add_argument("--batches", type=int, default=5)
    given = parser.parse_args(argv)
    findings = Findings("passes", given, ["rows", "components", "batches"])
    with single_threaded_blas():
        functions = cases(given.rows, given.components, given.batches)
        measure(findings, functions, given.repeats)
    title, about = described(__file__)
    about += f" Here {given.rows:,} rows, p = {given.components}, {given.batches} batches."
    tables, figure = [table(findings, given.rows)], picture(findings, given.rows)
    findings.publish(title, about, tables, figure)


if __name__ == "__main__":
    main()
