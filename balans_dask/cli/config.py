"""``--config run.toml``: options from a file, with the names of the flags, which win over it."""

import copy
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click
import tomli_w

import balans_dask
from balans_dask.cli.options import TITLES, UNEXPOSED, option_group
from balans_dask.errors import InvalidInputError, did_you_mean, public

__all__ = ["CONFIG_OPTION", "PRINT_OPTIONS", "ConfigurableCommand", "resolved"]

PRINTS = "balans_dask.print_config"
NEVER = {"config", "print_config"}
"""Options of which a file says nothing."""
FIRST = (
    *("--batch-key", "--label-key", "--preset", "--sphering", "--shared-populations"),
    *("--model", "--resume", "--overwrite", "--workers", "--cluster"),
)
"""What a screen asks for: its columns, its controls and design, plates to come, a run that was
stopped or is to be replaced, and the machine. They stand first in the help of every command."""


def _read(context: click.Context, option: click.Parameter, path: str | None) -> None:
    if path is not None:
        given = _options_of(path, context)
        context.default_map = {**(context.default_map or {}), **given}


OPTIONS_IN_FILES = "Options in files"
CONFIG_OPTION = option_group(
    click.option(
        "--config",
        metavar="FILE",
        is_eager=True,
        expose_value=False,
        callback=_read,
        help="Take options from this TOML file; flags win over it.",
    ),
    title=OPTIONS_IN_FILES,
)
PRINT_OPTIONS = option_group(
    CONFIG_OPTION,
    click.option(
        "--print-config",
        is_flag=True,
        expose_value=False,
        help="Print all options as such a file, and do nothing else.",
    ),
    title=OPTIONS_IN_FILES,
)


class ConfigurableCommand(click.Command):
    """A command whose options may come from a file, and can be printed as one.

    Its help begins with what most runs ask for; the rest stands under headings.
    """

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options."""
        sections: dict[str, dict[str, tuple[str, str]]] = {"Options": {}}
        for param in self.get_params(ctx):
            record, flag = param.get_help_record(ctx), param.opts[-1]
            if record is not None and isinstance(param, click.Option):
                title = "Options" if flag in FIRST else TITLES.get(param, "Options")
                sections.setdefault(title, {})[flag] = record
        shown = sections["Options"]
        first = {flag: shown[flag] for flag in FIRST if flag in shown}
        sections["Options"] = first | shown
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(list(records.values()))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse; nothing is missing where options are only printed."""
        ctx.meta[PRINTS] = "--print-config" in args
        return super().parse_args(ctx, args)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the parameters."""
        params = super().get_params(ctx)
        if not ctx.meta.get(PRINTS):
            return params
        # The others stay what they are: click processes them in the order of the command line.
        return [_optional(param) if param.required else param for param in params]

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, or print its options."""
        if not ctx.meta[PRINTS]:
            return super().invoke(ctx)
        click.echo(f"# balans {self.name}, balans_dask {balans_dask.__version__}")
        click.echo(tomli_w.dumps(resolved(ctx)), nl=False)
        return None


def resolved(context: click.Context) -> dict[str, Any]:
    """Return the options of a command as they came out, by flag; without those that are not set.

    In the place of a secret are dots, which no command takes for one.
    """
    found: dict[str, Any] = {}
    for option in _configurable(context.command.params):
        value = context.params.get(str(option.name))
        if value not in (None, ()):
            found[_key(option)] = _told(value)
    found.update(context.meta.get(UNEXPOSED, {}))
    return found


def _told(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_told(each) for each in value]
    return public(value) if isinstance(value, str) else value


def _optional(param: click.Parameter) -> click.Parameter:
    """Return a copy that may be missing."""
    other = copy.copy(param)
    other.required = False
    return other


def _configurable(params: Iterable[click.Parameter]) -> list[click.Option]:
    return [
        param for param in params if isinstance(param, click.Option) and param.name not in NEVER
    ]


def _key(option: click.Option) -> str:
    return max(option.opts, key=len).removeprefix("--")


def _options_of(path: str, context: click.Context) -> dict[str, Any]:
    """Read the options of one command: those above all tables, and those in its own."""
    command, table = str(context.info_name), _table(path)
    parent = context.parent.command if context.parent is not None else None
    commands = list(parent.commands) if isinstance(parent, click.Group) else [command]
    options = {_key(option): option for option in _configurable(context.command.params)}
    tables = {name: value for name, value in table.items() if isinstance(value, Mapping)}
    for name in tables.keys() - set(commands):
        raise InvalidInputError(f"{path}: unknown table [{name}]{did_you_mean(name, commands)}")
    shared = {name: value for name, value in table.items() if name not in tables}
    found = {}
    for name, value in {**shared, **tables.get(command, {})}.items():
        key = name.replace("_", "-")
        if key not in options:
            raise InvalidInputError(
                f"{path}: balans {command} has no option {name}{did_you_mean(key, options)}"
            )
        found[str(options[key].name)] = _checked(path, name, options[key], value, context)
    return found


def _table(path: str) -> dict[str, Any]:
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInputError(
            f"--config {path} cannot be read ({error.strerror}): check the path"
        ) from error
    except ValueError as error:
        raise InvalidInputError(f"{path} is no TOML file: {error}") from error


def _checked(path: str, name: str, option: click.Option, value: Any, context: click.Context) -> Any:
    """Return a value as the command line would take it, refusing one of another type."""
    kind = "text"
    if option.is_flag:
        kind, fits = "true or false", isinstance(value, bool)
    elif option.multiple:
        value = [value] if isinstance(value, str) else value
        kind = "text or a list of texts"
        fits = isinstance(value, list) and all(isinstance(each, str) for each in value)
    elif isinstance(option.type, click.types.IntParamType):
        kind, fits = "a whole number", _is_number(value, int)
    elif isinstance(option.type, click.types.FloatParamType):
        kind, fits = "a number", _is_number(value, int | float)
    elif option.callback is not None:
        # The command line takes text here and reads numbers in it, or a list with commas.
        values = value if isinstance(value, list) else [value]
        kind = f"as in --{_key(option)} {option.metavar}"
        fits = all(isinstance(each, str) or _is_number(each, int | float) for each in values)
        value = ",".join(map(str, values))
    else:
        fits = isinstance(value, str)
    if not fits:
        # What a command keeps to itself, how buckets are reached, may be a secret.
        got = f", got {value!r}" if option.expose_value else ""
        raise InvalidInputError(f"{path}: {name} must be {kind}{got}")
    try:
        option.type_cast_value(context, value)
    except click.BadParameter as error:
        raise InvalidInputError(f"{path}: {name}: {error.message}") from error
    return value


def _is_number(value: Any, kinds: Any) -> bool:
    return isinstance(value, kinds) and not isinstance(value, bool)
