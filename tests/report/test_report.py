"""A report is one file that stands alone, and says what matters."""

import re
import sys
import warnings
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from balans_dask.report.document import write_report
from balans_dask.report.page import passes_text
from balans_dask.report.run_sections import stage_times
from balans_dask.workflows.mixture import Mixture, write_mixture
from tests.report.pages import Page, confounded, corrected, picture, report
from tests.support.commands import streams
from tests.support.screens import gaussian_screen
from tests.support.stores import files

HOSTILE = [
    "<script>alert(1)</script>",
    "a & b",
    '"x" onload="y',
    "$x_{",
    "_hidden",
    "Ω\u202e💥",
    "\n",
]
PNG = b"\x89PNG"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    is_control = gaussian_screen(400, n_features=6).label == 0
    kind = np.where(is_control, "negcon", "trt")
    return corrected(folder, "--n-passes", 2, "--operator", "displace", Metadata_pert_type=kind)


@pytest.fixture(scope="module")
def page(store):
    return report(store, "--overwrite")


def test_one_file_without_script_or_other_files_shows_all_sections(store):
    before = files(store)
    page = report(store, "--overwrite")
    assert "script" not in page.tags
    local = [f"#{name}" for name in page.ids]
    assert all(link.startswith("data:") or link in local for link in page.links)
    assert page.tags.count("h1") == 1
    for section in ("Scores", "Maps before and after", "Batches against labels",
                    "How far rows moved", "Mixing by batch", "Labels that gained and lost most",
                    "The command", "What was run", "Coverage and landmarks"):  # fmt: skip
        assert section in page.words
    for fact in ("Displace, 2 passes", "patience", "numpy", "sampling rows", "Metadata_compound"):
        assert fact in page.words
    assert files(store) == before


def test_every_picture_is_inside_the_page_sound_and_described(page):
    images = page.images
    maps, displacements, meetings, landmarks = 4, 1, 2, 4
    assert len(images) == maps + displacements + meetings + landmarks
    for image in images:
        assert len(image["alt"]) > 20
        content = picture(image)
        if not content.startswith(PNG):
            assert ET.fromstring(content).tag.endswith("svg")
    alts = " ".join(image["alt"] for image in images)
    for what in ("before, by batch", "after, by label", "neighbours, after"):
        assert what in alts


def test_equal_stores_make_equal_reports(store, page):
    assert report(store, "--overwrite").source == page.source


