"""What the package says of itself agrees with itself."""

import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

import balans_dask
from balans_dask import errors
from balans_dask.errors import adding
from tests.support import REPOSITORY


def test_the_citation_names_this_version_and_the_paper():
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert citation["version"] == balans_dask.__version__
    assert citation["license"] == "BSD-3-Clause"
    paper = citation["preferred-citation"]
    assert paper["url"].endswith("2601.22331")
    assert paper["authors"][0]["family-names"] == "Ravi"


def test_the_changelog_begins_with_this_version():
    lines = (REPOSITORY / "CHANGELOG.md").read_text().splitlines()
    assert lines[2].startswith(f"## {balans_dask.__version__}")


def test_the_package_is_typed_and_runs_as_a_module():
    assert (Path(balans_dask.__file__).parent / "py.typed").is_file()
    done = subprocess.run(
        [sys.executable, "-m", "balans_dask", "--version"], capture_output=True, text=True
    )
    assert done.stdout == f"balans, version {balans_dask.__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [("-m", "balans_dask", "convert", "a.parquet", "b.zarr"), ("-c", "from balans_dask import pp")],
)
def test_a_python_without_assertions_is_refused_in_one_line(tmp_path, arguments):
    done = subprocess.run(
        [sys.executable, "-O", *arguments], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "start it without -O, and unset PYTHONOPTIMIZE" in done.stderr.splitlines()[-1]
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(find_spec("pip") is None, reason="needs pip")
def test_the_remedy_for_a_missing_extra_works_without_an_index():
    """Of a clone as of a package from elsewhere, pip takes the extras of what is installed."""
    remedy = shlex.split(adding("plot"))
    asked = [sys.executable, "-m", *remedy, "--dry-run", "--no-index"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "balans-dask[plot]" in done.stdout


def test_where_nothing_is_installed_the_remedy_is_that_of_a_clone(monkeypatch):
    monkeypatch.setattr(errors, "DISTRIBUTION", "no-such-distribution")
    assert adding("plot") == 'pip install ".[plot]" in the clone'


def test_all_remedies_come_from_one_place():
    package = REPOSITORY / "balans_dask"
    spelled = [path.name for path in package.rglob("*.py") if 'pip install "' in path.read_text()]
    assert spelled == ["errors.py"]
