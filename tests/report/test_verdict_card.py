"""What a report says first, in words, and what stands below it."""

import re
import shlex

import numpy as np
import pytest

from balans_dask.evaluate.sweep import Grid
from balans_dask.evaluate.sweep.store import sweep_store
from balans_dask.evaluate.table import BLOCKS, SHUFFLED, EvaluationTable
from balans_dask.io.store import open_store
from balans_dask.report.maps import before_after_figure, principal_plane
from balans_dask.report.page import shown
from balans_dask.report.run_figures import displacement_figure, scales_figure, shares_figure
from balans_dask.report.source import reported
from balans_dask.report.verdict_sections import side_tables
from balans_dask.workflows.records import correction_record
from tests.report.pages import Page, corrected, report
from tests.support.commands import run, streams
from tests.support.screens import gaussian_screen
from tests.support.stores import write_anndata

ALIGN = ("--operator", "align")
LABELLED = ("--batch-key", "Metadata_Plate", "--label-key", "Metadata_compound")


@pytest.fixture(scope="module")
def shifted(tmp_path_factory):
    """Plates that share all compounds and are far apart."""
    folder = tmp_path_factory.mktemp("shifted")
    screen = gaussian_screen(600, n_features=12, n_batches=2, offset=1.5)
    obs = {"Metadata_Plate": screen.batch, "Metadata_compound": screen.label.astype(str)}
    write_anndata(folder / "in.zarr", screen.profiles, **obs)
    return folder


def page_of(folder, *options, label="Metadata_compound"):
    streams("correct", folder / "in.zarr", folder / "out.zarr", "--overwrite", "--batch-key",
            "Metadata_Plate", *options)  # fmt: skip
    return report(folder / "out.zarr", "--overwrite", "--label-key", label)


def test_plates_that_share_their_compounds_are_better_corrected(shifted):
    page = page_of(shifted)
    assert "Better than uncorrected Batches mix better than before" in page.words
    assert "gained: +0." in page.words
    assert "Warnings" not in page.words


def test_rows_that_keep_their_place_are_held_back_and_why_is_said(shifted):
    page = page_of(shifted, "--strength", 0)
    assert "Held back Batches mix as before, within noise" in page.words
    assert "The strength asked for was 0, of 1." in page.words
    assert "None gained or lost any." in page.words


def test_labels_that_a_correction_smooths_away_make_it_worse_and_a_warning_says_what_to_do(
    tmp_path,
):
    rng = np.random.default_rng(0)
    plate = np.arange(480) % 4
    # Plates 0 and 1 have other compounds than 2 and 3, and smoothing matches them all the same.
    label = np.arange(480) // 4 % 6 + 6 * (plate // 2)
    profiles = 2 * rng.normal(size=(12, 10))[label] + rng.normal(size=(480, 10))
    obs = {"Metadata_Plate": plate.astype(str), "Metadata_compound": label.astype(str)}
    write_anndata(tmp_path / "in.zarr", profiles.astype(np.float32), **obs)
    streams("correct", tmp_path / "in.zarr", tmp_path / "out.zarr", "--batch-key",
            "Metadata_Plate", "--paper")  # fmt: skip
    html = tmp_path / "out.html"
    err = streams("report", tmp_path / "out.zarr", "--html", html)[1]
    page = Page(html.read_text(encoding="utf-8"))
    assert "Worse than uncorrected" in page.words
    assert "use the input, or compare settings" in err


def test_the_card_has_the_scores_of_raw_that_a_sweep_has(shifted):
    page = page_of(shifted)
    grid = Grid(("align",), n_neighbors=(5,), n_passes=(2,), strength=(1.0,))
    points = sweep_store(str(shifted / "in.zarr"), ["Metadata_Plate"], "Metadata_compound", grid)
    raw, made = points.points
    assert f"Signal {raw.signal:.3f} → {made.signal:.3f}" in page.words
    assert f"Mixing {raw.mixing:.3f} → {made.mixing:.3f}" in page.words


def test_without_a_label_mixing_and_variance_are_alone_and_the_page_says_so(tmp_path):
    screen = gaussian_screen(400, n_features=6)
    write_anndata(tmp_path / "in.zarr", screen.profiles, Metadata_Plate=screen.batch)
    run("correct", tmp_path / "in.zarr", tmp_path / "out.zarr", "--batch-key", "Metadata_Plate")
    page = report(tmp_path / "out.zarr")
    assert "Not judged Batches mix" in page.words
    assert "no label column says what should stay: name one by --label-key" in page.words
    assert "Variance kept 100 % →" in page.words
    assert "Labels that gained" not in page.words
    assert not any("by label" in image["alt"] for image in page.images)


def test_the_verdict_comes_first_and_run_details_are_folded_below(shifted):
    source = page_of(shifted).source
    order = ["<h1", 'id="verdict"', "Maps before and after", "The command", 'class="run"',
             "Wall time and peak memory"]  # fmt: skip
    places = [source.index(part) for part in order]
    assert places == sorted(places)
    assert not re.search(r"<details[^>]* open", source)


