"""Worker jobs of a batch system, submitted and looked after by this process."""

import math
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from distributed import Client
from distributed.utils import get_ip_interface

from balans_dask.cluster.job_script import (
    job_class,
    job_settings,
    jobqueue,
    make_log_folder,
    processes_of,
    setting,
)
from balans_dask.cluster.job_watch import Alarm, JobWatch, jobs_of, reporting
from balans_dask.cluster.processes import replacing_workers
from balans_dask.cluster.request import ClusterRequest
from balans_dask.cluster.scheduler import await_arrivals
from balans_dask.errors import InvalidInputError
from balans_dask.passes.workers import QUIET_DASHBOARD

__all__ = [
    "host_address",
    "interface_address",
    "jobs_client",
    "scheduler_options",
]


def scheduler_options(request: ClusterRequest) -> dict[str, Any]:
    """Return the options of a scheduler in this process: one address, ``host``, and no dashboard.

    Those of the user's jobqueue.yaml win.

    Parameters
    ----------
    request : ClusterRequest
        Of a batch system.

    Raises
    ------
    InvalidInputError
        If this host has no such interface, or no single address that others reach.
    """
    own: dict[str, Any] = dict(setting(request.kind, "scheduler-options") or {})
    quiet: dict[str, Any] = {
        "dashboard": "dashboard_address" in own,
        "dashboard_address": QUIET_DASHBOARD,
    }
    options = quiet | own
    if "host" in own:
        return options
    named = options.pop("interface", None)
    interface = named or request.interface or setting(request.kind, "interface")
    host = host_address() if interface is None else interface_address(interface)
    return options | {"host": host}


def interface_address(interface: str) -> str:
    """Return the address of a network interface of this host.

    Raises
    ------
    InvalidInputError
        If there is none of this name.
    """
    try:
        return str(get_ip_interface(interface))
    except ValueError as error:
        names = ", ".join(name for _, name in socket.if_nameindex())
        raise InvalidInputError(
            f"{socket.gethostname()} has no address on interface {interface}: choose of {names}"
        ) from error


def host_address() -> str:
    """Return the single address that the name of this host stands for.

    Raises
    ------
    InvalidInputError
        If there is none, more than one, or one that no other host reaches.
    """
    name = socket.gethostname()
    remedy = "name the network of the nodes with --interface, such as eth0 or ib0"
    try:
        found = socket.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_STREAM)
    except OSError as error:
        raise InvalidInputError(f"the name {name} of this host has no address: {remedy}") from error
    addresses = sorted({str(address[0]) for *_, address in found})
    if len(addresses) > 1:
        raise InvalidInputError(
            f"the name {name} of this host has {len(addresses)} addresses, "
            f"{', '.join(addresses)}: {remedy}"
        )
    if addresses[0].startswith("127."):
        raise InvalidInputError(
            f"the name {name} of this host stands for {addresses[0]}, which other hosts do not "
            f"reach: {remedy}"
        )
    return addresses[0]


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
