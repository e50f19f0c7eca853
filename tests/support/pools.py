"""How many threads BLAS and OpenMP have inside tasks and after them.

Each function is run in a fresh process, because a pool remembers which thread of a process was the
first to limit it.
"""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Event

from threadpoolctl import threadpool_info

from balans_dask.kernels._blas import single_threaded_blas
from balans_dask.passes.engine import task

SECONDS = 20


def sizes() -> list[int]:
    return [pool["num_threads"] for pool in threadpool_info()]


def alone() -> dict[str, list[int]]:
    """A task by itself."""
    before = sizes()
    return {"before": before, "inside": task(sizes)(), "after": sizes()}


def failing() -> dict[str, list[int]]:
    """A task that raises."""
    before = sizes()
    with suppress(ZeroDivisionError):
        task(lambda: 1 / 0)()
    return {"before": before, "after": sizes()}


def overlapping() -> dict[str, list[int]]:
    """Two tasks on two threads: the first to begin is the first to end."""
    first_began, second_began, first_ended = Event(), Event(), Event()

    @task
    def first() -> list[int]:
        first_began.set()
        assert second_began.wait(SECONDS)
        return sizes()

    @task
    def second() -> list[int]:
        second_began.set()
        assert first_ended.wait(SECONDS)
        return sizes()

    before = sizes()
    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(first)
        assert first_began.wait(SECONDS)
        other = pool.submit(second)
        try:
            in_first = one.result()
        finally:
            first_ended.set()
        in_second = other.result()
        after = sizes()
    return {"before": before, "first": in_first, "second": in_second, "after": after}


def overlapping_in_a_run() -> dict[str, list[int]]:
    """The same while the driver is in its own limit, as in every run."""
    before = sizes()
    with single_threaded_blas():
        found = overlapping()
    return {**found, "before": before, "after": sizes()}


def one_thread_after_another() -> dict[str, list[int]]:
    """Tasks that do not overlap, on different threads of a worker."""
    found = {"before": sizes()}
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:
        found["first"] = one.submit(task(sizes)).result()
        found["second"] = other.submit(task(sizes)).result()
        found["after"] = other.submit(sizes).result()
    return found
