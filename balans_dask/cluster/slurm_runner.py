"""All of a run in the tasks of one srun: a scheduler, the run itself, and workers."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from distributed import Client
from distributed.comm import get_address_host
from distributed.system import MEMORY_LIMIT
from distributed.utils import get_ip

from balans_dask.cluster.job_script import jobqueue
from balans_dask.cluster.jobs import host_address, interface_address
from balans_dask.cluster.processes import encryption, protocol, replacing_workers
from balans_dask.cluster.request import RUNNER, ClusterRequest
from balans_dask.cluster.scheduler import await_arrivals, connected
from balans_dask.errors import InvalidInputError, RunError
from balans_dask.io.atomic import read_json, write_json
from balans_dask.passes.workers import QUIET_DASHBOARD

__all__ = [
    "SCHEDULER_SECONDS",
    "RefusedTasks",
    "closing_tasks",
    "drives",
    "refuse",
    "require_tasks",
    "runner_client",
    "scheduler_address",
    "scheduler_file",
    "serve",
]

SCHEDULER_SECONDS = 120
"""How long tasks look for the scheduler: Python starts slowly on a busy file system."""
ASKING_SECONDS = 15
"""How long a refusal stays, for tasks whose Python starts later."""
LOOK_SECONDS = 0.2
REFUSED = "refused"
SHARED_FOLDER = "start srun in a folder that all nodes share and you may write"
DRIVER = 1
"""The task that does the run; dask-jobqueue's own order."""
FEWEST_TASKS = 3
STARTING_SECONDS = 10
"""How long a run that ends early waits for workers that only start."""


class RefusedTasks(InvalidInputError):
    """What ends all tasks, said by the one that does the run."""


def scheduler_file() -> Path:
    """Return a path that all tasks share, and no other srun nor a requeued job ever has.

    Raises
    ------
    RefusedTasks
        If nothing can be written in the working directory.
    """
    names = ("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT")
    numbers = "-".join(os.environ.get(name, "0") for name in names)
    folder = Path.cwd()
    if not os.access(folder, os.W_OK):
        raise RefusedTasks(f"{folder} cannot be written: {SHARED_FOLDER}")
    return folder / f".balans-scheduler-{numbers}.json"


def scheduler_address(path: Path) -> str:
    """Wait for what task 0 writes.

    Raises
    ------
    RefusedTasks
        If task 0 cannot be a scheduler.
    RunError
        If it writes nothing.
    """
    end = time.monotonic() + SCHEDULER_SECONDS
    while (record := read_json(path)) is None:
        if time.monotonic() > end:
            raise RunError(f"task 0 did not write {path} in {SCHEDULER_SECONDS} s: {SHARED_FOLDER}")
        time.sleep(LOOK_SECONDS)
    if REFUSED in record:
        raise RefusedTasks(record[REFUSED])
    return str(record["address"])


def refuse(path: Path, reason: str) -> None:
    """Tell the other tasks that there will be no scheduler, and wait until they have asked."""
    write_json(path, {REFUSED: reason})
    time.sleep(ASKING_SECONDS)
    path.unlink()


def require_tasks() -> None:
    """Refuse to be anything but a task of an srun of three.

    Raises
    ------
    InvalidInputError
        If this process is none.
    """
    how = "start it as srun --ntasks 4 balans ..., for a scheduler, the run and two workers"
    if "SLURM_STEP_NUM_TASKS" not in os.environ:
        raise InvalidInputError(f"--cluster {RUNNER} runs as the tasks of one srun: {how}")
    if _n_tasks() < FEWEST_TASKS:
        raise InvalidInputError(
            f"--cluster {RUNNER} needs {FEWEST_TASKS} tasks and has {_n_tasks()}: {how}"
        )


def drives() -> bool:
    """Whether this task does the run, and so reads, writes and speaks."""
    return int(os.environ.get("SLURM_PROCID", 0)) == min(DRIVER, _n_tasks() - 1)


