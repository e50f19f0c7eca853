"""What many millions of wells would take on many workers, from measured constants.

    python -m benchmarks.speed.projection [--rows 100000000] [--workers 64] [--results FOLDER]

A round of the paper, which draws among all rows, and a whole run of the default, which learns from
some. Reads `passes.json`, `rounds.json`, `zarr_io.json`, `moving.json` and `whole_run.json` of the
results folder, and asks the program's own plan for rows of the fit, partitions and memory. Nothing
is run: what is named here is arithmetic.
"""

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from balans_dask.errors import InsufficientMemoryError, format_bytes
from balans_dask.io.layout import create_matrix, create_root, row_layout
from balans_dask.io.sources import StoredRows
from balans_dask.kernels.elbow import N_BINS
from balans_dask.labels import BatchLabels
from balans_dask.model.inputs import Inputs
from balans_dask.model.plan import plan_run
from balans_dask.parameters import LOCAL, SCALE, Parameters
from balans_dask.passes.memory import MemoryPlan, plan_memory
from balans_dask.passes.task_bytes import COLLECTED_NODES, RunShape
from balans_dask.passes.workers import Workers
from balans_dask.tiling import TILE_ROWS
from benchmarks.harness.findings import RESULTS, described
from benchmarks.harness.tables import lines
from benchmarks.speed.constants import COLUMNS, STEPS, Constants, passes_of_sums
from benchmarks.speed.passes import METHODS

BATCHES = 1000
BLOCK_ROWS = METHODS["paper"].block_rows
GIB = 2**30
WORKER_BYTES = tuple(2**q * GIB for q in range(3, 9))
"""Memory of a worker: the least of these with which there is a plan."""
SIZES = ((1_000_000, 2), (20_000_000, 16), (100_000_000, 64))
RUN_BATCHES = (100, 10_000)
N_ROUNDS = 2
PARAMETERS = Parameters(max_rows=N_ROUNDS * METHODS["align"].block_rows)
"""Two rounds a step, as the default mostly takes; tables are planned for their landmarks."""
GBIT_BYTES = 125e6
TABLE_TASKS = 5
"""What is asked of the sums of a cut of columns: where batches meet, offsets, moves."""


def planned_round(n_rows: int, n_workers: int) -> MemoryPlan:
    """Ask the program how the paper's method would cut and keep the rows."""
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
        operator="smooth",
    )
    return plan_memory(shape, Workers(n_workers, 1, WORKER_BYTES[0], embedded=False))


def round_row(n_rows: int, n_workers: int, constants: Constants) -> list[str]:
    """Project a round of one size."""
    plan = planned_round(n_rows, n_workers)
    arithmetic = n_rows * BLOCK_ROWS * constants.round_pair("paper") / n_workers
    scheduler = plan.tasks_per_round * constants.task
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


