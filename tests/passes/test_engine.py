"""What the engine says of its workers, and what it leaves on them."""

import gc
import threading
import time

import dask.array as da
import numpy as np
import pytest
from distributed import Client, LocalCluster, Scheduler, SpecCluster, Worker

from balans_dask import Balans
from balans_dask.io.sources import LazySlice
from balans_dask.passes import dask_engine as engines
from balans_dask.passes.dask_engine import DaskEngine
from balans_dask.passes.task_bytes import leaves_ahead
from balans_dask.passes.workers import QUIET_DASHBOARD, embedded_client
from balans_dask.tiling import tree_sum
from tests.support.screens import gaussian_screen

GB = 10**9


@pytest.mark.parametrize(("asked", "limit"), [(None, 2 * GB), (GB, GB), (3 * GB, 2 * GB)])
def test_a_worker_may_use_the_smaller_of_its_own_limit_and_the_one_asked_for(
    processes, asked, limit
):
    found = DaskEngine(processes).workers(asked)
    assert (found.n_workers, found.threads_per_worker) == (2, 1)
    assert found.limit_bytes == limit
    assert not found.embedded


def test_a_worker_without_a_limit_may_use_what_was_asked_for(engine):
    assert engine.workers(GB // 2).limit_bytes == GB // 2
    assert engine.workers().limit_bytes > GB // 2
    assert engine.workers().embedded


def test_unequal_workers_are_planned_for_by_the_smallest_memory_and_the_most_threads():
    workers = [{"nthreads": 3, "memory_limit": 4 * GB}, {"nthreads": 1, "memory_limit": 3 * GB}]
    quiet = {"protocol": "tcp://", "host": "127.0.0.1", "dashboard_address": QUIET_DASHBOARD}
    with (
        SpecCluster(
            {i: {"cls": Worker, "options": options} for i, options in enumerate(workers)},
            {"cls": Scheduler, "options": quiet},
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        found = DaskEngine(client).workers()
        assert (found.n_workers, found.threads_per_worker) == (2, 3)
        assert found.limit_bytes == 3 * GB
        assert DaskEngine(client).workers(5 * GB).limit_bytes == 3 * GB


@pytest.fixture
def engine_of_processes(processes):
    engine = DaskEngine(processes)
    yield engine
    engine.release()


@pytest.fixture
def no_memory_manager(processes):
    """Every two seconds it drops copies that no task waits for."""
    processes.amm.stop()
    yield
    processes.amm.start()


@pytest.mark.usefixtures("no_memory_manager")
def test_few_tasks_with_a_shared_value_are_spread_over_the_workers(
    processes, engine_of_processes, monkeypatch
):
    # Copies are given up where a machine is too busy to make them in time.
    monkeypatch.setattr(engines, "COPY_SECONDS", 120)
    engine = engine_of_processes
    shared = engine.share("test-shared", np.arange(3))
    futures = engine.map("test-with", np.add, [1, 2], [shared] * 2)
    engine.wait(futures)
    workers = [processes.who_has(futures)[future.key] for future in futures]
    assert len(processes.who_has([shared])[shared.key]) == 2
    assert workers[0] != workers[1]


def test_a_value_that_cannot_be_copied_in_time_is_fetched_by_the_tasks(
    engine_of_processes, monkeypatch
):
    monkeypatch.setattr(engines, "COPY_SECONDS", 1e-6)
    engine = engine_of_processes
    shared = engine.share("test-shared", np.arange(3))
    found = engine.take(engine.map("test-with", np.add, [1, 2], [shared] * 2))
    np.testing.assert_array_equal(found, [[1, 2, 3], [2, 3, 4]])


def keys_held(client):
    return [key for keys in client.has_what().values() for key in keys if "test-" in str(key)]


def wait_until_nothing_is_held(client):
    end = time.monotonic() + 10
    while keys_held(client) and time.monotonic() < end:
        time.sleep(0.05)
    assert not keys_held(client)


@pytest.fixture
def no_garbage_collector():
    """Futures hold each other in cycles, which would be collected at some time or other."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_garbage_collector")
def test_a_reduction_leaves_nothing_on_the_workers_but_its_result(processes):
    engine = DaskEngine(processes)
    leaves = engine.leaves("test-leaf", np.ones, [1000] * 37)
    total = engine.reduce("test-sum", leaves, sum, arity=2)
    assert engine.take([total])[0].tolist() == [37.0] * 1000
    wait_until_nothing_is_held(processes)
    leaves = engine.leaves("test-leaf", np.ones, [3] * 40)
    assert engine.collect("test-sum", leaves, sum).tolist() == [40.0] * 3
    wait_until_nothing_is_held(processes)


MAY_COMBINE = threading.Event()
COMBINED: list[int] = []
"""Leaves in every sum."""


class CountingEngine(DaskEngine):
    """The real engine, in which nothing is combined before the driver waits for it."""

    def __init__(self, client):
        super().__init__(client)
        MAY_COMBINE.clear()
        COMBINED.clear()
        self.n_submitted = self.most_ahead = 0

    def map(self, name, function, *columns, **options):
        futures = super().map(name, function, *columns, **options)
        if name == "test-leaf":
            self.n_submitted += len(futures)
            self.most_ahead = max(self.most_ahead, self.n_submitted - sum(COMBINED))
        return futures

    def wait(self, futures):
        MAY_COMBINE.set()
        super().wait(futures)


def _counted_sum(parts):
    MAY_COMBINE.wait()
    COMBINED.append(parts.count(1))
    return sum(parts)


@pytest.mark.parametrize("arity", [2, 8])
@pytest.mark.parametrize("n_threads", [1, 2, 5])
def test_few_leaves_of_a_reduction_are_submitted_ahead_of_those_that_are_combined(arity, n_threads):
    with embedded_client(n_threads) as client:
        engine = CountingEngine(client)
        leaves = engine.leaves("test-leaf", int, [1] * 256)
        total = engine.reduce("test-sum", leaves, _counted_sum, arity)
        assert engine.take([total]) == [256]
    assert arity < engine.most_ahead <= leaves_ahead(arity, n_threads)


def joined(parts):
    return tree_sum(parts, lambda a, b: f"({a} {b})")


@pytest.mark.parametrize("n_leaves", [1, 2, 7, 16, 17, 45, 130])
@pytest.mark.parametrize("arity", [2, 8])
def test_a_reduction_follows_one_binary_tree_however_it_is_divided(engine, n_leaves, arity):
    numbers = [str(number) for number in range(n_leaves)]
    found = engine.reduce("test-join", engine.leaves("test-leaf", str, numbers), joined, arity)
    assert engine.take([found]) == [joined(numbers)]
    leaves = engine.leaves("test-leaf", str, numbers)
    assert engine.collect("test-join", leaves, joined, arity) == joined(numbers)


LOADED: list[int] = []


def _load(block_info=None):
    LOADED.append(1)
    return np.ones((64, 3))


def _rows_of(rows):
    return rows.read().sum()


def test_a_chunk_of_many_lazy_leaves_is_computed_once(engine):
    LOADED.clear()
    array = da.map_blocks(_load, chunks=((64,), (3,)), dtype=float, meta=np.ones((0, 0)))
    slices = [LazySlice(array[[row]], (1, 3), array.dtype) for row in range(64)]
    leaves = engine.leaves("test-leaf", _rows_of, slices)
    assert engine.take([engine.reduce("test-sum", leaves, sum, arity=2)]) == [192.0]
    assert len(LOADED) == 1


def _failing(number):
    if number == 0:
        raise ValueError("the first leaf")
    return number


def test_a_leaf_that_fails_ends_the_reduction_before_all_are_submitted(engine):
    counting = CountingEngine(engine.client)
    leaves = counting.leaves("test-leaf", _failing, range(200))
    with pytest.raises(ValueError, match="the first leaf"):
        counting.reduce("test-sum", leaves, _counted_sum, arity=2)
    assert counting.n_submitted < 200
    counting.release()


@pytest.mark.usefixtures("no_garbage_collector")
def test_a_fit_leaves_nothing_on_the_workers_of_the_user():
    screen = gaussian_screen(3000)
    with (
        LocalCluster(
            n_workers=1, processes=False, dashboard_address=QUIET_DASHBOARD, memory_limit=0
        ) as cluster,
        Client(cluster) as client,
    ):
        Balans().fit_transform(screen.profiles, batch=screen.batch)
        end = time.monotonic() + 10
        while any(client.has_what().values()) and time.monotonic() < end:
            time.sleep(0.05)
        assert not any(client.has_what().values())
