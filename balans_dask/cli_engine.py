"""The workers of a command, as its options ask for them."""

from collections.abc import Iterator
from contextlib import contextmanager

import click

from balans_dask.cli.exit_codes import say_warning
from balans_dask.cluster.arrivals import Alarm
from balans_dask.cluster.open import open_client, silence_dask
from balans_dask.cluster.request import ClusterRequest
from balans_dask.passes.engine import Engine

__all__ = ["open_engine", "silence_unless_verbose"]


def silence_unless_verbose() -> None:
    """Let Dask report only what is fatal, unless the command was asked to say more."""
    if not click.get_current_context().params.get("verbose"):
        silence_dask()


@contextmanager
def open_engine(request: ClusterRequest) -> Iterator[tuple[Engine, int | None]]:
    """Connect to the workers of a run; yields an engine and the memory limit of a worker."""
    silence_unless_verbose()
    quiet = click.get_current_context().params.get("quiet")

    def say(line: str) -> None:
        if not quiet:
            click.echo(line, err=True)

    alarm, timeout = Alarm(), request.worker_timeout_seconds
    with open_client(request, say, alarm) as client:
        yield Engine(client, timeout, say_warning, alarm.check), request.limit_bytes
