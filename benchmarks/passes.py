"""Cost of every pass a (landmark, profile) pair, beside the bare matrix product it contains.

    python benchmarks/passes.py [--rows 262144] [--components 50] [--repeats 7] [--json FILE]

All are measured in one process, on one thread, interleaved; the table gives medians and the range.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable

import numpy as np

from balans_dask.kernels.affinity import kept_affinities
from balans_dask.kernels.batch_tiles import tile_by_batch
from balans_dask.kernels.elbow import elbow_thresholds, scaled_distance_counts
from balans_dask.kernels.landmarks import landmark_block
from balans_dask.kernels.local_scale import nearest_by_batch, squared_scales
from balans_dask.kernels.products import tile_products
from balans_dask.mixture import Mixture
from balans_dask.passes.blas import blas_fingerprint, single_threaded_blas

BLOCK_ROWS = 64


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
        "sgemm": lambda repeat: [None for _ in tile_products(tiles, bare[repeat % 2])],
        "1 scales": lambda repeat: nearest_by_batch(kept, bare[repeat % 2], 5),
        "2 elbow": lambda repeat: scaled_distance_counts(kept, scaled[repeat % 2]),
        "3 rows": lambda repeat: kept_affinities(kept, cut[repeat % 2]),
    }


def measure(functions: dict[str, Callable[[int], object]], repeats: int) -> dict[str, list[float]]:
    """Processor seconds of every function, called in turn; others on the machine count less so."""
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for function in functions.values():
        function(-1)
    for repeat in range(repeats):
        for name, function in functions.items():
            start = time.thread_time()
            function(repeat)
            seconds[name].append(time.thread_time() - start)
    return seconds


def main() -> None:
    """Measure, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=262_144)
    parser.add_argument("--components", type=int, default=50)
    parser.add_argument("--batches", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", help="write the figures here")
    given = parser.parse_args()
    with single_threaded_blas():
        functions = cases(given.rows, given.components, given.batches)
        seconds = measure(functions, given.repeats)
    pairs = given.rows * BLOCK_ROWS
    nanoseconds = {name: [1e9 * s / pairs for s in taken] for name, taken in seconds.items()}
    bare = statistics.median(nanoseconds["sgemm"])
    print(f"{'pass':10} {'ns a pair':>10} {'range':>15} {'x sgemm':>8}")
    for name, values in nanoseconds.items():
        median = statistics.median(values)
        spread = f"{min(values):.2f} to {max(values):.2f}"
        print(f"{name:10} {median:10.2f} {spread:>15} {median / bare:8.2f}")
    passes = sum(statistics.median(v) for name, v in nanoseconds.items() if name != "sgemm")
    print(f"{'all passes':10} {passes:10.2f} {'':>15} {passes / bare:8.2f}")
    if given.json:
        machine = {"processor": platform.processor(), "blas": blas_fingerprint()}
        record = vars(given) | {"machine": machine, "nanoseconds_a_pair": nanoseconds}
        with open(given.json, "w") as file:
            json.dump(record, file, indent=1)


if __name__ == "__main__":
    main()
