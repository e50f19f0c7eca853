"""Where the work runs: the options that say it, the workers they ask for, and Dask's own report."""

import functools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from balans_dask.cli import say_warning
from balans_dask.cli.options import not_nan, option_group
from balans_dask.cluster.request import JOB_SYSTEMS, RUNNER, ClusterRequest
from balans_dask.errors import InvalidInputError, adding
from balans_dask.parameters import WORKER_TIMEOUT_SECONDS

if TYPE_CHECKING:
    from balans_dask.passes.engine import Engine

__all__ = [
    "CLUSTER_OPTIONS",
    "open_engine",
    "reporting",
    "require_report",
    "silence_unless_verbose",
]


def _of_job(flag: str, help_text: str, **how: Any) -> Callable[[Any], Any]:
    return click.option(flag, show_default="jobqueue.yaml", help=help_text, **how)


_FLAGS = option_group(
    click.option(
        "--cluster",
        default="threads",
        show_default=True,
        metavar="WHERE",
        help=f"threads, local (processes), {', '.join(JOB_SYSTEMS)} (jobs), {RUNNER} (the tasks of "
        "this srun), or the address or file of a scheduler.",
    ),
    click.option(
        "--workers",
        type=click.IntRange(1),
        show_default="those of the machine",
        help="Threads or processes.",
    ),
    click.option(
        "--memory-limit",
        show_default="its share of the machine",
        help="Memory of a worker, such as 2GB.",
    ),
    _of_job("--cores", "Threads of a job.", type=click.IntRange(1)),
    _of_job("--memory", "Memory of a job, such as 8GB."),
    _of_job("--walltime", "Time of a job.", metavar="HH:MM:SS"),
    _of_job("--queue", "Queue or partition of a job."),
    _of_job("--account", "Account or project that a job is billed to."),
    _of_job("--interface", "Network of scheduler and workers, such as ib0."),
    _of_job("--local-directory", "Scratch of a worker, on its node."),
    click.option("--dry-run", is_flag=True, help="Print the script of a job, and start nothing."),
    click.option(
        "--worker-timeout",
        type=click.FloatRange(1),
        callback=not_nan,
        show_default=f"{WORKER_TIMEOUT_SECONDS:g}; none with jobs",
        help="Seconds without any worker after which to give up.",
    ),
    title="Cluster",
)


def CLUSTER_OPTIONS(command: Callable[..., Any]) -> Callable[..., Any]:
    """Put the options on a command, which gets them as one ``ClusterRequest`` in ``cluster``."""

    @functools.wraps(command)
    def body(**options: Any) -> Any:
        request, dry_run = _asked(options)
        if dry_run:
            return _print_script(request)
        if request.kind != RUNNER:
            return command(cluster=request, **options)
        return _in_task(functools.partial(command, cluster=request, **options), request)

    decorated: Callable[..., Any] = _FLAGS(body)
    return decorated


def _asked(options: dict[str, Any]) -> tuple[ClusterRequest, bool]:
    """Take the options of a cluster out of those of a command."""
    names = [field.name for field in fields(ClusterRequest)][1:]
    given = {name: options.pop(name) for name in names}
    return ClusterRequest(options.pop("cluster"), **given), options.pop("dry_run")


def _print_script(request: ClusterRequest) -> None:
    if request.kind not in JOB_SYSTEMS:
        raise InvalidInputError(
            f"--cluster {request.where} has no job to print: --dry-run is for "
            f"{', '.join(JOB_SYSTEMS)}"
        )
    from balans_dask.cluster.job_script import job_script

    click.echo(job_script(request), nl=False)


def _in_task(command: Callable[[], Any], request: ClusterRequest) -> Any:
    """Be what this task of an srun is to be."""
    from balans_dask.cluster.slurm_runner import closing_tasks, drives, require_tasks, serve

    silence_unless_verbose()
    if not drives():
        return serve(request)
    require_tasks()
    with closing_tasks():
        return command()


def silence_unless_verbose() -> None:
    """Let Dask report only what is fatal, unless the command was asked to say more."""
    from balans_dask.cluster.open import silence_dask

    if not click.get_current_context().params.get("verbose"):
        silence_dask()


@contextmanager
def open_engine(
    request: ClusterRequest, is_reported: bool = False
) -> "Iterator[tuple[Engine, int | None]]":
    """Connect to the workers of a run; yields an engine and the memory limit of a worker.

    Parameters
    ----------
    is_reported : bool
        Dask is to report of the run.
    """
    from balans_dask.passes.threads import embedded_engine

    if request.kind == "threads" and not is_reported:
        with embedded_engine(n_threads=request.workers) as engine:
            yield engine, request.limit_bytes
        return

    from balans_dask.cluster.job_watch import Alarm
    from balans_dask.cluster.open import open_client
    from balans_dask.passes.dask_engine import DaskEngine

    silence_unless_verbose()
    quiet = click.get_current_context().params.get("quiet")

    def say(line: str) -> None:
        if not quiet:
            click.echo(line, err=True)

    alarm, timeout = Alarm(), request.worker_timeout_seconds
    with open_client(request, say, alarm) as client:
        yield DaskEngine(client, timeout, say_warning, alarm.check), request.limit_bytes


def require_report(path: str | None, overwrite: bool, apart: Iterable[str | None]) -> None:
    """Refuse, before there is a cluster, a report that could not be written.

    Parameters
    ----------
    path : str or None
        ``None`` for no report.
    overwrite : bool
        Replace a file that is there.
    apart : iterable of str or None
        Other paths of the command.

    Raises
    ------
    InvalidInputError
        If bokeh is missing, or the folder.
    StoreExistsError
        If a file is there that is not to be replaced.
    """
    if path is None:
        return
    if find_spec("bokeh") is None:
        raise InvalidInputError(f"--performance-report needs bokeh: {adding('dashboard')}")
    from balans_dask.io.paths import require_free_file

    require_free_file(path, overwrite, [other for other in apart if other is not None])


@contextmanager
def reporting(engine: "Engine", path: str | None) -> Iterator[None]:
    """Write Dask's report of what happens inside, if it ends well.

    Parameters
    ----------
    engine : Engine
        Of a scheduler, where there is a path.
    path : str or None
        ``None`` for no report.

    Raises
    ------
    InvalidInputError
        If the scheduler, which draws the report, has no bokeh.
    """
    if path is None:
        yield
        return
    from distributed import performance_report

    from balans_dask.io.atomic import replace_file
    from balans_dask.passes.dask_engine import DaskEngine

    assert isinstance(engine, DaskEngine)  # who asks for a report gets a scheduler
    client = engine.client
    if not client.run_on_scheduler(_has_bokeh):
        raise InvalidInputError(
            f"--performance-report needs bokeh where the scheduler runs: "
            f"{adding('dashboard')} there"
        )
    with TemporaryDirectory() as folder:
        # Dask takes a path for a URL where it can, and packs what ends in .gz.
        page = Path(folder) / "report.html"
        with client.as_current():
            report = performance_report(filename=str(page), mode="inline")
            report.__enter__()
        yield
        with client.as_current():
            report.__exit__(None, None, None)
        replace_file(Path(path), page.read_bytes())


def _has_bokeh() -> bool:
    return find_spec("bokeh") is not None
