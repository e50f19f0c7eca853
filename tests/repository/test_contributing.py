"""CONTRIBUTING.md names every way to run more than the default tests; what it names is there."""

import re

from tests.support import REPOSITORY

PAGE = (REPOSITORY / "CONTRIBUTING.md").read_text()
MAKEFILE = (REPOSITORY / "Makefile").read_text()
TARGETS = {
    *re.findall(r"^run-(\S+) :?=", MAKEFILE, flags=re.MULTILINE),
    *re.findall(r"^([a-z][a-z-]+):", MAKEFILE, flags=re.MULTILINE),
}
CALL = re.compile(r"(?:^ *|run: |`)make (?:[A-Z]+=\S+ )*([a-z][a-z-]+)", flags=re.MULTILINE)


def test_every_target_is_named_and_there():
    named = set(re.findall(r"\bmake (?:VENV=\S+ PYTHON=\S+ )?([a-z][a-z-]+)", PAGE))
    assert TARGETS - named == {"docs", "clean"}
    assert named <= TARGETS


def test_others_call_targets_that_are_there():
    for path in (".ci/run", ".github/workflows/ci.yml", "README.md", "benchmarks/README.md"):
        text = (REPOSITORY / path).read_text()
        called = CALL.findall(text)
        assert called
        assert set(called) <= TARGETS


def test_files_and_links_lead_somewhere():
    places = (REPOSITORY, REPOSITORY / "balans_dask")
    named = {
        *re.findall(r"`(?!build/)([\w/]+/[\w.]*)`", PAGE),
        *re.findall(r"\]\(([^)#]+)\)", PAGE),
    }
    assert len(named) > 15
    assert not [name for name in named if not any((place / name).exists() for place in places)]
