"""What the package says of itself agrees with itself."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import balans_dask
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
