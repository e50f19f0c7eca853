"""``balans demo``."""

from rich.console import Console

from balans_dask.cli.demo import run_demo
from balans_dask.cluster.open import silence_dask
from balans_dask.events import Events
from balans_dask.progress import Progress

__all__ = ["run_demo_command"]


def run_demo_command(out: Console, folder: str) -> None:
    """Correct a small screen, and print the scores."""
    silence_dask()
    with Progress(Console(stderr=True, soft_wrap=True)) as progress:
        lines = list(run_demo(folder, Events(progress)))
    for line in lines:
        out.print(line)
