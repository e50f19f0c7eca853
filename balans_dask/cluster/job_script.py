"""A job of a batch system, by dask-jobqueue: its class, settings, logs, and its script as text."""

import os
import signal
import sys
import threading
from importlib import import_module
from importlib.util import find_spec
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import dask

from balans_dask.cluster.processes import (
    BLAS_THREADS,
    PROFILE,
    REUSED_MEMORY,
    encryption,
    protocol,
)
from balans_dask.cluster.request import (
    ClusterRequest,
    lifetime_arguments,
    memory_bytes,
    walltime_for,
    walltime_seconds,
)
from balans_dask.errors import InvalidInputError, adding, format_bytes, public_script
from balans_dask.passes.memory import PROCESS_BYTES
from balans_dask.passes.workers import QUIET_DASHBOARD

__all__ = [
    "LOG_FOLDER",
    "job_class",
    "job_script",
    "job_settings",
    "jobqueue",
    "make_log_folder",
    "processes_of",
    "setting",
]

JOB_CLASSES = {"slurm": "SLURMJob", "pbs": "PBSJob", "lsf": "LSFJob", "sge": "SGEJob"}

KINDS: dict[type, set[str]] = {
    int: {"cores", "processes"},
    list: {"env-extra", "job-extra-directives", "job-script-prologue", "worker-extra-args"},
    dict: {"scheduler-options"},
}
WANTED = {int: "a whole number", list: "a list, such as [A, B]", dict: "keys with values"}
LOG_FOLDER = "balans-jobs"
"""Where jobs log, in the working directory, unless the user's jobqueue.yaml names a folder."""
BILLED_TO = {"slurm": "account", "pbs": "account", "lsf": "project", "sge": "project"}
UNPROFILED = {f"DASK_{PROFILE.upper().replace('.', '__')}": False}
VARIABLES = BLAS_THREADS | REUSED_MEMORY | UNPROFILED
ENVIRONMENT = [f"export {name}={value}" for name, value in VARIABLES.items()]
NODE_SCRATCH = '[ -d "${TMPDIR:-}" ] && [ -w "${TMPDIR:-}" ] || export TMPDIR=/tmp'
"""The driver's TMPDIR comes along with its environment, and need not be on this node."""
NODE_ADDRESS = (
    "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); "
    's.connect(("{host}", 9)); print(s.getsockname()[0])'
)
"""The address from which a node reaches the scheduler; workers would listen at all that it has."""


def jobqueue(asked: str, module: str = "core") -> ModuleType:
    """Import a module of dask-jobqueue, which puts its defaults below the user's jobqueue.yaml.

    Parameters
    ----------
    asked : str
        ``--cluster``, for the message.

    Raises
    ------
    InvalidInputError
        If it is not installed.
    """
    if find_spec("dask_jobqueue") is None:
        raise InvalidInputError(f"--cluster {asked} needs dask-jobqueue: {adding('jobqueue')}")
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


def processes_of(system: str) -> int:
    """Return the worker processes of a job: one, whose threads share its memory."""
    return int(setting(system, "processes") or 1)


def job_settings(request: ClusterRequest, host: str) -> dict[str, Any]:
    """Return the arguments of dask-jobqueue's job; what is left out comes from jobqueue.yaml.

    Parameters
    ----------
    request : ClusterRequest
        Of a batch system.
    host : str
        Where the scheduler listens.

    Raises
    ------
    InvalidInputError
        If neither flags nor jobqueue.yaml say how large a job is, or the latter in no such words,
        or it is too small, or a key of TLS would be in the script.
    """
    system = request.kind
    _require_size(request)
    _require_named_keys()
    given = {
        "cores": request.cores,
        "memory": request.memory,
        "queue": request.queue,
        "interface": request.interface,
        BILLED_TO[system]: request.account,
        # Without it, dask-jobqueue chooses a number of its own.
        "processes": processes_of(system),
        "job_script_prologue": _prologue(request, host),
        "worker_extra_args": _worker_arguments(request),
        "security": encryption(),
    }
    if encryption() is not None:
        given["protocol"] = "tls://"
    if request.walltime is not None:
        given["walltime"] = walltime_for(system, request.walltime)
    given["local_directory"] = _scratch(request)
    directives = list(setting(system, "job-extra-directives") or [])
    if system == "sge" and not any("-S" in str(each).split() for each in directives):
        # SGE reads no shebang, and its own shell is often csh.
        given["job_extra_directives"] = [*directives, "-S /bin/bash"]
    return {name: value for name, value in given.items() if value is not None}


