"""What the engine says of its workers."""

import pytest
from distributed import Client, Scheduler, SpecCluster, Worker

from balans_dask.passes.engine import QUIET_DASHBOARD, Engine

GB = 10**9


@pytest.mark.parametrize(("asked", "limit"), [(None, 2 * GB), (GB, GB), (3 * GB, 2 * GB)])
def test_a_worker_may_use_the_smaller_of_its_own_limit_and_the_one_asked_for(
    processes, asked, limit
):
    found = Engine(processes).workers(asked)
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
        found = Engine(client).workers()
        assert (found.n_workers, found.threads_per_worker) == (2, 3)
        assert found.limit_bytes == 3 * GB
        assert Engine(client).workers(5 * GB).limit_bytes == 3 * GB
