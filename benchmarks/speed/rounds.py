"""What Dask costs in a round of the sampler: a task, and as a share of the round.

    python -m benchmarks.speed.rounds [--partitions 2000] [--rows 1000000]

Two measurements, by threads and by processes. *Small partitions*: many of a single tile each and
two columns, so that nearly all is scheduling. *Chosen partitions*: a screen of 50 columns, cut as
the program cuts it. Beside each, the same rounds in one thread without Dask, whose processor time
inside tasks is what the workers would need if scheduling cost nothing.
"""

import argparse
import time
import warnings
from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from matplotlib.figure import Figure

from balans_dask.cluster.open import open_client
from balans_dask.cluster.request import ClusterRequest
from balans_dask.errors import InputWarning
from balans_dask.io.layout import create_matrix, create_root, row_layout
from balans_dask.io.output import write_shards
from balans_dask.io.sources import StoredRows
from balans_dask.io.store import open_store
from balans_dask.kernels._blas import single_threaded_blas
from balans_dask.labels import BatchLabels
from balans_dask.model.fit import fit, fit_preprocessor
from balans_dask.model.inputs import Inputs, check_input
from balans_dask.model.pass_data import Preprocessor, prepare
from balans_dask.model.plan import plan_run
from balans_dask.parameters import Parameters
from balans_dask.passes.dask_engine import DaskEngine
from balans_dask.passes.engine import Engine
from balans_dask.passes.memory import MemoryPlan
from balans_dask.passes.stage import Stage
from balans_dask.passes.threads import ThreadsEngine
from balans_dask.passes.workers import Workers
from balans_dask.tiling import TILE_ROWS, Tiling
from balans_dask.workflows.mixture import Mixture
from balans_dask.workflows.request import correction_request
from benchmarks.harness.findings import Findings, benchmark_arguments, described, median, spread
from benchmarks.harness.mixtures import BATCH, SPREADS, mixture_store, working_folder
from benchmarks.harness.pictures import panels
from benchmarks.harness.tables import lines

CLUSTERS = {"threads": "threads", "processes": "local"}
N_BATCHES = 5
N_SMALL_COLUMNS = 2
SMOOTH = "smooth"
"""The operator of the tables, which draws among all rows as the paper does."""
FOREVER = 2**40
"""A patience that never ends."""
SMALL, CHOSEN = "small", "chosen"
CHOSEN_ROUNDS = 4
"""Times as many: they are short."""
Planned = Callable[[Workers], MemoryPlan]
INLINE = "one thread, no Dask"


class TimedEngine(ThreadsEngine):
    """Runs tasks in one thread, with a clock.

    Attributes
    ----------
    seconds : float
        Processor time inside tasks, so that other work on the machine counts less.
    """

    def __init__(self) -> None:
        super().__init__(1)
        self.seconds = 0.0
        self.n_tasks = 0

    def _do(self, name: str, work: Any) -> None:
        start = time.thread_time()
        super()._do(name, work)
        self.seconds += time.thread_time() - start
        self.n_tasks += 1


def small_inputs(folder: Path, n_partitions: int) -> Inputs:
    """Noise of two columns, on disk: workers read it themselves."""
    n_rows = n_partitions * TILE_ROWS
    path = folder / f"noise_{n_partitions}.zarr"
    if not path.exists():
        layout = row_layout(n_rows, 4 * N_SMALL_COLUMNS)
        shape = (n_rows, N_SMALL_COLUMNS)
        array = create_matrix(create_root(str(path)), "X", shape, np.dtype(np.float32), layout)
        values = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
        write_shards(array, 0, values)
    codes = np.random.default_rng(1).integers(N_BATCHES, size=n_rows).astype(np.uint8)
    names = tuple(f"batch{i}" for i in range(N_BATCHES))
    labels = BatchLabels(codes, names, np.bincount(codes))
    source = StoredRows(zarr.open_group(str(path), mode="r")["X"])
    return Inputs(source, labels, [f"feature{i}" for i in range(N_SMALL_COLUMNS)])


