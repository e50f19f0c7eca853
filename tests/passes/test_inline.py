"""Few rows are corrected in the thread that asks; more of them, and lazy ones, by Dask."""

import dask.array as da
import numpy as np
import psutil
import pytest
import zarr
from distributed import Client
from distributed.system import memory_limit

from balans_dask.passes import workers
from balans_dask.passes.engine import task
from balans_dask.passes.inline import INLINE_ROWS, INLINE_VALUES, InlineEngine
from balans_dask.passes.stage import SUMMING, Stage
from balans_dask.workflows.array_inputs import current_engine
from tests.support.commands import streams
from tests.support.screens import gaussian_screen
from tests.support.stores import write_anndata

FEW = np.zeros((INLINE_ROWS, INLINE_VALUES // INLINE_ROWS), dtype=np.int8)


def is_inline(*matrices):
    with current_engine(*matrices) as engine:
        return isinstance(engine, InlineEngine)


def test_arrays_of_few_rows_and_values_are_inline():
    assert is_inline(FEW)
    assert is_inline(FEW[:, :16], FEW[:, :16])


@pytest.mark.parametrize(
    "matrices",
    [
        (np.zeros((INLINE_ROWS + 1, 1)),),
        (np.zeros((INLINE_ROWS // 2, 2 * FEW.shape[1] + 1), dtype=np.int8),),
        (FEW, FEW[:, :1]),
        (da.zeros((10, 2)),),
        (np.zeros((10, 2)), zarr.zeros((10, 2), store={})),
    ],
    ids=["rows", "values", "values of two", "lazy", "one is lazy"],
)
def test_others_are_not(matrices):
    assert not is_inline(*matrices)


def test_the_client_of_the_caller_is_taken_for_any(engine):
    with (
        Client(engine.client.scheduler.address) as client,
        current_engine(FEW[:5]) as found,
    ):
        assert found.client is client


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ((), "1 thread of this process"),
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
    assert InlineEngine().workers(5).limit_bytes == 5
    limits = tmp_path / "high", tmp_path / "max", tmp_path / "low", tmp_path / "absent"
    for file, limit in zip(limits, ("max\n", f"{10**8}\n", "0\n"), strict=False):
        file.write_text(limit)
    monkeypatch.setattr(workers, "CONTAINER_LIMITS", limits)
    assert InlineEngine().workers().limit_bytes == 10**8


def test_a_result_stands_for_its_future():
    engine = InlineEngine()
    doubled = engine.leaves("double", task(lambda value: 2 * value), range(20))
    assert engine.collect("sum", doubled, task(sum)) == 380
    assert engine.take(engine.map("add", task(lambda a, b: a + b), [1, 2], [3, 4])) == [4, 6]


def test_an_error_is_raised_where_its_task_is_asked_for():
    with pytest.raises(ZeroDivisionError):
        InlineEngine().map("divide", task(lambda value: 1 / value), [0])


def test_it_says_how_far_it_is(monkeypatch):
    monkeypatch.setattr("balans_dask.passes.inline.WATCH_SECONDS", -1.0)
    engine, told = InlineEngine(), []
    same = task(lambda value: value)
    with (
        engine.telling(lambda stage: told.append((stage.n_done, stage.n_total))),
        engine.following(Stage(SUMMING, n_total=2), ["sums"]),
    ):
        engine.map("sums", same, range(2))
        engine.map("others", same, range(5))
        engine.map("sums", same, range(2))
    assert told == [(0, 2), (1, 2), (2, 2), (3, 4), (4, 4), (4, 4)]
