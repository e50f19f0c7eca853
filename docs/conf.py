"""How Sphinx builds the documentation: ``make docs``."""

import re
import shutil
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.config import Config

import balans_dask

project = "balans_dask"
author = "the balans_dask developers"
copyright = f"2026, {author}"
version = release = balans_dask.__version__

extensions = ["myst_parser", "numpydoc", "sphinx.ext.autodoc", "sphinx_click"]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"balans_dask {release}"
html_copy_source = False
html_show_sourcelink = False

myst_heading_anchors = 3

# The sections of numpydoc name types, in words that users know.
autodoc_typehints = "none"
numpydoc_show_class_members = False

HERE = Path(__file__).parent
BENCHMARKS = HERE.parent / "benchmarks"
COPIED = ("README.md", "results/*")


def copy_measurements(app: Sphinx, config: Config) -> None:
    """Put the measurements where Sphinx finds pages; it knows none outside this folder."""
    shutil.rmtree(HERE / "benchmarks", ignore_errors=True)
    (HERE / "benchmarks" / "results").mkdir(parents=True)
    for pattern in COPIED:
        for path in BENCHMARKS.glob(pattern):
            shutil.copy2(path, HERE / "benchmarks" / path.relative_to(BENCHMARKS))


def link_copies(app: Sphinx, page: str, source: list[str]) -> None:
    """Lead links to the measurements, which are right in the repository, to their copies."""
    source[0] = source[0].replace("](../benchmarks/", "](benchmarks/")


def escape(app: Sphinx, context: object, lines: list[str]) -> None:
    """Keep ``Metadata_`` of a command's help from being read as a link."""
    lines[:] = [re.sub(r"_(?!\w)", r"\\_", line) for line in lines]


def setup(app: Sphinx) -> None:
    """Register what this file adds to Sphinx."""
    app.connect("config-inited", copy_measurements)
    app.connect("source-read", link_copies)
    app.connect("sphinx-click-process-description", escape)