def _require_named_keys() -> None:
    """Refuse a key that stands in Dask's configuration itself: it would be in every job script."""
    security = encryption()
    if security is None:
        return
    for name, value in security.get_tls_config_for_role("worker").items():
        if "-----BEGIN" in str(value):
            raise InvalidInputError(
                f"distributed.comm.tls of Dask's configuration holds the {name} of workers itself, "
                "which would be in every job script: name a file that only you may read"
            )


def _require_size(request: ClusterRequest) -> None:
    system = request.kind
    for key in ("cores", "memory"):
        if getattr(request, key) is None and setting(system, key) is None:
            raise InvalidInputError(
                f"--cluster {system} does not know the {key} of a job: give --{key}, or set "
                f"jobqueue.{system}.{key} in jobqueue.yaml"
            )
    cores, processes = request.cores or setting(system, "cores"), processes_of(system)
    memory = str(request.memory or setting(system, "memory"))
    source = f"jobqueue.{system}.memory" if request.memory is None else "--memory"
    n_bytes = memory_bytes(memory, source) or 0
    if n_bytes < processes * PROCESS_BYTES:
        # A number without a unit is bytes, as dask-jobqueue reads it.
        raise InvalidInputError(
            f"{source} {memory} is {format_bytes(n_bytes)}, and a job needs "
            f"{format_bytes(processes * PROCESS_BYTES)} before any work: write one like 2GB"
        )
    if cores < processes:
        raise InvalidInputError(
            f"a job of {cores} cores has no thread for each of its {processes} processes: give "
            f"--cores {processes} or more, or set jobqueue.{system}.processes lower"
        )


def _prologue(request: ClusterRequest, host: str) -> list[str]:
    """Return what the script runs before the worker; the user's lines may undo ours."""
    system = request.kind
    own = setting(system, "job-script-prologue") or setting(system, "env-extra") or []
    lines = [*ENVIRONMENT, *own]
    if not _has_scratch(request):
        lines.append(NODE_SCRATCH)
    if not _is_bound(request):
        python = setting(system, "python") or sys.executable
        lines.append(f"export BALANS_HOST=$({python} -c '{NODE_ADDRESS.format(host=host)}')")
    return lines


def _is_bound(request: ClusterRequest) -> bool:
    """Whether the user says where workers listen."""
    interface = request.interface or setting(request.kind, "interface")
    return bool(interface) or bool(_own_flags(request.kind) & {"--host", "--interface"})


def _own_flags(system: str) -> set[str]:
    own = setting(system, "worker-extra-args") or []
    return {word.split("=")[0] for each in own for word in str(each).split()}


def _has_scratch(request: ClusterRequest) -> bool:
    named = setting(request.kind, "local-directory")
    return request.local_directory is not None or named is not None


def _scratch(request: ClusterRequest) -> str | None:
    """Return the folder of a worker, which the shell of the node reads."""
    if request.local_directory is not None:
        return f'"{request.local_directory}"'
    return None if _has_scratch(request) else '"$TMPDIR"'


def _worker_arguments(request: ClusterRequest) -> list[str]:
    """Return the worker's arguments: the user's, and those that say nothing of what these do."""
    system = request.kind
    own = [str(each) for each in setting(system, "worker-extra-args") or []]
    flags = _own_flags(system)
    added = [] if _is_bound(request) else ["--host", '"$BALANS_HOST"']
    if "--lifetime" not in flags:
        walltime = request.walltime or setting(system, "walltime")
        in_words = walltime_for(system, walltime) if request.walltime else str(walltime)
        seconds = walltime_seconds(system, in_words)
        added += [] if not seconds else lifetime_arguments(seconds)
    # Without a dashboard, Dask still opens a page with figures, to every host.
    if not flags & {"--dashboard", "--dashboard-address"}:
        added += ["--no-dashboard", "--dashboard-address", QUIET_DASHBOARD]
    return [*own, *added]


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
