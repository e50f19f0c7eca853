"""One way to the workers of a run, whatever was asked."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from distributed import Client

from balans_dask.cluster.job_watch import Alarm
from balans_dask.cluster.jobs import jobs_client
from balans_dask.cluster.processes import processes_client
from balans_dask.cluster.request import JOB_SYSTEMS, RUNNER, ClusterRequest
from balans_dask.cluster.scheduler import scheduler_client
from balans_dask.cluster.slurm_runner import runner_client
from balans_dask.passes.workers import embedded_client

__all__ = [
    "open_client",
    "silence_dask",
]

logger = logging.getLogger(__name__)


@contextmanager
def open_client(
    request: ClusterRequest,
    say: Callable[[str], None] = logger.info,
    alarm: Alarm | None = None,
) -> Iterator[Client]:
    """Connect to the workers of a run, and leave when it is over.

    Parameters
    ----------
    say : callable
        Told now and then, in a line, what is waited for.
    alarm : Alarm or None
        To hear, while results are waited for, that workers were given up.

    Raises
    ------
    InvalidInputError
        If there is no such cluster, or its workers do not come.
    RunError
        If its processes or jobs end again and again before there is a worker.
    """
    if request.kind == "threads":
        opened = embedded_client(request.workers)
    elif request.kind == "local":
        opened = processes_client(request)
    elif request.kind in JOB_SYSTEMS:
        opened = jobs_client(request, say, alarm or Alarm())
    elif request.kind == RUNNER:
        opened = runner_client(request, say)
    else:
        opened = scheduler_client(request)
    with opened as client:
        yield client


def silence_dask() -> None:
    """Let Dask report only what is fatal.

    It reports every task that a lost worker or a stopped run leaves behind, and the run itself
    says what matters. Dask gives levels to some of its loggers, so each must be told.
    """
    for name in list(logging.root.manager.loggerDict):
        if name.split(".")[0] == "distributed":
            logging.getLogger(name).setLevel(logging.CRITICAL)