def small_plan(inputs: Inputs, parameters: Parameters, workers: Workers) -> MemoryPlan:
    """Plan a partition a tile; products of two columns need not be kept."""
    plan = plan_run(inputs, parameters, workers)
    return replace(plan, tiling=Tiling(inputs.n_rows, 1), keep_scores=True, keep_products=False)


def readings(
    engine: Engine, inputs: Inputs, parameters: Parameters, plan: MemoryPlan, read: Any
) -> list[Any]:
    """Fit, and read a clock at the end of every round."""
    found = []

    def tell(stage: Stage) -> None:
        if stage.round is not None:
            found.append(read())

    with single_threaded_blas(), warnings.catch_warnings():
        # So few rounds leave rows uncovered.
        warnings.simplefilter("ignore", InputWarning)
        examined = check_input(engine, inputs, parameters, plan.tiling)
        projection = fit_preprocessor(engine, inputs, parameters, plan, examined)
        preprocessor = Preprocessor(projection, examined.features.constant)
        prepared = prepare(engine, inputs, parameters, plan, preprocessor)
        with engine.telling(tell):
            fit(engine, prepared)
    return found


def with_dask(
    cluster: str, n_workers: int, inputs: Inputs, parameters: Parameters, planned: Planned
) -> dict[str, Any]:
    """Seconds of every round but the first."""
    with open_client(ClusterRequest(CLUSTERS[cluster], n_workers)) as client:
        engine = DaskEngine(client)
        plan = planned(engine.workers())
        ends = readings(engine, inputs, parameters, plan, time.perf_counter)
    return {
        "rounds": [round(after - before, 5) for before, after in pairwise(ends)],
        "n_partitions": plan.tiling.n_partitions,
        "partition_rows": plan.tiling.rows_per_partition,
    }


def without_dask(
    n_workers: int, inputs: Inputs, parameters: Parameters, planned: Planned
) -> dict[str, Any]:
    """Processor seconds inside the tasks of every round but the first, and their number."""
    engine = TimedEngine()
    # As the program plans for processes: the same partitions.
    plan = planned(Workers(n_workers, 1, 16 * 2**30, embedded=False))
    ends = readings(engine, inputs, parameters, plan, lambda: (engine.seconds, engine.n_tasks))
    return {
        "rounds": [round(after[0] - before[0], 5) for before, after in pairwise(ends)],
        "n_tasks": ends[-1][1] - ends[-2][1],
    }


def measure(
    findings: Findings,
    case: dict[str, Any],
    given: argparse.Namespace,
    inputs: Inputs,
    parameters: Parameters,
    planned: Planned,
) -> None:
    """Let all engines take turns."""
    for repeat in range(given.repeats):
        named = case | {"repeat": repeat}
        for cluster in CLUSTERS:
            run = partial(with_dask, cluster, given.workers, inputs, parameters, planned)
            findings.measure(named | {"engine": cluster}, run)
        alone = partial(without_dask, given.workers, inputs, parameters, planned)
        findings.measure(named | {"engine": INLINE}, alone)


