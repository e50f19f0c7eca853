"""What the README shows runs, and what it names exists; `test_docs.py` has the rest."""

import re

import pytest
from conftest import REPOSITORY
from test_docs import OPTION, OPTIONS, commands

README = (REPOSITORY / "README.md").read_text()


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL))
def test_its_python_runs(block, capsys):
    exec(compile(block, "README.md", "exec"), {})
    assert "(3000, 60)" in capsys.readouterr().out


def test_its_commands_and_their_options_are_those_of_the_program():
    found = list(commands(README))
    assert len(found) == 5
    for words in found:
        assert {word for word in words if OPTION.fullmatch(word)} <= OPTIONS[words[0]]
