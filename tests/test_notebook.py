"""The bar of a fit in a notebook moves: a notebook is executed, and its messages are read."""

from collections import defaultdict

import nbformat
import pytest
from conftest import REPOSITORY
from nbclient import NotebookClient

CELL = """
import numpy as np
from balans_dask import correct_batches

rng = np.random.default_rng(0)
plate = rng.integers(4, size=30_000)
X = rng.normal(size=(8, 20))[rng.integers(8, size=30_000)] + 0.3 * rng.normal(size=(4, 20))[plate]
X += rng.normal(size=X.shape)
Z = correct_batches(X, plate, n_components=None, block_rows=16, verbose=True)
"""


class Recorded(NotebookClient):
    """A notebook that keeps every picture that a display was given."""

    def process_message(self, msg, cell, cell_index):
        if msg["msg_type"] in ("display_data", "update_display_data"):
            place = msg["content"]["transient"]["display_id"]
            self.pictures[place].append(msg["content"]["data"])
        return super().process_message(msg, cell, cell_index)


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    folder = tmp_path_factory.mktemp("jupyter")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR"):
            patch.setenv(f"JUPYTER_{name}", str(folder / name))
        patch.setenv("IPYTHONDIR", str(folder / "ipython"))
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
        client = Recorded(
            book, kernel_name="python3", resources={"metadata": {"path": str(REPOSITORY)}}
        )
        client.pictures = defaultdict(list)
        client.execute()
    return book, client.pictures


def test_one_display_is_drawn_again_and_again(notebook):
    _, pictures = notebook
    [shown] = pictures.values()
    texts = [picture["text/plain"] for picture in shown]
    assert len(set(texts)) > 5, "a picture for the beginning of every stage, and the end"
    of_sampling = [line for text in texts for line in text.splitlines() if "sampling rows" in line]
    assert " drawn, " not in of_sampling[0]
    assert " drawn, " in of_sampling[-1]


def test_the_saved_notebook_holds_the_last_picture_and_no_errors(notebook):
    book, pictures = notebook
    [shown] = pictures.values()
    [cell] = book.cells
    outputs = [output for output in cell.outputs if output.output_type != "stream"]
    assert [output.output_type for output in outputs] == ["display_data"]
    last = outputs[0].data
    assert last == shown[-1]
    for stage in ("examining the input", "sampling rows", "correcting rows"):
        assert stage in last["text/html"]
    n_partitions = last["text/plain"].split("correcting rows")[1]
    done, total = n_partitions.split(" partitions")[0].split()[-3::2]
    assert done == total
