"""What a round sends over a network of several hosts, and what a cable of 1 Gbit costs.

    python -m benchmarks.speed.traffic [--rows 300000] [--rate 1gbit]       # as root, on Linux

Scheduler, workers and driver run on hosts of their own: network namespaces (`network.py`). Runs on
limited and unlimited cables take turns, on one cluster.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from balans_dask.io.store import open_store
from balans_dask.model.plan import plan_run
from balans_dask.parameters import Parameters
from balans_dask.passes.workers import Workers
from balans_dask.workflows.mixture import Mixture
from balans_dask.workflows.request import correction_request
from benchmarks.harness.findings import Findings, benchmark_arguments, described, median, spread
from benchmarks.harness.mixtures import BATCH, SPREADS, mixture_store, working_folder
from benchmarks.harness.network import ENVIRONMENT, Host, NetworkCluster, hosts, network_cluster
from benchmarks.harness.pictures import panels
from benchmarks.harness.tables import lines
from benchmarks.speed.round_traffic import RoundShape, watched

N_BATCHES, N_FEATURES, N_WORKERS = 5, 50, 2
PARAMETERS = Parameters(operator="smooth")
WORKER_BYTES = 2 * 10**9
UNLIMITED = "unlimited"
BETWEEN = "between workers"
GBIT_BYTES = 125_000_000
"""Of a second."""
SWITCH_ROUNDS = 3
"""Cables change so often; the round in which they do does not count."""


def run_on(
    network: Sequence[Host], cluster: NetworkCluster, store: Path, rates: Sequence[str], rounds: int
) -> dict[str, Any]:
    """Correct a store on cables that change their rate."""

    def change(n_rounds: int) -> None:
        if n_rounds % SWITCH_ROUNDS == 0:
            rate = rates[n_rounds // SWITCH_ROUNDS % 2]
            for host in network:
                host.limit(None if rate == UNLIMITED else rate)

    change(0)
    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch) / "out.zarr"
        given = ["--max-rows", rounds * PARAMETERS.block_rows, "--patience", 10**6, "--quiet"]
        given += ["--operator", PARAMETERS.operator]
        where = ["--cluster", cluster.address, "--workers", N_WORKERS]
        argv = ["correct", store, target, "--batch-key", BATCH, *given, *where]
        process = network[-1].start(
            [sys.executable, "-m", "balans_dask", *map(str, argv)],
            env=ENVIRONMENT, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        return asdict(watched(process, target, network, change))


def planned(store: Path) -> RoundShape:
    """Ask the program how it cuts the rows."""
    inputs = correction_request(open_store(str(store)), [BATCH], PARAMETERS).inputs
    plan = plan_run(inputs, PARAMETERS, Workers(N_WORKERS, 1, WORKER_BYTES, embedded=False))
    n_partitions = plan.tiling.n_partitions
    return RoundShape(n_partitions, PARAMETERS.block_rows, N_FEATURES, N_BATCHES)


def bytes_table(findings: Findings, shape: RoundShape) -> str:
    """Write what a round sends, beside the plan."""
    ways: dict[str, list[float]] = {"workers to driver": [], "driver to workers": [], BETWEEN: []}
    for run in findings.of():
        scheduler, *workers, driver = zip(run["sent"], run["received"], strict=True)
        from_scheduler = scheduler[0] - driver[1]
        ways["workers to driver"].append(driver[1])
        ways["driver to workers"].append(from_scheduler)
        ways[BETWEEN].append(max(0.0, sum(worker[1] for worker in workers) - from_scheduler))
    plan = [f"{shape.to_driver / 1000:,.0f}", f"{shape.to_workers / 1000:,.0f}", "-"]
    rows = [
        [way, spread([n / 1000 for n in found], 0), expected]
        for (way, found), expected in zip(ways.items(), plan, strict=True)
    ]
    return lines(["bytes", "kB a round", "planned"], rows)


def times_table(findings: Findings, rates: Sequence[str], shape: RoundShape) -> str:
    """Write the time of rounds by the rate of the cables."""
    rows = []
    for rate in rates:
        times = [s for run in findings.of() for s in seconds_at(run, rates, rate)]
        rows.append([rate, f"{len(times)}", spread([1000 * s for s in times], 0)])
    free, limited = rates
    ratios = [
        median(seconds_at(run, rates, limited)) / median(seconds_at(run, rates, free))
        for run in findings.of()
    ]
    wire = f"{1000 * 2 * shape.to_driver / GBIT_BYTES:.0f}"
    head = [f"time at {limited} over unlimited", "on the wire of 1 Gbit, ms"]
    return lines(["cables", "rounds", "round, ms"], rows) + "\n" + lines(
        head, [[spread(ratios, 2), wire]])  # fmt: skip


def seconds_at(run: dict[str, Any], rates: Sequence[str], rate: str) -> list[float]:
    """Return the rounds of a run on cables of a rate, without those in which it changed."""
    # The first figure is of the second round.
    numbered = enumerate(run["seconds"], start=1)
    return [
        seconds
        for before, seconds in numbered
        if before % SWITCH_ROUNDS and rates[before // SWITCH_ROUNDS % 2] == rate
    ]


def picture(findings: Findings, rates: Sequence[str]) -> Figure:
    """Draw the time of every round."""
    figure, (axis,) = panels(1)
    times = [
        [1000 * s for run in findings.of() for s in seconds_at(run, rates, rate)] for rate in rates
    ]
    axis.boxplot(times, tick_labels=list(rates))
    axis.set(title="rounds, workers on two hosts", ylabel="milliseconds a round")
    axis.set_ylim(bottom=0)
    return figure


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = benchmark_arguments(__doc__, repeats=4)
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--rounds", type=int, default=48)
    parser.add_argument("--rate", default="1gbit", help="of the limited cables, as tc takes it")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Measure, write JSON, table and plot."""
    given = arguments(argv)
    findings = Findings("traffic", given, ["rows", "rounds", "rate"])
    rates = [UNLIMITED, given.rate]
    with working_folder(given.folder) as folder, tempfile.TemporaryDirectory() as scratch:
        mixture = Mixture(given.rows, N_FEATURES, cluster_spread=SPREADS["overlapping"])
        store = mixture_store(folder, mixture)
        shape = planned(store)
        with (
            hosts(N_WORKERS + 2) as network,
            network_cluster(network[0], network[1:-1], Path(scratch)) as cluster,
        ):
            for repeat in range(given.repeats):
                run = partial(run_on, network, cluster, store, rates, given.rounds)
                findings.measure({"repeat": repeat}, run)
    tables = [bytes_table(findings, shape), times_table(findings, rates, shape)]
    size = (
        f"{given.rows:,} rows x {N_FEATURES}, {N_BATCHES} batches, {shape.n_partitions} partitions"
    )
    title, about = described(__file__)
    about = f"{size}, two workers of one thread.\n\n{about}"
    findings.publish(title, about, tables, picture(findings, rates))


if __name__ == "__main__":
    main()
