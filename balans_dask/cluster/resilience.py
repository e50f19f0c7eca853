"""Dask's settings of a scheduler whose workers come and go."""

from typing import Any

import dask

__all__ = ["ALLOWED_FAILURES", "BLAS_THREADS", "REUSED_MEMORY", "replacing_workers"]

ALLOWED_FAILURES = 5
"""Workers that may die under one task before the run gives up; Dask's own 3 is for clusters on
which nobody is preempted."""
REUSED_MEMORY = {"MALLOC_TRIM_THRESHOLD_": 64 * 2**20, "MALLOC_MMAP_THRESHOLD_": 32 * 2**20}
"""Freed memory that a worker process keeps for its next arrays. By Dask's own setting each array of
128 KiB goes back to the system, and to touch new pages takes as long as the arithmetic."""
BLAS_THREADS = {"OMP_NUM_THREADS": 1, "MKL_NUM_THREADS": 1, "OPENBLAS_NUM_THREADS": 1}
LOST_WORKER_TIMEOUT = "3s"
"""After how long a worker that is gone is gone for good, and replaced."""
SILENT_WORKER_TIMEOUT = "60s"
"""After how long without a heartbeat a worker is replaced; Dask's own five minutes are for tasks
that hold Python's lock, and ours release it."""
ENVIRONMENT = "distributed.nanny.pre-spawn-environ"


def replacing_workers() -> Any:
    """Set what replaces lost workers soon, and what their processes find; a context manager."""
    return dask.config.set(
        {
            "distributed.scheduler.allowed-failures": ALLOWED_FAILURES,
            "distributed.scheduler.worker-ttl": SILENT_WORKER_TIMEOUT,
            "distributed.deploy.lost-worker-timeout": LOST_WORKER_TIMEOUT,
            ENVIRONMENT: dask.config.get(ENVIRONMENT) | REUSED_MEMORY,
        }
    )
