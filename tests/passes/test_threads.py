"""Threads of this process run tasks in the order in which what they take is there."""

import gc
import threading
import time
import weakref

import dask.array as da
import numpy as np
import psutil
import pytest
import zarr
from distributed import Client
from distributed.system import memory_limit

from balans_dask.passes import threads, workers
from balans_dask.passes.engine import task
from balans_dask.passes.stage import SUMMING, Stage
from balans_dask.passes.threads import ThreadsEngine
from balans_dask.workflows.array_inputs import current_engine
from tests.support.commands import streams
from tests.support.screens import gaussian_screen
from tests.support.stores import write_anndata

add = task(lambda a, b: a + b)
doubled = task(lambda value: 2 * value)
summed = task(sum)


@pytest.fixture
def engine():
    with ThreadsEngine(3) as opened:
        yield opened


class Large:
    """A result that a test can watch."""


def test_arrays_are_corrected_by_threads_of_this_process():
    with current_engine(np.zeros((10, 1)), np.zeros((10, 2))) as engine:
        assert isinstance(engine, ThreadsEngine)
        assert engine.workers(5).embedded
        assert engine.workers(5).limit_bytes == 5


@pytest.mark.parametrize(
    "matrices",
    [(da.zeros((10, 2)),), (np.zeros((10, 2)), zarr.zeros((10, 2), store={}))],
    ids=["lazy", "one is lazy"],
)
def test_lazy_arrays_are_not(matrices):
    with current_engine(*matrices) as engine:
        assert not isinstance(engine, ThreadsEngine)


def test_the_client_of_the_caller_is_taken(processes):
    with (
        Client(processes.scheduler.address) as client,
        current_engine(np.zeros((5, 1))) as found,
    ):
        assert found.client is client


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("--workers", 1), "1 thread of this process"),
        (("--workers", 2), "2 threads of this process"),
        (("--cluster", "local", "--workers", 1), "1 process of 1 thread"),
    ],
    ids=str,
)
def test_a_command_takes_the_workers_that_it_is_given(tmp_path, asked, said):
    screen = gaussian_screen(40)
    store = write_anndata(tmp_path / "in.zarr", screen.profiles, plate=screen.batch)
    assert said in streams("check", store, "--batch-key", "plate", *asked)[0]


def test_memory_is_what_is_free_or_the_limit_of_a_container_that_dask_finds(tmp_path, monkeypatch):
    machine = psutil.virtual_memory()
    monkeypatch.setattr(psutil, "virtual_memory", lambda: machine._replace(available=machine.total))
    assert workers.free_bytes() == memory_limit()
    limits = tmp_path / "high", tmp_path / "max", tmp_path / "low", tmp_path / "absent"
    for file, limit in zip(limits, ("max\n", f"{10**8}\n", "0\n"), strict=False):
        file.write_text(limit)
    monkeypatch.setattr(workers, "CONTAINER_LIMITS", limits)
    with ThreadsEngine(1) as engine:
        assert engine.workers().limit_bytes == 10**8


def test_a_task_takes_results_of_others_also_in_lists(engine):
    [one, two] = engine.map("one", doubled, [1, 2])
    [three] = engine.map("sum", task(lambda parts, rest: sum(parts) + rest[0][1]), [[one, two]],
                         [[("name", two)]])  # fmt: skip
    assert engine.gather([three, one]) == [10, 2]
    assert engine.take(engine.map("add", add, [three], [engine.share("value", 5)])) == [15]


@pytest.mark.parametrize("n", [1, 7, 200])
def test_reductions_are_those_of_any_engine(engine, n):
    leaves = engine.leaves("double", doubled, range(n))
    assert engine.collect("sum", leaves, summed) == n * (n - 1)
    assert engine.take([engine.reduce("sum", leaves, summed, arity=2)]) == [n * (n - 1)]


def test_tasks_wait_for_what_they_take_and_not_for_each_other(engine):
    """More tasks than threads wait for one that comes last."""
    gate = threading.Event()
    [late] = engine.map("late", task(lambda _: gate.wait(10)), [None])
    waiting = engine.map("wait", task(lambda value, number: (value, number)), [late] * 9, range(9))
    assert engine.gather(engine.map("others", doubled, range(9))) == [2 * i for i in range(9)]
    gate.set()
    assert engine.gather(waiting) == [(True, i) for i in range(9)]


def test_an_error_is_raised_where_a_result_is_asked_for_and_by_what_takes_it(engine):
    futures = engine.map("divide", task(lambda value: 1 / value), [0, 1])
    engine.wait(futures)
    assert engine.gather(futures[1:]) == [1.0]
    [after] = engine.map("after", doubled, futures[:1])
    for failed in (futures[0], after):
        with pytest.raises(ZeroDivisionError):
            engine.gather([failed])
    leaves = engine.leaves("divide", task(lambda value: 1 / value), [0] * 100)
    with pytest.raises(ZeroDivisionError):
        engine.collect("sum", leaves, summed)


def test_a_result_goes_with_the_last_hold_on_it(engine):
    [made] = engine.map("make", task(lambda _: Large()), [None])
    [other] = engine.held([made])
    watched = weakref.ref(engine.gather([made])[0])
    engine.release([made])
    gc.collect()
    assert watched() is not None
    engine.release([other])
    gc.collect()
    assert watched() is None
    with pytest.raises(Exception, match="let go before"):
        engine.map("after", doubled, [made])


def test_what_a_task_leaves_does_not_wait_for_what_it_took(engine):
    kept = engine.share("kept", 1)
    [made] = engine.map("make", task(lambda _, __: Large()), [kept], [Large()])
    watched = weakref.ref(engine.take([made])[0])
    gc.collect()
    assert watched() is None
    assert engine.gather([kept]) == [1]


def test_a_scope_lets_go_of_what_was_asked_for_inside(engine):
    [before] = engine.map("make", task(lambda _: Large()), [None])
    with engine.scope():
        [inside] = engine.map("make", task(lambda _: Large()), [None])
        watched = [weakref.ref(value) for value in engine.gather([before, inside])]
    gc.collect()
    assert watched[0]() is not None
    assert watched[1]() is None
    engine.release()
    gc.collect()
    assert watched[0]() is None


def test_at_the_end_tasks_that_have_not_begun_never_will():
    begun, gate = [], threading.Event()

    def slow(number):
        begun.append(number)
        gate.wait(10)

    with ThreadsEngine(1) as engine:
        engine.map("slow", task(slow), range(50))
        while not begun:
            time.sleep(0.001)
        threading.Timer(0.1, gate.set).start()
    assert begun == [0]


def test_it_says_how_far_it_is(engine, monkeypatch):
    monkeypatch.setattr(threads, "WATCH_SECONDS", 0.02)
    told, gate = [], threading.Event()
    with (
        engine.telling(lambda stage: told.append((stage.n_done, stage.n_total))),
        engine.following(Stage(SUMMING, n_total=2), ["sums"]),
    ):
        engine.wait(engine.map("sums", doubled, range(3)))
        futures = engine.map("sums", task(lambda _: gate.wait(10)), range(2))
        threading.Timer(0.2, gate.set).start()
        engine.wait(futures)
    assert told[0] == (0, 2)
    assert set(told[1:-1]) == {(3, 5)}
    assert told[-1] == (5, 5)
