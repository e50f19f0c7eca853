"""Worker processes of this machine, which talk over its loopback address alone."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import dask
from dask.system import CPU_COUNT
from distributed import Client, LocalCluster
from distributed.security import Security

from balans_dask.cluster.request import ClusterRequest
from balans_dask.cluster.signals import deaf_to_interrupts
from balans_dask.errors import RunError
from balans_dask.passes.workers import QUIET_DASHBOARD

__all__ = [
    "ALLOWED_FAILURES",
    "BLAS_THREADS",
    "REUSED_MEMORY",
    "encryption",
    "processes_client",
    "protocol",
    "replacing_workers",
]

ALLOWED_FAILURES = 5
"""Workers that may die under one task before the run gives up; Dask's own 3 is for clusters on
which nobody is preempted."""
REUSED_MEMORY = {"MALLOC_TRIM_THRESHOLD_": 64 * 2**20, "MALLOC_MMAP_THRESHOLD_": 32 * 2**20}
"""Freed memory that a worker process keeps for its next arrays. By Dask's own setting each array of
128 KiB goes back to the system, and to touch new pages takes as long as the arithmetic."""
PROFILE = "distributed.worker.profile.enabled"
"""Dask looks 100 times a second at what a worker does, and keeps an hour of that, which comes to
200 MB that no plan counts."""
BLAS_THREADS = {"OMP_NUM_THREADS": 1, "MKL_NUM_THREADS": 1, "OPENBLAS_NUM_THREADS": 1}
LOST_WORKER_TIMEOUT = "3s"
"""After how long a worker that is gone is gone for good, and replaced."""
SILENT_WORKER_TIMEOUT = "60s"
"""After how long without a heartbeat a worker is replaced; Dask's own five minutes are for tasks
that hold Python's lock, and ours release it."""
ENVIRONMENT = "distributed.nanny.pre-spawn-environ"
logger = logging.getLogger(__name__)

START_ATTEMPTS = 3


def replacing_workers() -> Any:
    """Set what replaces lost workers soon, and what their processes find; a context manager."""
    return dask.config.set(
        {
            PROFILE: False,
            "distributed.scheduler.allowed-failures": ALLOWED_FAILURES,
            "distributed.scheduler.worker-ttl": SILENT_WORKER_TIMEOUT,
            "distributed.deploy.lost-worker-timeout": LOST_WORKER_TIMEOUT,
            ENVIRONMENT: dask.config.get(ENVIRONMENT) | REUSED_MEMORY,
        }
    )


def encryption() -> Security | None:
    """Return the keys that Dask's configuration names, if it names any."""
    security = Security()
    named = security.get_tls_config_for_role("scheduler")
    if named.get("cert") or dask.config.get("distributed.comm.require-encryption"):
        return security
    return None


def protocol() -> str:
    """Return how processes of a run talk to each other."""
    return "tcp://" if encryption() is None else "tls://"


@contextmanager
def processes_client(request: ClusterRequest) -> Iterator[Client]:
    """Start worker processes that are replaced when they die.

    A nanny now and then fails to restart a worker that was killed; only adaptive scaling, with
    equal bounds, notices that one is missing for good.

    Raises
    ------
    RunError
        If they do not start.
    """
    n_workers = request.workers or CPU_COUNT
    with replacing_workers():
        with deaf_to_interrupts():
            cluster = _started(request, n_workers)
        try:
            cluster.adapt(minimum=n_workers, maximum=n_workers, interval="1s")
            with Client(cluster, set_as_default=False) as client:
                yield client
        finally:
            # A worker that was just being replaced fails to start, and nobody needs it any more.
            with suppress(RuntimeError):
                cluster.close()


def _started(request: ClusterRequest, n_workers: int) -> LocalCluster:
    """Start the processes; if one is killed while it starts, start all anew."""
    for attempt in range(1, START_ATTEMPTS + 1):
        try:
            return LocalCluster(
                n_workers=n_workers,
                threads_per_worker=1,
                processes=True,
                memory_limit=request.limit_bytes or "auto",
                host="127.0.0.1",
                protocol=protocol(),
                security=encryption(),
                dashboard_address=QUIET_DASHBOARD,
                local_directory=request.local_directory,
                # A worker reports what a task raised, which the run says itself.
                silence_logs=max(logging.ERROR, logging.getLogger("distributed").level),
            )
        except RuntimeError as error:
            if attempt == START_ATTEMPTS:
                raise RunError(
                    f"{n_workers} worker processes did not start in {attempt} attempts: look for "
                    "what kills them, most likely too little memory, and continue with --resume"
                ) from error
            logger.warning("worker processes did not start (%s): starting them again", error)
    raise AssertionError
