"""Options that say where the work runs, and what becomes of them before a command does anything."""

import functools
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import click

from balans_dask.cli.options import not_nan, option_group
from balans_dask.cluster.request import JOB_SYSTEMS, RUNNER, ClusterRequest
from balans_dask.errors import InvalidInputError
from balans_dask.parameters import WORKER_TIMEOUT_SECONDS

__all__ = ["CLUSTER_OPTIONS"]

_FLAGS = option_group(
    click.option(
        "--cluster",
        default="threads",
        show_default=True,
        metavar="WHERE",
        help=f"threads, local (processes), {', '.join(JOB_SYSTEMS)} (jobs), {RUNNER} (the tasks of "
        "this srun), or the address or file of a scheduler.",
    ),
    click.option("--workers", type=click.IntRange(1), help="Threads or processes."),
    click.option("--memory-limit", help="Memory of a worker, such as 2GB."),
    click.option("--cores", type=click.IntRange(1), help="Threads of a job."),
    click.option("--memory", help="Memory of a job, such as 8GB."),
    click.option("--walltime", metavar="HH:MM:SS", help="Time of a job."),
    click.option("--queue", help="Queue or partition of a job."),
    click.option("--account", help="Account or project that a job is billed to."),
    click.option("--interface", help="Network of scheduler and workers, such as ib0."),
    click.option("--local-directory", help="Scratch of a worker, on its node."),
    click.option("--dry-run", is_flag=True, help="Print the script of a job, and start nothing."),
    click.option(
        "--worker-timeout",
        type=click.FloatRange(1),
        callback=not_nan,
        help="Seconds without any worker after which to give up. "
        f"[default: {WORKER_TIMEOUT_SECONDS:g}; none with jobs]",
    ),
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
    from balans_dask.cli_engine import silence_unless_verbose
    from balans_dask.cluster.slurm_runner import closing_tasks, drives, require_tasks, serve

    silence_unless_verbose()
    if not drives():
        return serve(request)
    require_tasks()
    with closing_tasks():
        return command()
