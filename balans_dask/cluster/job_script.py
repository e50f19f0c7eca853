"""The script of a job as text, for people and for ``sbatch --test-only``."""

import os
from pathlib import Path

from balans_dask.cluster.encryption import protocol
from balans_dask.cluster.job_settings import LOG_FOLDER, job_settings
from balans_dask.cluster.jobqueue import job_class, setting
from balans_dask.cluster.request import ClusterRequest

__all__ = ["job_script", "log_folder"]


def log_folder(system: str) -> str:
    """Return the folder of the jobs' logs; batch systems take a relative one as they like."""
    named = setting(system, "log-directory")
    return os.path.abspath(LOG_FOLDER) if named is None else str(named)


def job_script(request: ClusterRequest) -> str:
    """Return the script of a job, with ``SCHEDULER:PORT`` for what is known once one listens.

    Parameters
    ----------
    request : ClusterRequest
        Of a batch system, which need not be on this machine.

    Raises
    ------
    InvalidInputError
        If neither flags nor jobqueue.yaml say how large a job is.
    """
    folder = Path(log_folder(request.kind))
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    job = job_class(request.kind)(
        f"{protocol()}SCHEDULER:PORT",
        name="balans-0",
        log_directory=str(folder),
        **job_settings(request, "SCHEDULER"),
    )
    # dask-jobqueue makes the folder of logs even of a job that is only looked at.
    for each in missing:
        each.rmdir()
    return str(job.job_script())
