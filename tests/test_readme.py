"""What the README shows runs, and what it names exists."""

import re

import pytest
from conftest import REPOSITORY

from balans_dask.cli import cli

README = (REPOSITORY / "README.md").read_text()


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL))
def test_its_python_runs(block, capsys):
    exec(compile(block, "README.md", "exec"), {})
    assert "(3000, 60)" in capsys.readouterr().out


def test_its_options_are_those_of_the_command():
    table = README[README.index("| option of") : README.index("Exit codes")]
    named = set(re.findall(r"--[a-z][a-z-]+", table))
    options = [name for option in cli.commands["correct"].params for name in option.opts]
    assert named == {name for name in options if name.startswith("--")}


def test_its_commands_are_those_of_the_program():
    named = set(re.findall(r"^    balans (\w+)", README, flags=re.MULTILINE))
    assert named <= set(cli.commands)