def serve(request: ClusterRequest) -> None:
    """Be the scheduler or a worker, until the run is over; nothing where there is none.

    Signals are for the task that does the run: it needs the others until its state is saved.
    """
    if _n_tasks() < FEWEST_TASKS:
        return
    slurm = jobqueue(RUNNER, "slurm")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    try:
        path = scheduler_file()
        host = _own_address(request, path)
    except RefusedTasks:
        # The task that does the run says so, once.
        return
    shared: dict[str, Any] = {
        "host": host,
        "protocol": protocol(),
        "security": encryption(),
    }
    quiet = {"dashboard": False, "dashboard_address": QUIET_DASHBOARD}
    # All tasks write to one log, in which the run says what matters; workers inherit it.
    os.environ.setdefault("DASK_LOGGING__DISTRIBUTED", "critical")
    with replacing_workers():
        slurm.SLURMRunner(
            # The runner fills in a number of its own.
            scheduler_file=str(path).replace("{", "{{").replace("}", "}}"),
            scheduler_options={**shared, **quiet},
            worker_class="distributed.Nanny",
            worker_options={
                **shared,
                **quiet,
                "nthreads": int(os.environ.get("SLURM_CPUS_PER_TASK", 1)),
                "memory_limit": request.limit_bytes or _task_memory(),
                "local_directory": request.local_directory or os.environ.get("TMPDIR", "/tmp"),
                "death_timeout": SCHEDULER_SECONDS,
            },
        )


@contextmanager
def runner_client(request: ClusterRequest, say: Callable[[str], None]) -> Iterator[Client]:
    """Connect the task that does the run to the others.

    Parameters
    ----------
    say : callable
        Told now and then that workers are missing.

    Raises
    ------
    InvalidInputError
        If the scheduler could not start.
    RunError
        If there is none, or no worker comes.
    """
    n_workers, seconds = _n_tasks() - 2, request.worker_timeout_seconds
    line = f"waiting for {n_workers} workers of this srun"
    with connected(scheduler_address(scheduler_file())) as client:
        await_arrivals(client, n_workers, seconds, lambda: None, lambda: line, say)
        yield client


@contextmanager
def closing_tasks() -> Iterator[None]:
    """End the scheduler and the workers when the run is over, however it ends."""
    address = scheduler_address(scheduler_file())
    try:
        yield
    finally:
        with connected(address) as client:
            # One that finds no scheduler any more would look for it.
            with suppress(TimeoutError):
                client.wait_for_workers(_n_tasks() - 2, timeout=STARTING_SECONDS)
            client.shutdown()


def _n_tasks() -> int:
    return int(os.environ.get("SLURM_STEP_NUM_TASKS", 1))


def _own_address(request: ClusterRequest, path: Path) -> str:
    """Return where this task listens: a worker, at the address that reaches the scheduler."""
    if int(os.environ["SLURM_PROCID"]) > DRIVER:
        scheduler = scheduler_address(path)
        if request.interface is not None:
            return interface_address(request.interface)
        return str(get_ip(get_address_host(scheduler)))
    try:
        return host_address() if request.interface is None else interface_address(request.interface)
    except InvalidInputError as error:
        refuse(path, str(error))
        raise RefusedTasks from error


def _task_memory() -> int:
    """Return the bytes that a task may use: what SLURM says, or its share of the node."""
    cores = int(os.environ.get("SLURM_CPUS_PER_TASK", 1))
    if "SLURM_MEM_PER_CPU" in os.environ:
        return int(os.environ["SLURM_MEM_PER_CPU"]) * cores * 2**20
    tasks = os.environ.get("SLURM_STEP_TASKS_PER_NODE", "1").split(",")
    most = max(int(each.split("(")[0]) for each in tasks)
    if "SLURM_MEM_PER_NODE" in os.environ:
        return int(os.environ["SLURM_MEM_PER_NODE"]) * 2**20 // most
    return int(MEMORY_LIMIT) // most
