"""The script of a job as text, for people and for ``sbatch --test-only``."""

import os
from tempfile import TemporaryDirectory

from balans_dask.cluster.encryption import protocol
from balans_dask.cluster.job_settings import LOG_FOLDER, job_settings
from balans_dask.cluster.jobqueue import job_class, setting
from balans_dask.cluster.request import ClusterRequest
from balans_dask.errors import InvalidInputError, public_script

__all__ = ["job_script", "make_log_folder"]


def log_folder(system: str) -> str:
    """Return the folder of the jobs' logs; batch systems take a relative one as they like."""
    named = setting(system, "log-directory")
    return os.path.abspath(LOG_FOLDER) if named is None else str(named)


def make_log_folder(system: str) -> str:
    """Make the folder of the jobs' logs: a job that cannot log ends without a word.

    Raises
    ------
    InvalidInputError
        If nothing can be written there.
    """
    folder = log_folder(system)
    remedy = (
        "start in a folder that all nodes see and you may write, or set "
        f"jobqueue.{system}.log-directory in jobqueue.yaml"
    )
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise InvalidInputError(
            f"jobs cannot log in {folder} ({error.strerror}): {remedy}"
        ) from error
    if not os.access(folder, os.W_OK):
        raise InvalidInputError(f"jobs cannot log in {folder} (it is read-only): {remedy}")
    return folder


def job_script(request: ClusterRequest) -> str:
    """Return the script of a job, with ``SCHEDULER:PORT`` for what is known once one listens.

    Secrets that jobqueue.yaml lets it export are left out.

    Parameters
    ----------
    request : ClusterRequest
        Of a batch system, which need not be on this machine.

    Raises
    ------
    InvalidInputError
        If neither flags nor jobqueue.yaml say how large a job is.
    """
    # dask-jobqueue makes the folder of logs even of a job that is only looked at.
    with TemporaryDirectory() as folder:
        job = job_class(request.kind)(
            f"{protocol()}SCHEDULER:PORT",
            name="balans-0",
            log_directory=folder,
            **job_settings(request, "SCHEDULER"),
        )
        return public_script(str(job.job_script()).replace(folder, log_folder(request.kind)))
