"""Every notebook runs whole in an empty folder and shows what it tells; git holds no outputs."""

import json
import re

import anndata
import nbformat
import pytest

from tests.support.notebook_runs import NOTEBOOKS, REPOSITORY, execute, read, stripped, text_of

FOLDER = REPOSITORY / "notebooks"
LINK = re.compile(r"\]\(([^)#:]+)\)")
BUSY_MACHINE = re.compile(
    r"distributed\.nanny - WARNING - Worker process still alive after .* killing$"
)
"""What Dask says where processes that close get little of the processor."""


class Ran:
    """A notebook after its run: what its cells have shown, and what was asked of it at the end."""

    def __init__(self, number, folder, asked="None"):
        [path] = FOLDER.glob(f"{number}_*.ipynb")
        book = read(path)
        question = nbformat.v4.new_code_cell(f"import json\nprint(json.dumps({asked}))")
        book.cells.append(question)
        self.displays = execute(book, folder).pictures
        self.outputs = {cell.id: cell.outputs for cell in book.cells if cell.cell_type == "code"}
        self.answer = json.loads(self.said(question.id))
        texts = [text for cell in self.outputs for text in self.texts(cell)]
        assert not [text for text in texts if "\x1b" in text], "codes of a terminal"
        assert not [text for text in texts if "\r" in text], "progress that is over"

    def said(self, cell, stream="stdout"):
        outputs = [out for out in self.outputs[cell] if out.output_type == "stream"]
        return "".join(out.text for out in outputs if out.name == stream)

    def texts(self, cell):
        """All that a cell has shown, but for pictures."""
        for out in self.outputs[cell]:
            yield out.get("text", "")
            yield out.get("data", {}).get("text/plain", "")

    def value(self, cell):
        [shown] = [out for out in self.outputs[cell] if out.output_type == "execute_result"]
        return shown.data["text/plain"]

    @property
    def complaints(self):
        said = "".join(self.said(cell, "stderr") for cell in self.outputs)
        return [line for line in said.splitlines() if not BUSY_MACHINE.search(line)]

    @property
    def drawn(self):
        return {
            cell
            for cell, outputs in self.outputs.items()
            if any("image/png" in out.get("data", {}) for out in outputs)
        }


@pytest.fixture(autouse=True)
def no_data(monkeypatch):
    """What notebooks do where nobody has real profiles."""
    monkeypatch.delenv("BALANS_DATA", raising=False)


@pytest.mark.long
def test_the_quick_start_mixes_plates_and_its_bar_moves(tmp_path):
    ran = Ran("01", tmp_path, "{name: share.batch_mixing for name, share in shares.items()}")
    assert not ran.complaints
    assert ran.drawn == {"maps"}
    assert ran.answer["before"] < 0.3 < 0.7 < ran.answer["align"]
    [shown] = ran.displays.values()
    texts = [picture["text/plain"] for picture in shown]
    assert len(set(texts)) > 5, "a picture for the beginning of every stage, and the end"
    of_sampling = [line for text in texts for line in text.splitlines() if "sampling rows" in line]
    assert " drawn, " not in of_sampling[0]
    assert " drawn, " in of_sampling[-1]
    [last] = [out.data for out in ran.outputs["correct"] if out.output_type == "display_data"]
    assert last == shown[-1]
    for stage in ("examining the input", "sampling rows", "correcting rows"):
        assert stage in last["text/html"]
    n_partitions = last["text/plain"].split("correcting rows")[1]
    done, total = n_partitions.split(" partitions")[0].split()[-3::2]
    assert done == total


@pytest.mark.long
def test_worker_processes_and_threads_give_equal_bytes(tmp_path):
    ran = Ran("02", tmp_path)
    assert not ran.complaints
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/status\n", ran.said("start"))
    before, after = map(float, re.findall(r"mixing (\S+),", ran.said("scores")))
    assert before + 0.2 < after
    assert ran.value("same") == "True"


MIXING = "[shares[name].batch_mixing for name in ('before', 'after')]"


@pytest.mark.long
def test_a_screen_goes_from_parquet_to_a_report(tmp_path):
    ran = Ran("03", tmp_path, MIXING)
    assert not ran.complaints
    assert ran.drawn == {"maps", "displacement", "coverage"}
    assert ran.answer[0] + 0.1 < ran.answer[1]
    assert "Coverage and landmarks" in (tmp_path / "report.html").read_text()


@pytest.mark.long
def test_so_does_a_real_screen(tmp_path, real_data, monkeypatch):
    monkeypatch.setenv("BALANS_DATA", str(real_data))
    ran = Ran("03", tmp_path, MIXING)
    assert not ran.complaints
    assert ran.said("data") == "CPJUMP1\n"
    assert ran.answer[0] + 0.1 < ran.answer[1]


@pytest.mark.long
def test_a_model_corrects_new_plates_and_warns_of_wells_that_it_does_not_know(tmp_path):
    ran = Ran("04", tmp_path, "[scored(similar[names]), scored(moved)]")
    assert not ran.complaints
    assert ran.drawn == {"look"}
    came, moved = (share["batch mixing"] for share in ran.answer)
    assert came + 0.1 < moved
    assert "are covered by no landmark of the model" in ran.said("guard")
    wells = anndata.read_zarr(tmp_path / "moved.zarr").obs
    known = wells["Metadata_treatment"].astype(str) < "T10"
    assert wells["balans_covered"][known].all()
    assert wells["balans_covered"][~known].mean() < 0.9


@pytest.mark.long
def test_draws_by_coverage_reach_every_tiny_cluster_and_uniform_ones_do_not(tmp_path):
    ran = Ran("05", tmp_path, "numbers.to_dict('list')")
    assert not ran.complaints
    assert ran.drawn == {"all-rows", "tiny-rows"}
    assert set(ran.answer["tiny: by coverage"]) == {1.0}
    assert max(ran.answer["tiny: uniform"]) < 0.9
    assert max(ran.answer["drawn at the stop"]) < min(ran.answer["needed by uniform"])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_git_holds_what_a_person_wrote_and_no_run(path):
    book = read(path)
    assert path.read_text() == text_of(stripped(book)), "`make lint` takes outputs out"
    nbformat.validate(book)
    assert len({cell.id for cell in book.cells}) == len(book.cells)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_its_links_lead_somewhere_and_its_shown_code_is_python(path):
    text = "\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")
    for link in LINK.findall(text):
        assert (FOLDER / link).exists(), link
    for block in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL):
        compile(block, path.name, "exec")


def test_the_table_names_all_of_them():
    assert re.findall(r"\((\d\d_\w+\.ipynb)\)", (FOLDER / "README.md").read_text()) == [
        path.name for path in NOTEBOOKS
    ]
