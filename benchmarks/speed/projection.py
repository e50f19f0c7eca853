"""What a round of many millions of wells would take on many workers, from measured constants.

    python -m benchmarks.speed.projection [--rows 100000000] [--workers 64] [--results FOLDER]

Reads `passes.json` and `rounds.json` of the results folder, and asks the program's own plan for
partitions, tasks and memory. Nothing is run: what is named here as the bottleneck is arithmetic.
"""

import argparse
import json
from pathlib import Path

from balans_dask.errors import format_bytes
from balans_dask.kernels.elbow import N_BINS
from balans_dask.passes.memory import MemoryPlan, plan_memory
from balans_dask.passes.task_bytes import COLLECTED_NODES, RunShape
from balans_dask.passes.workers import Workers
from benchmarks.harness.findings import RESULTS, described, median
from benchmarks.harness.tables import lines

COLUMNS, BATCHES, BLOCK_ROWS = 50, 1000, 64
WORKER_BYTES = 8 * 2**30
SIZES = ((1_000_000, 2), (20_000_000, 16), (100_000_000, 64))


def pair_seconds(results: Path) -> float:
    """Cost of the three passes a pair, of one thread."""
    runs = json.loads((results / "passes.json").read_text())
    pairs = runs["options"]["rows"] * BLOCK_ROWS
    names = {run["pass"] for run in runs["runs"]} - {"sgemm"}
    return (
        sum(
            median([run["seconds"] for run in runs["runs"] if run["pass"] == name])
            for name in names
        )
        / pairs
    )


def task_seconds(results: Path) -> float:
    """Cost of a task that does next to nothing, by worker processes."""
    runs = json.loads((results / "rounds.json").read_text())["runs"]
    small = [run for run in runs if run["partitions"] == "small" and run["block_rows"] == 1]
    (n_tasks,) = {run["n_tasks"] for run in small if "n_tasks" in run}
    rounds = [s for run in small if run["engine"] == "processes" for s in run["rounds"]]
    return median(rounds) / n_tasks


def planned(n_rows: int, n_workers: int) -> MemoryPlan:
    """Ask the program how it would cut and keep the rows."""
    shape = RunShape(
        n_rows=n_rows,
        n_features=COLUMNS,
        n_components=COLUMNS,
        n_embedding=COLUMNS,
        n_batches=BATCHES,
        block_rows=BLOCK_ROWS,
        n_neighbors=5,
        max_rows=None,
        row_bytes=4 * COLUMNS,
        pca=True,
    )
    return plan_memory(shape, Workers(n_workers, 1, WORKER_BYTES, embedded=False))


def row(n_rows: int, n_workers: int, pair: float, task: float) -> list[str]:
    """Project one size."""
    plan = planned(n_rows, n_workers)
    arithmetic = n_rows * BLOCK_ROWS * pair / n_workers
    scheduler = plan.tasks_per_round * task
    nodes = min(plan.tiling.n_partitions, COLLECTED_NODES)
    return [
        f"{n_rows:,}",
        f"{n_workers}",
        f"{plan.tiling.n_partitions:,} of {plan.tiling.rows_per_partition:,} rows",
        f"{plan.tasks_per_round:,}",
        f"{arithmetic:.2f}",
        f"{scheduler:.2f}",
        "scheduler" if scheduler > arithmetic else "arithmetic",
        format_bytes(nodes * BLOCK_ROWS * N_BINS * 8),
        format_bytes(plan.worker_bytes),
        format_bytes(plan.driver_bytes),
    ]


def main(argv: list[str] | None = None) -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, help="a size of your own, beside the usual ones")
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args(argv)
    sizes: list[tuple[int, int]] = [*SIZES, *([(given.rows, given.workers)] if given.rows else [])]
    pair, task = pair_seconds(given.results), task_seconds(given.results)
    head = ["rows", "workers", "partitions", "tasks a round", "arithmetic, s", "scheduler, s",
            "longer", "to the driver", "each worker", "driver"]  # fmt: skip
    table = lines(head, [row(*size, pair, task) for size in sizes])
    constants = f"{1e9 * pair:.2f} ns a pair, {1e3 * task:.2f} ms a task.\n"
    title, about = described(__file__)
    text = f"# {title}\n\n{about}\n\nConstants: {constants}\n{table}\n"
    (given.results / "projection.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
