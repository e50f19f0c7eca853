"""What the README shows runs, and what it names exists."""

import re
from importlib import import_module

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


def test_its_figures_and_the_options_of_its_sweep_are_there():
    section = README[README.index("## Which settings") : README.index("## Figures")]
    options = {name for option in cli.commands["sweep"].params for name in option.opts}
    named = set(re.findall(r"--[a-z][a-z-]+", section))
    assert named - options == set()
    for name in re.findall(r"^\| `(balans_dask\.report\S+)` ", README, flags=re.MULTILINE):
        module, _, function = name.rpartition(".")
        assert hasattr(import_module(module), function)