@dataclass(frozen=True)
class PlannedRun:
    """A whole run of the default, as the program plans it.

    Attributes
    ----------
    n_rows, n_batches, n_fit_rows : int
    n_workers : int
        Of one thread.
    plan, unlimited : MemoryPlan
        With ``PARAMETERS``, and without a limit on landmarks.
    """

    n_rows: int
    n_batches: int
    n_fit_rows: int
    n_workers: int
    plan: MemoryPlan
    unlimited: MemoryPlan

    @classmethod
    def ask(cls, n_rows: int, n_batches: int, n_workers: int) -> "PlannedRun":
        """Ask the program, with workers that are as large as they must be."""
        layout, names = row_layout(n_rows, 4 * COLUMNS), tuple(map(str, range(n_batches)))
        sizes = np.full(n_batches, n_rows // n_batches)
        sizes[: n_rows % n_batches] += 1
        codes = np.broadcast_to(np.uint16(0), n_rows)
        with tempfile.TemporaryDirectory() as place:
            root = create_root(str(Path(place) / "store"))
            shape = (n_rows, COLUMNS)
            features = StoredRows(create_matrix(root, "X", shape, np.dtype(np.float32), layout))
            labels, features_of = BatchLabels(codes, names, sizes), list(map(str, range(COLUMNS)))
            shard_tiles = max(1, layout[1] // TILE_ROWS)
            inputs = Inputs(features, labels, features_of, shard_tiles=shard_tiles)
            fitted = inputs.fit_sizes(PARAMETERS)
            plan = cls._plan(inputs, n_workers, PARAMETERS)
            unlimited = cls._plan(inputs, n_workers, Parameters())
        n_fit_rows = n_rows if fitted is None else int(fitted.sum())
        return cls(n_rows, n_batches, n_fit_rows, n_workers, plan, unlimited)

    @staticmethod
    def _plan(inputs: Inputs, n_workers: int, parameters: Parameters) -> MemoryPlan:
        *smaller, largest = WORKER_BYTES
        for limit in smaller:
            try:
                return plan_run(inputs, parameters, Workers(n_workers, 1, limit, embedded=False))
            except InsufficientMemoryError:
                continue
        return plan_run(inputs, parameters, Workers(n_workers, 1, largest, embedded=False))

    @property
    def fit(self) -> MemoryPlan:
        """The plan of the fit."""
        return self.plan.of_fit or self.plan

    @property
    def n_landmarks(self) -> int:
        """Of a step."""
        return PARAMETERS.max_rows or 0

    @property
    def fit_threads(self) -> int:
        """Tasks of the fit that run at once."""
        return min(self.n_workers, self.fit.tiling.n_partitions)

    @property
    def n_turns(self) -> int:
        """Times that all rows are read, moved and written."""
        return 1 if self.plan.at_once else len(STEPS)

    @property
    def n_passes(self) -> int:
        """Passes of sums over the rows of the fit."""
        return sum(passes_of_sums(self.n_landmarks, self.n_batches).values())

    @property
    def fit_tasks(self) -> int:
        """Tasks of the fit: rounds, sums with what merges them, moves, and before the first step.

        Before its rounds a step lays out scores, coverage, a first draw and the elbows' sample.
        """
        n, n_steps = self.fit.tiling.n_partitions, len(STEPS)
        rounds = n_steps * (4 * n + N_ROUNDS * self.fit.tasks_per_round)
        return rounds + (2 * n + TABLE_TASKS) * self.n_passes + n * (n_steps - 1) + 4 * n

    @property
    def tasks(self) -> int:
        """Tasks of all rows: to examine them, to copy those of the fit, and to move all."""
        return self.plan.tiling.n_partitions * (2 + 2 * self.n_turns)

    @property
    def sent_bytes(self) -> int:
        """Tables of sums that are sent to be merged, if every partition has rows of all batches."""
        counts = passes_of_sums(self.n_landmarks, self.n_batches)
        # Beside all columns, and their squares, every pass sums the weights.
        n_columns = 2 * COLUMNS * (len(STEPS) + 2 * STEPS.count(SCALE))
        n_columns += counts["columns"] + counts["with squares"]
        return 8 * self.n_landmarks * self.n_batches * n_columns * self.fit.tiling.n_partitions

    def seconds(self, constants: Constants) -> dict[str, float]:
        """Seconds of every part, each by itself."""
        n_steps, read = len(STEPS), constants.bytes_a_second("read")
        pairs = self.n_landmarks * n_steps
        laplacian = 2.0 * self.n_batches**2 * (self.n_landmarks + 2 * COLUMNS)
        factor = self.n_batches**3 / 3.0
        row_bytes = 4 * COLUMNS * self.n_rows
        written = 2 * row_bytes * self.n_turns / constants.bytes_a_second("write")
        of_fit, each = self.n_fit_rows / self.fit_threads, self.n_rows / self.n_workers
        move = constants.move_pair * STEPS.count(LOCAL) * self.n_landmarks
        return {
            "examining: reading": row_bytes / read / self.n_workers,
            "examining: arithmetic": each * constants.examine_row,
            "fit: sampling": of_fit * pairs * constants.round_pair("align"),
            "fit: summing": of_fit * self.n_passes * constants.sum_row,
            "fit: sums over cables of 1 Gbit": self.sent_bytes / GBIT_BYTES / self.fit_threads,
            "fit: moving its rows": of_fit * move,
            "fit: Laplacians and their factors": n_steps * (laplacian + factor) / constants.flops,
            "all rows: reading": self.n_turns * row_bytes / read / self.n_workers,
            "all rows: moving": each * move,
            "all rows: writing": written / self.n_workers,
            "scheduler": (self.fit_tasks + self.tasks) * constants.task,
        }

    def described(self) -> dict[str, str]:
        """Say what the plan is."""
        fit, all_rows = self.fit.tiling, self.plan.tiling
        most = (self.unlimited.worker_bytes, self.unlimited.driver_bytes)
        return {
            "rows of the fit": f"{self.n_fit_rows:,}",
            "partitions of the fit": f"{fit.n_partitions:,} of {fit.rows_per_partition:,} rows",
            "partitions of all rows": f"{all_rows.n_partitions:,} of "
            f"{all_rows.rows_per_partition:,} rows",
            "passes of sums over the fit": f"{self.n_passes:,}",
            "sums that are sent": format_bytes(self.sent_bytes),
            "passes of all rows": f"{self.n_turns}",
            "tasks of the fit, of all rows": f"{self.fit_tasks:,}, {self.tasks:,}",
            "the Laplacian": format_bytes(8 * self.n_batches**2),
            "memory of a worker": f"{format_bytes(self.plan.workers.limit_bytes)}",
            "planned for a worker, for the driver": f"{format_bytes(self.plan.worker_bytes)}, "
            f"{format_bytes(self.plan.driver_bytes)}",
            "the same without `--max-rows`": ", ".join(map(format_bytes, most)),
        }


def run_table(n_rows: int, n_workers: int, constants: Constants) -> str:
    """Write the whole runs, one a column."""
    runs = [PlannedRun.ask(n_rows, n_batches, n_workers) for n_batches in RUN_BATCHES]
    texts, spent = [run.described() for run in runs], [run.seconds(constants) for run in runs]
    rows = [[name, *(text[name] for text in texts)] for name in texts[0]]
    rows += [[f"{name}, s", *(f"{of[name]:,.1f}" for of in spent)] for name in spent[0]]
    rows.append(["all, one after another, s", *(f"{sum(of.values()):,.0f}" for of in spent)])
    head = [f"{n_rows:,} rows, {n_workers} workers", *(f"{n:,} batches" for n in RUN_BATCHES)]
    return lines(head, rows)


def main(argv: list[str] | None = None) -> None:
    """Print and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, help="a size of your own, beside the usual ones")
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args(argv)
    sizes: list[tuple[int, int]] = [*SIZES, *([(given.rows, given.workers)] if given.rows else [])]
    constants = Constants(given.results)
    head = ["rows", "workers", "partitions", "tasks a round", "arithmetic, s", "scheduler, s",
            "longer", "to the driver", "each worker", "driver"]  # fmt: skip
    rounds = lines(head, [round_row(*size, constants) for size in sizes])
    measured = (
        f"Constants: {1e9 * constants.round_pair('paper'):.2f} ns a pair of a round of the paper, "
        f"{1e9 * constants.round_pair('align'):.2f} of `align`; {1e3 * constants.task:.2f} ms a "
        f"task; {1e9 * constants.move_pair:.2f} ns to move a row, a landmark of its local steps; "
        f"{1e6 * constants.sum_row:.2f} us a row and pass of sums; "
        f"{constants.bytes_a_second('read') / 1e6:,.0f} MB/s read and "
        f"{constants.bytes_a_second('write') / 1e6:,.0f} MB/s written by a worker; "
        f"{constants.flops / 1e9:.0f} billion operations a second."
    )
    title, about = described(__file__)
    parts = [f"# {title}", about, measured, "## A round of the paper", rounds]
    parts += ["## A whole run of the default", run_table(*sizes[-1], constants)]
    text = "\n\n".join(parts)
    (given.results / "projection.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
