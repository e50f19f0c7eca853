"""Inside a task, BLAS and OpenMP have one thread; afterwards they have what they had before."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from tests.support import pools


@pytest.fixture
def fresh(monkeypatch):
    """Runs functions one after another in a new process whose pools begin with two threads."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "2")

    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        yield lambda function: process.submit(function).result()


def test_a_task_has_one_thread_in_every_pool_and_gives_the_others_back(fresh):
    for function in (pools.alone, pools.failing, pools.overlapping_in_a_run):
        found = fresh(function)
        before = found.pop("before")
        assert len(before) >= 2
        assert set(before) == {2}
        assert found.pop("after") == before
        assert all(set(inside) == {1} for inside in found.values()), found


def test_the_first_of_two_tasks_to_end_leaves_the_other_its_single_thread(fresh):
    found = fresh(pools.overlapping)
    assert set(found["first"]) == set(found["second"]) == {1}


def test_tasks_on_two_threads_give_the_others_back(fresh):
    found = fresh(pools.overlapping)
    assert found["after"] == found["before"]


def test_a_task_has_one_thread_whichever_thread_of_a_worker_runs_it(fresh):
    found = fresh(pools.one_thread_after_another)
    assert set(found["first"]) == set(found["second"]) == {1}
