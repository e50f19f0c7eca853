"""Worker processes of this machine, which talk over its loopback address alone."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from dask.system import CPU_COUNT
from distributed import Client, LocalCluster

from balans_dask.cluster.encryption import encryption, protocol
from balans_dask.cluster.request import ClusterRequest
from balans_dask.cluster.resilience import replacing_workers
from balans_dask.cluster.signals import deaf_to_interrupts
from balans_dask.errors import RunError
from balans_dask.passes.engine import QUIET_DASHBOARD

__all__ = ["processes_client"]

logger = logging.getLogger(__name__)

START_ATTEMPTS = 3


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