@pytest.mark.parametrize(
    ("before_key", "options"),
    [
        ((), ()),
        ((), ("--paper", "--seed", "3")),
        ((), ("--operator", "displace", "--max-rows", "64", "--n-components", "0")),
        (("--anchor", "Metadata_compound == '0'"), ("--operator", "displace")),
        ((), ("--sphering", "Metadata_compound == '0'")),
    ],
)
def test_the_command_on_the_page_makes_the_same_store(shifted, before_key, options):
    given = ("--batch-key", "Metadata_Plate", *before_key)
    out = shifted / "made.zarr"
    run("correct", shifted / "in.zarr", out, "--overwrite", *given, *options)
    words = shlex.split(reported(str(out), None, None).command)
    assert words[:4] == ["balans", "correct", "in.zarr", "made.zarr"]
    assert set(words[4:]) == {*given, *options}
    fingerprint = correction_record(open_store(str(out)))["fingerprint"]
    run("correct", shifted / "in.zarr", out, "--overwrite", *words[4:])
    assert correction_record(open_store(str(out)))["fingerprint"] == fingerprint


def test_the_command_of_added_scores_adds_them(shifted, tmp_path):
    screen = gaussian_screen(200)
    store = write_anndata(tmp_path / "in.zarr", screen.profiles, Metadata_Plate=screen.batch)
    run("correct", store, "--into", "--layer", "--batch-key", "Metadata_Plate")
    command = reported(str(store), None, None).command
    assert command == "balans correct in.zarr --into --layer --batch-key Metadata_Plate"


def test_names_are_in_natural_order(tmp_path):
    weeks = [f"Week{i}" for i in (1, 10, 11, 2)]
    natural = ["Week1", "Week2", "Week10", "Week11"]
    assert [weeks[i] for i in shown(np.ones(4), weeks)] == natural
    of_rows = np.resize(weeks, 400)
    figure = before_after_figure([np.eye(400, 4)] * 2, of_rows, of_rows)
    assert [text.get_text().strip() for text in figure.axes[1].get_legend().get_texts()] == natural
    store = open_store(str(corrected(tmp_path, Metadata_Plate=of_rows)))
    record = correction_record(store)
    displacement = displacement_figure(store.column("balans_displacement").to_numpy(),
                                       np.arange(400) % 4, weeks)  # fmt: skip
    for figure in (shares_figure(record), scales_figure(record), displacement):
        assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == natural


def test_before_and_after_are_in_one_basis(rng):
    before = rng.normal(size=(200, 5)) * [9, 4, 1, 1, 1]
    after = before + np.array([5.0, 0, 0, 0, 0])
    (first, second), axes = principal_plane(before, after)
    moved = second - first
    # Along the longest axis of the rows before, and by as much.
    assert np.abs(moved[:, 0]) == pytest.approx(np.full(200, 5.0), abs=0.3)
    assert moved[:, 0].std() == pytest.approx(0, abs=1e-9)
    share = before.var(axis=0)[0] / before.var(axis=0).sum()
    assert axes[0] == f"PC 1 ({share:.0%} of the variance)"


def test_displacements_are_in_units_of_the_distance_of_two_rows(tmp_path):
    out = corrected(tmp_path)
    page = report(out)
    profiles = gaussian_screen(400, n_features=6).profiles.astype(float)
    record = correction_record(open_store(str(out)))
    scaled = (profiles - profiles.mean(axis=0)) / profiles.std(axis=0)
    distances = np.linalg.norm(scaled[:, None] - scaled, axis=2)[np.triu_indices(400, 1)]
    typical = float(re.search(r"The typical distance, ([0-9.]+),", page.words)[1])
    assert record["parameters"]["n_components"] >= 6
    assert typical == pytest.approx(np.median(distances), rel=0.1)


def test_scores_of_other_libraries_stand_in_lines_with_what_was_gained_over_raw():
    scores = dict.fromkeys((name for block in BLOCKS.values() for name in block), np.nan)
    rows = [
        scores | {"name": "out", "total": 0.5, "ari": 0.25},
        scores | {"name": "raw", "total": 0.375, "ari": 0.375},
        scores | {"name": SHUFFLED, "total": 0.25, "ari": 0.0},
    ]
    batch_side, biology_side, retrieval = side_tables(EvaluationTable(rows, {}, {}))
    assert batch_side.header == ("score", "raw", "out", "difference", SHUFFLED)
    assert batch_side.rows == [("total", "0.375", "0.500", "+0.125", "0.250")]
    assert biology_side.rows[1] == ("ARI", "0.375", "0.250", "\N{MINUS SIGN}0.125", "0.000")
    assert retrieval.rows == []


def test_variance_of_sphered_rows_is_not_compared(shifted):
    page = page_of(shifted, "--sphering", "Metadata_compound == '0'")
    assert "Variance kept - not to be compared: sphering gives rows another unit" in page.words
    assert "Sphering gives rows another unit: compare which are near" in page.words
