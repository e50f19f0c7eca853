"""Options of every command that takes a store: how buckets are reached."""

import json
from typing import Any

import click

from balans_dask.cli.config import UNEXPOSED
from balans_dask.cli.options import option_group
from balans_dask.errors import HIDDEN, public_option
from balans_dask.io.storage_options import storage_options

__all__ = ["STORAGE_OPTIONS"]


def _take(context: click.Context, option: click.Parameter, given: tuple[str, ...]) -> None:
    """Reach buckets so while the command runs."""
    context.with_resource(storage_options(**dict(map(_parted, given))))
    if given:
        _tell(context, "storage-option", [public_option(each) for each in given])


def _anonymously(context: click.Context, option: click.Parameter, given: bool) -> None:
    if given:
        context.with_resource(storage_options(anon=True))
        _tell(context, "anonymous", True)


def _tell(context: click.Context, name: str, told: Any) -> None:
    """Let the configuration of a run name an option that no command gets."""
    context.meta.setdefault(UNEXPOSED, {})[name] = told


def _parted(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    if value == HIDDEN:
        raise click.BadParameter(f"write the value of {name} in the place of {HIDDEN}")
    if not name.isidentifier() or not value:
        # Not repeated, as it may be a secret.
        raise click.BadParameter("give KEY=VALUE, as in endpoint_url=http://host:9000")
    return name, _value(name, value)


def _value(name: str, text: str) -> Any:
    """Read a switch or a nested option; all else is text, such as a key of digits."""
    if text in ("true", "false") or text.startswith("{"):
        try:
            return json.loads(text)
        except ValueError:
            raise click.BadParameter(f"the value of {name} begins like JSON and is none") from None
    return text


STORAGE_OPTIONS = option_group(
    click.option(
        "--storage-option",
        multiple=True,
        metavar="KEY=VALUE",
        expose_value=False,
        callback=_take,
        help="How s3:// and gs:// are reached, such as endpoint_url=http://host:9000; repeat it.",
    ),
    click.option(
        "--anonymous",
        is_flag=True,
        expose_value=False,
        callback=_anonymously,
        help="Reach buckets without keys: public ones.",
    ),
)
