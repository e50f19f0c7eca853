"""What the README shows runs, and what it names exists; `test_docs.py` has the rest."""

import re

import pytest

from benchmarks.experiments.results_page import anchor
from tests.repository.test_docs import OPTION, OPTIONS, commands
from tests.support import REPOSITORY

README = (REPOSITORY / "README.md").read_text()


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL))
def test_its_python_runs(block, capsys):
    exec(compile(block, "README.md", "exec"), {})
    assert "(3000, 60)" in capsys.readouterr().out


def test_its_commands_and_their_options_are_those_of_the_program():
    found = list(commands(README))
    assert len(found) == 6
    for words in found:
        assert {word for word in words if OPTION.fullmatch(word)} <= OPTIONS[words[0]]


def test_every_claim_in_figures_leads_to_a_measurement():
    section = README.partition("\n## In figures\n")[2].partition("\n## ")[0]
    claims = re.split(r"^- ", section.partition("\n[Benchmarks]")[0], flags=re.MULTILINE)[1:]
    assert len(claims) >= 4
    for claim in claims:
        links = re.findall(r"\]\(([^)#]+)#?([^)]*)\)", claim)
        assert links, claim
        for link, place in links:
            path = REPOSITORY / link
            assert path.is_file(), link
            assert path.name == "results.md" or "results" in path.parent.parts, link
            headings = re.findall(r"^#+ (.*)$", path.read_text(), flags=re.MULTILINE)
            assert not place or place in [anchor(heading) for heading in headings], place
