"""What the package says of itself agrees with itself."""

import subprocess
import sys
from pathlib import Path

import yaml
from conftest import REPOSITORY

import balans_dask


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
