"""Cost of every pass a (landmark, profile) pair, beside the bare matrix product it contains.

    python -m benchmarks.speed.passes [--rows 262144] [--components 50] [--repeats 7]

All are measured in one process, on one thread, in turn.
"""

import time
from collections.abc import Callable
from functools import partial

import numpy as np
from matplotlib.figure import Figure

from balans_dask.kernels._blas import single_threaded_blas
from balans_dask.kernels.affinity import kept_affinities
from balans_dask.kernels.batch_tiles import tile_by_batch
from balans_dask.kernels.elbow import elbow_thresholds, scaled_distance_counts
from balans_dask.kernels.landmarks import landmark_block, tile_products
from balans_dask.kernels.local_scale import nearest_by_batch, squared_scales
from balans_dask.workflows.mixture import Mixture
from benchmarks.harness.findings import Findings, benchmark_arguments, described, median, spread
from benchmarks.harness.pictures import panels
from benchmarks.harness.tables import lines

BLOCK_ROWS = 64
BARE = "sgemm"


def cases(n_rows: int, n_components: int, n_batches: int) -> dict[str, Callable[[int], object]]:
    """Return the bare product and the three passes over one partition.

    Each takes the number of the repeat: as in a run, the next round has another block of landmarks,
    the first pass of a round makes its products, and the others find them.
    """
    mixture = Mixture(n_rows, n_components, n_batches=n_batches)
    profiles = np.concatenate([rows for _, rows in mixture.slabs(65_536)])
    codes = mixture.annotations()["Metadata_batch"].cat.codes.to_numpy()
    tiles = tile_by_batch(0, profiles - profiles.mean(axis=0), codes)
    kept = tiles.keeping_products(BLOCK_ROWS)
    step = n_rows // BLOCK_ROWS
    bare = []
    for first in (0, step // 2):
        rows = first + np.arange(BLOCK_ROWS) * step
        bare.append(landmark_block(rows, tiles.rows(rows), BLOCK_ROWS))
    scaled = [b.with_scales(squared_scales(nearest_by_batch(tiles, b, 5), 0.0)) for b in bare]
    counts = [scaled_distance_counts(tiles, block) for block in scaled]
    cut = [
        block.with_thresholds(elbow_thresholds(count, n_rows))
        for block, count in zip(scaled, counts, strict=True)
    ]
    return {
        BARE: lambda repeat: [None for _ in tile_products(tiles, bare[repeat % 2])],
        "1 scales": lambda repeat: nearest_by_batch(kept, bare[repeat % 2], 5),
        "2 elbow": lambda repeat: scaled_distance_counts(kept, scaled[repeat % 2]),
        "3 rows": lambda repeat: kept_affinities(kept, cut[repeat % 2]),
    }


def measure(
    findings: Findings, functions: dict[str, Callable[[int], object]], repeats: int
) -> None:
    """Take processor seconds, so that others on the machine count less; functions take turns."""
    for function in functions.values():
        function(-1)
    for repeat in range(repeats):
        for name, function in functions.items():
            findings.measure({"pass": name, "repeat": repeat}, partial(_timed, function, repeat))


def _timed(function: Callable[[int], object], repeat: int) -> dict[str, float]:
    start = time.thread_time()
    function(repeat)
    return {"seconds": round(time.thread_time() - start, 6)}


def table(nanoseconds: dict[str, list[float]]) -> str:
    """Write every pass beside the product, and their sum."""
    bare = median(nanoseconds[BARE])
    rows = [
        [name, spread(values, 2), f"{median(values) / bare:.2f}"]
        for name, values in nanoseconds.items()
    ]
    passes = sum(median(values) for name, values in nanoseconds.items() if name != BARE)
    rows.append(["all passes", f"{passes:.2f}", f"{passes / bare:.2f}"])
    return lines(["pass", "ns a pair", f"x {BARE}"], rows)


def picture(nanoseconds: dict[str, list[float]]) -> Figure:
    """Draw the medians."""
    figure, (axis,) = panels(1)
    axis.barh(list(nanoseconds), [median(values) for values in nanoseconds.values()])
    axis.invert_yaxis()
    axis.set(xlabel="ns a (landmark, profile) pair")
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
    pairs = given.rows * BLOCK_ROWS
    nanoseconds = {
        name: [1e9 * s / pairs for s in findings.values("seconds", **{"pass": name})]
        for name in functions
    }
    title, about = described(__file__)
    about += f" Here {given.rows:,} rows, p = {given.components}, {given.batches} batches."
    findings.publish(title, about, [table(nanoseconds)], picture(nanoseconds))


if __name__ == "__main__":
    main()