def asked(
    case: dict[str, Any], given: argparse.Namespace, folder: Path
) -> tuple[Inputs, Parameters, Planned]:
    """Make the inputs of a case, and what plans it."""
    block_rows = case["block_rows"]
    if case["partitions"] == SMALL:
        parameters = Parameters(
            operator=SMOOTH,
            n_components=None,
            block_rows=block_rows,
            max_rows=given.rounds * block_rows,
            patience=FOREVER,
        )
        inputs = small_inputs(folder, given.partitions)
        return inputs, parameters, partial(small_plan, inputs, parameters)
    n_rounds = CHOSEN_ROUNDS * given.rounds
    parameters = Parameters(
        operator=SMOOTH,
        block_rows=block_rows,
        max_rows=n_rounds * block_rows,
        patience=FOREVER,
    )
    mixture = Mixture(given.rows, cluster_spread=SPREADS["overlapping"])
    store = open_store(str(mixture_store(folder, mixture)))
    inputs = correction_request(store, [BATCH], parameters).inputs
    return inputs, parameters, partial(plan_run, inputs, parameters)


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = benchmark_arguments(__doc__, repeats=2)
    parser.add_argument("--partitions", type=int, default=2000, help="small ones")
    parser.add_argument("--blocks", type=int, nargs="+", default=[1, 64], help="rows, small ones")
    parser.add_argument("--rows", type=int, default=1_000_000, help="for the chosen partitions")
    parser.add_argument("--rounds", type=int, default=4, help="of small partitions")
    parser.add_argument("--workers", type=int, default=2)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Measure, write JSON, table and plot."""
    given = arguments(argv)
    findings = Findings("rounds", given, ["partitions", "rows", "rounds", "workers"])
    cases = [{"partitions": SMALL, "block_rows": block_rows} for block_rows in given.blocks]
    block_rows = Parameters(operator=SMOOTH).block_rows
    cases.append({"partitions": CHOSEN, "block_rows": block_rows})
    with working_folder(given.folder) as folder:
        for case in cases:
            measure(findings, case, given, *asked(case, given, folder))
    tables = [table(findings, cases, CLUSTERS, given.workers)]
    figure = picture(findings, cases, CLUSTERS, given.workers)
    findings.publish(*described(__file__), tables, figure)


def table(
    findings: Findings, cases: list[dict[str, Any]], clusters: Collection[str], n_workers: int
) -> str:
    """Write all cases."""
    head = ["case", "rows a block", "partitions", "tasks a round", "round, ms", "ms a task",
            "tasks' own work, ms", "not their work, ms a task", "share of the round"]  # fmt: skip
    return lines(head, [_row(findings, case, n_workers, cluster)
                        for case in cases for cluster in clusters])  # fmt: skip


def _row(findings: Findings, case: dict[str, Any], n_workers: int, cluster: str) -> list[str]:
    milliseconds = [1000 * s for s in _rounds(findings, case, cluster)]
    own = [1000 * s / n_workers for s in _rounds(findings, case, INLINE)]
    n_tasks = findings.of(**case, engine=INLINE)[0]["n_tasks"]
    run = findings.of(**case, engine=cluster)[0]
    rest = median(milliseconds) - median(own)
    return [
        f"{case['partitions']}, {cluster}",
        f"{case['block_rows']}",
        f"{run['n_partitions']:,} of {run['partition_rows']:,} rows",
        f"{n_tasks:,}",
        spread(milliseconds, 0),
        f"{median(milliseconds) / n_tasks:.2f}",
        spread(own, 0),
        f"{rest / n_tasks:.2f}",
        f"{rest / median(milliseconds):.0%}",
    ]


def _rounds(findings: Findings, case: dict[str, Any], engine: str) -> list[float]:
    return [seconds for run in findings.of(**case, engine=engine) for seconds in run["rounds"]]


def picture(
    findings: Findings, cases: list[dict[str, Any]], clusters: Collection[str], n_workers: int
) -> Figure:
    """Draw every round as a bar: the tasks' own work, and the rest."""
    figure, axes = panels(len(cases))
    for axis, case in zip(axes, cases, strict=True):
        whole = [median(_rounds(findings, case, cluster)) for cluster in clusters]
        own = median(_rounds(findings, case, INLINE)) / n_workers
        axis.bar(list(clusters), [own] * len(whole), label="tasks' own work")
        rest = [max(0.0, seconds - own) for seconds in whole]
        axis.bar(list(clusters), rest, bottom=[own] * len(whole), label="the rest")
        title = f"{case['partitions']} partitions, blocks of {case['block_rows']}"
        axis.set(title=title, ylabel="seconds a round")
        axis.legend(frameon=False, fontsize=8)
    return figure


if __name__ == "__main__":
    main()
