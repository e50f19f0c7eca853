"""The command line: a file has the options of its commands and what they do."""

from typing import Any

import click

from balans_dask.errors import printable

__all__ = ["say_warning"]


def say_warning(message: Any, *args: Any, **kwargs: Any) -> None:
    """Say a warning, in the place of Python's own way to show one."""
    click.echo(f"balans: warning: {printable(message)}", err=True)
