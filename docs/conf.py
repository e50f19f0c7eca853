"""How Sphinx builds the documentation: ``make docs``."""

import re
import runpy
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
COPIED = {
    "benchmarks": ("README.md", "*/results/*.*", "experiments/results/*/*"),
    "deploy": ("README.md",),
    "notebooks": ("README.md", "*.ipynb"),
}
"""Folders of the repository that have pages, or what pages link to."""


def copy_pages(app: Sphinx, config: Config) -> None:
    """Put pages where Sphinx finds them; it knows none outside this folder."""
    for folder, patterns in COPIED.items():
        source, copy = HERE.parent / folder, HERE / folder
        shutil.rmtree(copy, ignore_errors=True)
        for path in (path for pattern in patterns for path in source.glob(pattern)):
            place = copy / path.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, place)


def draw_rooms(app: Sphinx, config: Config) -> None:
    """Draw the rooms as they are, so that their picture is never an older one."""
    runpy.run_path(str(HERE / "rooms.py"))["draw"]()


def link_copies(app: Sphinx, page: str, source: list[str]) -> None:
    """Lead links to these pages and from them, which are right in the repository, to the copies."""
    if page.split("/")[0] in COPIED:
        source[0] = source[0].replace("](../docs/", "](../")
    else:
        for folder in COPIED:
            source[0] = source[0].replace(f"](../{folder}/", f"]({folder}/")


def escape(app: Sphinx, context: object, lines: list[str]) -> None:
    """Keep ``Metadata_`` of a command's help from being read as a link."""
    lines[:] = [re.sub(r"_(?!\w)", r"\\_", line) for line in lines]


def setup(app: Sphinx) -> None:
    """Register what this file adds to Sphinx."""
    app.connect("config-inited", copy_pages)
    app.connect("config-inited", draw_rooms)
    app.connect("source-read", link_copies)
    app.connect("sphinx-click-process-description", escape)