def test_text_of_the_users_is_never_markup(tmp_path):
    text = np.array(HOSTILE, dtype=object)[np.arange(400) % len(HOSTILE)]
    batch = np.array(HOSTILE, dtype=object)[np.arange(400) % (len(HOSTILE) - 1)]
    out = corrected(tmp_path, "--max-rows", 64, Metadata_compound=text, Metadata_Plate=batch)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        html = str(tmp_path / "r.html")
        write_report(str(out), html, control=f"Metadata_compound == {HOSTILE[0]!r}")
    page = Page((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "script" not in page.tags
    assert not any("onload" in image for image in page.images)
    assert HOSTILE[0] in page.words
    assert HOSTILE[0] not in page.source


def test_confounding_is_warned_of_and_only_where_it_is(tmp_path, page):
    bad = report(corrected(tmp_path, "--max-rows", 64, Metadata_compound=confounded()))
    assert "Batch and Metadata_compound are confounded: 15 of 15 labels" in bad.words
    assert "Metadata_compound: confounded with batch" in bad.words
    assert "are confounded" not in page.words
    assert "Metadata_compound: not confounded with batch" in page.words


def test_of_columns_of_labels_those_that_are_confounded_are_drawn(tmp_path):
    out = corrected(tmp_path, "--max-rows", 64, Metadata_treatment=confounded())
    page = report(out)
    assert "Metadata_treatment: confounded with batch" in page.words
    maps = [image["alt"] for image in page.images if "by batch. " in image["alt"]]
    assert [alt.split()[3] for alt in maps] == ["Metadata_treatment"]


def test_without_its_input_a_report_says_so_and_shows_what_is_left(tmp_path):
    out = corrected(tmp_path)
    (tmp_path / "in.zarr").rename(tmp_path / "elsewhere.zarr")
    (tmp_path / "out.zarr.events.jsonl").unlink()
    page = report(out)
    assert (
        "There are no maps from before: the input in.zarr is no longer where it was" in page.words
    )
    assert "Wall times were not noted" in page.words
    assert not any("before, by" in image["alt"] for image in page.images)
    assert any("after, by batch" in image["alt"] for image in page.images)
    assert "Not judged There is nothing to compare with: the input in.zarr" in page.words


@pytest.mark.long
@pytest.mark.parametrize("layer", [pytest.param([], marks=pytest.mark.long), ["--layer"]])
def test_a_store_with_added_scores_shows_them_beside_what_they_were(tmp_path, layer):
    corrected(tmp_path)
    store = tmp_path / "in.zarr"
    smooth = ["--batch-key", "Metadata_Plate", "--operator", "smooth"]
    streams("correct", store, "--into", *layer, *smooth)
    added, new = report(store), report(tmp_path / "out.zarr")
    assert "There are no maps" not in added.words
    pictures = [
        {image["alt"]: picture(image) for image in page.images if image["alt"].startswith("Map of")}
        for page in (added, new)
    ]
    assert pictures[0] == pictures[1]


def test_a_store_corrected_by_a_model_has_a_report(tmp_path):
    corrected(tmp_path, "--model", tmp_path / "M.zarr")
    new = tmp_path / "new.zarr"
    streams("transform", tmp_path / "M.zarr", tmp_path / "in.zarr", new, "--batch-key",
            "Metadata_Plate")  # fmt: skip
    page = report(new)
    assert "corrected by a frozen model" in page.words


def test_without_libraries_of_scores_one_line_says_how_to_get_them(store, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "scib_metrics", None)
    html = tmp_path / "r.html"
    streams("report", store, "--html", html, "--evaluate")
    words = Page(html.read_text(encoding="utf-8")).words
    assert "Not computed: scores need scib_metrics" in words
    assert 'pip install "balans-dask[evaluate]"' in words


def test_no_evaluate_works_for_one_more_version_and_says_that_it_will_go(store, tmp_path):
    html = tmp_path / "r.html"
    said = streams("report", store, "--html", html, "--no-evaluate")[1]
    assert "balans: warning: --no-evaluate is what a report does by default" in said
    assert html.exists()


def test_refusals_leave_the_file_that_is_there(store, tmp_path):
    html = tmp_path / "r.html"
    html.write_text("mine")
    refused = [
        (["report", store, "--html", html], "add --overwrite"),
        (["report", store, "--html", tmp_path / "no" / "r.html"], "create it first"),
        (["report", store, "--html", tmp_path, "--overwrite"], "is a folder"),
        (["report", store.parent / "in.zarr", "--html", tmp_path / "x"], "balans correct"),
        (["report", store, "--html", tmp_path / "x", "--label-key", "L"], "no column 'L'"),
        (["report", store, "--html", tmp_path / "x", "--control", "f()"], "cannot be used"),
    ]
    for command, reason in refused:
        said = streams(*command, code=2)[1]
        assert reason in said
        assert said.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["r.html"]
    assert html.read_text() == "mine"


def test_without_the_plot_extra_one_line_says_what_to_install(store, tmp_path, monkeypatch):
    monkeypatch.setattr("balans_dask.report.find_spec", lambda name: None)
    said = streams("report", store, "--html", tmp_path / "r.html", code=2)[1]
    assert said.endswith(': pip install "balans-dask[plot]"\n')


@pytest.mark.long
def test_a_large_store_makes_a_small_file(tmp_path):
    out = tmp_path / "out.zarr"
    write_mixture(Mixture(40_000, 10, n_batches=60), str(tmp_path / "in.zarr"))
    streams("correct", tmp_path / "in.zarr", out, "--batch-key", "Metadata_batch", "--n-components",
            0, "--max-rows", 64)  # fmt: skip
    page = report(out, "--label-key", "Metadata_treatment")
    assert len(page.source) < 2_000_000
    assert re.search(r"5,000 of 40,000 rows, drawn at random", page.words)


def test_passes_of_align_are_its_local_steps():
    assert passes_text("align", 2) == "align, 2 local steps"
    assert passes_text("align", 1) == "align, 1 local step"
    assert passes_text("smooth", 1) == "smooth, 1 pass"
    assert passes_text("displace", 3) == "displace, 3 passes"


def test_times_of_all_attempts_are_added_up():
    def event(attempt, seconds, stage, peak=1):
        return {"attempt": attempt, "seconds": seconds, "stage": stage, "pass": 1,
                "peak_bytes": peak}  # fmt: skip

    events = [
        event("a", 1.0, "sampling rows"), event("a", 3.0, "sampling rows", 7),
        event("b", 0.5, "sampling rows"), event("b", 4.5, "writing"), event("b", 6.0, "done"),
    ]  # fmt: skip
    found = {stage.name: (stage.seconds, stage.peak_bytes) for stage in stage_times(events)}
    assert found["examining the input"] == (1.5, 1)
    assert found["sampling rows"] == (6.0, 7)
    assert found["writing"] == (1.5, 1)


def test_pages_that_are_torn_are_noticed_by_these_tests():
    with pytest.raises(AssertionError):
        Page("<p><b></p>")
