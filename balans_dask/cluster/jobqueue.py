"""dask-jobqueue, imported where jobs are asked for: it brings its own settings and habits."""

import signal
import threading
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import dask

from balans_dask.errors import InvalidInputError

__all__ = ["job_class", "jobqueue", "setting"]

JOB_CLASSES = {"slurm": "SLURMJob", "pbs": "PBSJob", "lsf": "LSFJob", "sge": "SGEJob"}

KINDS: dict[type, set[str]] = {
    int: {"cores", "processes"},
    list: {"env-extra", "job-extra-directives", "job-script-prologue", "worker-extra-args"},
    dict: {"scheduler-options"},
}
WANTED = {int: "a whole number", list: "a list, such as [A, B]", dict: "keys with values"}


def jobqueue(asked: str, module: str = "core") -> ModuleType:
    """Import a module of dask-jobqueue, which puts its defaults below the user's jobqueue.yaml.

    Parameters
    ----------
    asked : str
        ``--cluster``, for the message.
    module : str

    Raises
    ------
    InvalidInputError
        If it is not installed.
    """
    if find_spec("dask_jobqueue") is None:
        raise InvalidInputError(
            f'--cluster {asked} needs dask-jobqueue: pip install "balans-dask[jobqueue]"'
        )
    in_main = threading.current_thread() is threading.main_thread()
    # It takes over Ctrl-C while it is imported, and ours saves the run.
    before = signal.getsignal(signal.SIGINT)
    try:
        return import_module(f"dask_jobqueue.{module}")
    finally:
        if in_main:
            signal.signal(signal.SIGINT, before)


def job_class(system: str) -> Any:
    """Return the class of a job of a batch system."""
    return getattr(jobqueue(system, system), JOB_CLASSES[system])


def setting(system: str, key: str) -> Any:
    """Return what the user's jobqueue.yaml, or else dask-jobqueue, says of a key.

    Raises
    ------
    InvalidInputError
        If that is not of the key's kind: dask-jobqueue would write nonsense into its script.
    """
    jobqueue(system)
    name = f"jobqueue.{system}.{key}"
    found = dask.config.get(name, None)
    kind = next((kind for kind, keys in KINDS.items() if key in keys), object)
    if found is not None and not isinstance(found, kind):
        raise InvalidInputError(f"{name} of jobqueue.yaml is {found!r}: make it {WANTED[kind]}")
    return found
