"""What a projection is made of: measured costs, and how often the default sums over rows."""

import json
import math
from functools import cached_property
from pathlib import Path
from typing import Any

from balans_dask.parameters import SCALE, Parameters
from balans_dask.passes.task_bytes import batch_columns_at_once
from benchmarks.harness.findings import median
from benchmarks.speed.moving import EXAMINED, MOVED
from benchmarks.speed.passes import BARE, SWEEPS, nanoseconds

COLUMNS = 50
"""Features, and scores."""
STEPS = Parameters().alignment


class Constants:
    """What was measured, by the files of the results folder."""

    def __init__(self, results: Path) -> None:
        self._results = results

    def _read(self, name: str) -> Any:
        return json.loads((self._results / f"{name}.json").read_text())

    def sweeps(self, method: str) -> dict[str, float]:
        """Seconds a pair of the bare product and of every sweep, of one thread."""
        record = self._read("passes")
        runs = [run for run in record["runs"] if run["method"] == method]
        costs = nanoseconds(runs, record["options"]["rows"])
        return {name: 1e-9 * median(values) for name, values in costs.items()}

    def round_pair(self, method: str) -> float:
        """Seconds a pair of all sweeps of a round."""
        costs = self.sweeps(method)
        return sum(costs[name] for name in SWEEPS)

    @cached_property
    def task(self) -> float:
        """Seconds of a task that does next to nothing, by worker processes."""
        runs = self._read("rounds")["runs"]
        small = [run for run in runs if run["partitions"] == "small" and run["block_rows"] == 1]
        (n_tasks,) = {run["n_tasks"] for run in small if "n_tasks" in run}
        rounds = [s for run in small if run["engine"] == "processes" for s in run["rounds"]]
        return median(rounds) / int(n_tasks)

    @cached_property
    def move_pair(self) -> float:
        """Seconds of moving a row, for every landmark of its local steps, of one thread."""
        runs = [run for run in self._read("moving")["runs"] if run["what"] == MOVED]
        return median([run["processor_seconds"] / run["n_pairs"] for run in runs])

    @cached_property
    def examine_row(self) -> float:
        """Seconds of examining a row that is read, of one thread."""
        record = self._read("moving")
        runs = [run for run in record["runs"] if run["what"] == EXAMINED]
        return median([run["processor_seconds"] / record["options"]["rows"] for run in runs])

    def bytes_a_second(self, way: str) -> float:
        """Bytes of float32 that a task reads, or writes and hashes, in a second."""
        record = self._read("zarr_io")
        n_bytes = 4 * record["options"]["rows"] * record["options"]["columns"]
        runs = record["runs"]
        chosen = [run for run in runs if (run["way"], run["method"]) == (way, "package")]
        return median([n_bytes / run["seconds"] for run in chosen])

    @cached_property
    def sum_row(self) -> float:
        """Seconds of a row of a fit in one pass of sums, of one thread.

        Of the runs with most batches that were fitted on some of their rows, by threads.
        """
        record = self._read("whole_run")
        runs = [run for run in record["runs"] if run.get("method") == "balans, threads"]
        runs = [run for run in runs if run["n_fit_rows"] < run["n_rows"]]
        most = max(run["n_batches"] for run in runs)
        found = []
        for run in runs:
            if run["n_batches"] == most:
                n_passes = sum(passes_of_sums(run["n_landmarks"], most).values())
                busy = run["phases"]["summing rows"] * record["options"]["workers"]
                found.append(float(busy / (run["n_fit_rows"] * n_passes)))
        return median(found)

    @cached_property
    def flops(self) -> float:
        """Operations in float64 a second, half of those that the bare product makes in float32."""
        n_components = int(self._read("passes")["options"]["components"])
        return 0.5 * 2.0 * n_components / self.sweeps("align")[BARE]


def cuts_of_columns(n_landmarks: int, n_batches: int) -> int:
    """Count the passes in which all columns, features and scores, are summed by batch."""
    return math.ceil(2 * COLUMNS / batch_columns_at_once(n_landmarks, n_batches))


def passes_of_sums(n_landmarks: int, n_batches: int) -> dict[str, int]:
    """Count what the four steps sum: the rows' matches and pairs, then columns; ``SCALE`` twice."""
    n_steps, n_scales = len(STEPS), STEPS.count(SCALE)
    return {
        "matches, pairs, rows met": 2 * n_steps + n_scales,
        "columns": n_steps * cuts_of_columns(n_landmarks, n_batches),
        "with squares": n_scales * cuts_of_columns(n_landmarks, 2 * n_batches),
    }
