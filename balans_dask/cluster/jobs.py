"""Worker jobs of a batch system, submitted and looked after by this process."""

import math
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from distributed import Client

from balans_dask.cluster.arrivals import Alarm, await_arrivals
from balans_dask.cluster.batch_system import reporting
from balans_dask.cluster.binding import scheduler_options
from balans_dask.cluster.job_script import make_log_folder
from balans_dask.cluster.job_settings import job_settings, processes_of
from balans_dask.cluster.job_watch import JobWatch, jobs_of
from balans_dask.cluster.jobqueue import job_class, jobqueue
from balans_dask.cluster.request import ClusterRequest
from balans_dask.cluster.resilience import replacing_workers
from balans_dask.errors import InvalidInputError

__all__ = ["jobs_client"]


@contextmanager
def jobs_client(
    request: ClusterRequest, say: Callable[[str], None], alarm: Alarm
) -> Iterator[Client]:
    """Submit jobs and wait until their workers come; cancel them when the run is over.

    Jobs that are lost are replaced. A queue may take hours: there is no limit of time unless the
    request has one.

    Parameters
    ----------
    request : ClusterRequest
        Of a batch system.
    say : callable
        Told now and then, in a line, what is waited for.
    alarm : Alarm
        Rung when there is no hope for workers.

    Raises
    ------
    InvalidInputError
        If jobs cannot be submitted from here, or are not fully described.
    RunError
        If too many jobs in a row end before their worker comes, or none comes in time.
    """
    system = request.kind
    # One job of one process is a run, too.
    processes = processes_of(system)
    n_jobs = math.ceil((request.workers or processes) / processes)
    with replacing_workers():
        cluster, logs = _cluster(request)
        watch = None
        try:
            adaptive = cluster.adapt(minimum_jobs=n_jobs, maximum_jobs=n_jobs, interval="1s")
            watch = JobWatch(cluster, adaptive, system, logs, say, alarm)
            say(f"{jobs_of(system, n_jobs)}, logging in {logs}")
            with Client(cluster, set_as_default=False) as client:
                n_workers, seconds = n_jobs * processes, request.worker_timeout_seconds
                await_arrivals(client, n_workers, seconds, alarm.check, watch.line, say)
                yield client
        finally:
            if watch is not None:
                watch.stop()
            cluster.close()


def _cluster(request: ClusterRequest) -> tuple[Any, str]:
    """Start the scheduler of jobs, in this process; returns where jobs log, too."""
    jobs = job_class(request.kind)
    if shutil.which(jobs.submit_command) is None:
        raise InvalidInputError(
            f"--cluster {request.kind} needs {jobs.submit_command}, which is not on this machine: "
            "run where jobs are submitted, or choose another --cluster"
        )
    options = scheduler_options(request)
    settings = job_settings(request, str(options["host"]))
    logs = make_log_folder(request.kind)
    cluster = jobqueue(request.kind).JobQueueCluster(
        job_cls=reporting(jobs),
        name="balans",
        scheduler_options=options,
        log_directory=logs,
        **settings,
    )
    return cluster, logs
