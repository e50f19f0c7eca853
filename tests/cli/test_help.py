"""What `--help` says: every option in a line, the defaults, and first what matters first."""

import click
import pytest

from balans_dask.cli.app import cli
from balans_dask.cli.config import FIRST, ConfigurableCommand
from tests.support.commands import streams

COMMANDS = cli.commands
NAMED = {
    *("--anonymous", "--by", "--control", "--controls", "--compound-key", "--config", "--csv"),
    *("--html", "--json", "--label-key", "--leave-out", "--model", "--normalize", "--obsm"),
    *("--pattern", "--peers", "--performance-report", "--plot", "--preset", "--scratch"),
    *("--select", "--sphering", "--storage-option", "--transform", "--batch-key"),
}
"""Options of what is not done, read or written unless they name it; others have a default."""


def options():
    for name, command in COMMANDS.items():
        for option in command.params:
            if isinstance(option, click.Option) and not option.hidden:
                yield pytest.param(command, option, id=f"{name} {option.opts[-1]}")


def sections(name):
    """Flags under every heading of the help of a command."""
    found, title = {}, ""
    for line in streams(name, "--help")[0].splitlines():
        if line.endswith(":") and not line.startswith(" "):
            title = line[:-1]
        elif line.startswith("  -"):
            found.setdefault(title, []).append(line.split()[0])
    return found


@pytest.mark.parametrize(("command", "option"), [*options()])
def test_every_option_has_a_line_and_its_default_is_shown_or_said(command, option):
    context = click.Context(command)
    _, said = option.get_help_record(context)
    text, _, _ = said.partition("[default:")
    assert text.strip()
    if option.is_flag and not option.secondary_opts:
        return
    assert "default" in said.lower() or option.opts[-1] in NAMED or option.required
    if option.to_info_dict()["default"] not in (None, (), [], ""):
        assert "[default: " in said


def test_correct_begins_with_the_ten_options_that_matter_first():
    found = sections("correct")
    assert found.pop("Options") == [*FIRST, "-h,"]
    assert len(FIRST) == 10
    assert list(found) == ["Method", "Output", "Cluster", "Storage", "Options in files"]
    flags = {option.opts[-1] for option in COMMANDS["correct"].params}
    assert {flag for section in found.values() for flag in section} >= {
        flag for flag in flags if flag.startswith("--") and flag not in FIRST
    }


@pytest.mark.parametrize(
    "name", [name for name, each in COMMANDS.items() if isinstance(each, ConfigurableCommand)]
)
def test_other_commands_begin_alike(name):
    found = sections(name)
    shown = [flag for flag in found["Options"] if flag in FIRST]
    assert shown == found["Options"][: len(shown)] == [flag for flag in FIRST if flag in shown]
    assert "--storage-option" in found["Storage"]
    assert "--config" in found["Options in files"]


@pytest.mark.parametrize("name", [*COMMANDS])
def test_help_fits_80_columns_and_leaves_arguments_to_the_first_line(name):
    lines = streams(name, "--help")[0].splitlines()
    assert max(map(len, lines)) <= 80
    assert not {line.strip() for line in lines} & {"SOURCE", "[TARGET]", "STORES..."}
