"""A scheduler, workers and a driver on hosts of their own: slow cables, cut cables, same bytes."""

import json
from functools import partial
from pathlib import Path
from statistics import fmean

import pytest

from balans_dask.workflows.mixture import Mixture, write_mixture
from benchmarks.harness.network import ENVIRONMENT, hosts, network_cluster
from benchmarks.speed.round_traffic import RoundShape, watched
from tests.support.commands import Command, begun, run
from tests.support.stores import files_but_input

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(600)]
ROWS, FEATURES, BATCHES, BLOCK_ROWS = 70_000, 10, 5, 16
OPTIONS = ["--batch-key", "Metadata_batch", "--n-components", 0, "--checkpoint-seconds", 0,
           "--operator", "smooth", "--block-rows", BLOCK_ROWS, "--patience", 15]  # fmt: skip
N_PARTITIONS = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("hosts")
    write_mixture(Mixture(ROWS, FEATURES, n_clusters=30), str(place / "in.zarr"))
    run("correct", place / "in.zarr", place / "threads.zarr", *OPTIONS)
    return place


@pytest.fixture(scope="module")
def network():
    """Hosts of the scheduler, of two workers, of the driver, and one to spare."""
    with hosts(5) as found:
        yield found


@pytest.fixture
def cluster(network, tmp_path):
    """A scheduler and two workers, on cables that are whole."""
    with network_cluster(network[0], network[1:3], tmp_path) as found:
        yield found
        for host in network:
            host.mend()
            host.limit(None)


def command(network, cluster, folder: Path, target: Path, *options: object) -> Command:
    """A run whose driver has a host of its own."""
    where = ["--cluster", cluster.address, "--workers", 2, "--worker-timeout", 60]
    given = ["correct", folder / "in.zarr", target, *OPTIONS, *where, *options]
    return Command(*given, start=partial(network[3].start, env=ENVIRONMENT))


def assert_same_as_threads(folder, target):
    assert files_but_input(target) == files_but_input(folder / "threads.zarr")


@pytest.mark.parametrize("rate", ["1gbit", "100mbit"])
def test_a_slow_network_changes_no_byte_and_rounds_send_what_is_planned(
    folder, network, cluster, tmp_path, rate
):
    for host in network:
        host.limit(rate)
    started = command(network, cluster, folder, tmp_path / "out.zarr")
    traffic = watched(started.process, tmp_path / "out.zarr", network)
    assert_same_as_threads(folder, tmp_path / "out.zarr")
    shape = RoundShape(N_PARTITIONS, BLOCK_ROWS, FEATURES, BATCHES)
    to_driver, to_workers = shape.at_most(fmean(traffic.seconds))
    scheduler, _, _, driver, spare = range(len(network))
    assert shape.to_driver < traffic.received[driver] < to_driver
    assert traffic.sent[driver] < to_workers
    # The scheduler passes both on. Dask may move a partition from worker to worker besides.
    for way in (traffic.sent, traffic.received):
        assert way[scheduler] < to_driver + to_workers
    assert traffic.received[spare] < 1000


def stage_of(target: Path):
    """What a run is doing."""
    events = target.with_name(target.name + ".partial") / "events.jsonl"
    lines = events.read_text().split("\n")[:-1] if events.exists() else []
    return json.loads(lines[-1])["stage"] if lines else ""


@pytest.mark.parametrize("stage", ["sampling rows", "writing"])
def test_a_cut_cable_of_a_worker_costs_time_and_no_byte(folder, network, cluster, tmp_path, stage):
    target = tmp_path / "out.zarr"
    started = command(network, cluster, folder, target)
    assert started.wait_for(lambda: stage_of(target) == stage)
    network[1].cut()
    # The worker ends when it finds that it is alone, and a batch system starts another elsewhere.
    assert started.wait_for(lambda: cluster.workers[0].poll() is not None)
    cluster.worker(network[4])
    code, _, said = started.finish()
    assert code == 0, said
    assert_same_as_threads(folder, target)


def test_a_driver_that_loses_the_scheduler_says_so_and_its_run_is_resumed(
    folder, network, cluster, tmp_path
):
    target = tmp_path / "out.zarr"
    started = command(network, cluster, folder, target)
    assert started.wait_for(lambda: stage_of(target) == "sampling rows" and begun(target)())
    network[3].cut()
    code, _, said = started.finish()
    assert code == 1
    assert "the connection to the scheduler is lost" in said.splitlines()[-1]
    network[3].mend()
    code, _, said = command(network, cluster, folder, target, "--resume").finish()
    assert code == 0, said
    assert_same_as_threads(folder, target)
