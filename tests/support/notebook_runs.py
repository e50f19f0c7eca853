"""Notebooks, each run whole by a kernel of its own: for the tests and for ``make notebooks``.

``python -m tests.support.notebook_runs`` leaves executed copies and what they wrote in
``build/notebooks``; with ``--strip`` it takes outputs and counts out of the notebooks themselves.
"""

import os
import shutil
import sys
import time
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

from tests.support import REPOSITORY

NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
LONGEST_CELL_SECONDS = 240


class Recorded(NotebookClient):
    """A notebook that keeps every picture that a display was given."""

    def process_message(self, msg, cell, cell_index):
        if msg["msg_type"] in ("display_data", "update_display_data"):
            place = msg["content"].get("transient", {}).get("display_id")
            self.pictures[place].append(msg["content"]["data"])
        return super().process_message(msg, cell, cell_index)


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def execute(book: NotebookNode, folder: Path) -> Recorded:
    """Run all cells in a folder, with this interpreter, its commands and settings of nobody."""
    with TemporaryDirectory() as settings, pytest.MonkeyPatch.context() as patch:
        for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
            patch.setenv(name, settings)
        patch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        resources = {"metadata": {"path": str(folder)}}
        client = Recorded(
            book,
            kernel_name="python3",
            resources=resources,
            timeout=LONGEST_CELL_SECONDS,
            # It warns that it listens on loopback without encryption.
            extra_arguments=["--log-level=ERROR"],
        )
        client.pictures = defaultdict(list)
        client.execute()
    return client


def stripped(book: NotebookNode) -> NotebookNode:
    """A notebook without what a run or an editor has left in it."""
    book = nbformat.from_dict(book)
    book.metadata = nbformat.from_dict({"kernelspec": KERNEL})
    for cell in book.cells:
        cell.metadata = nbformat.from_dict({})
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return book


def text_of(book: NotebookNode) -> str:
    """How a notebook stands in its file."""
    return nbformat.writes(book) + "\n"


def main() -> None:
    for path in NOTEBOOKS:
        if sys.argv[1:] == ["--strip"]:
            path.write_text(text_of(stripped(read(path))))
            continue
        folder = REPOSITORY / "build" / "notebooks" / path.stem
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        book, start = read(path), time.monotonic()
        try:
            execute(book, folder)
        finally:
            (folder / path.name).write_text(text_of(book))
        print(f"{time.monotonic() - start:5.1f} s  {(folder / path.name).relative_to(REPOSITORY)}")


if __name__ == "__main__":
    main()
