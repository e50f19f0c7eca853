"""Labels confined to batches are told of before the work, with the controls that could help."""

import shlex

import numpy as np
import pandas as pd
import pytest

from balans_dask import Balans
from balans_dask.errors import InputWarning
from balans_dask.labels import batch_labels
from balans_dask.model.anchors import rows_by_query
from balans_dask.workflows.confounding import (
    NegativeControls,
    factor,
    labels_beside,
    negative_controls,
    said_of_confounding,
)
from tests.support.commands import run, streams
from tests.support.screens import gaussian_screen
from tests.support.stores import files, write_anndata

SCREEN = gaussian_screen(360, n_features=5)
ROWS = np.arange(360)
WEEK = np.array([f"week{i}" for i in ROWS % 3])
IS_CONTROL = ROWS // 3 % 4 == 0
CONFINED = np.where(IS_CONTROL, "DMSO", [f"c{i % 30}" for i in ROWS])
SPREAD = np.where(IS_CONTROL, "DMSO", [f"c{i // 3 % 30}" for i in ROWS])
KIND = np.where(IS_CONTROL, "negcon", "trt")
ONE_ROUND = ("--max-rows", 64)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("stores") / "in.zarr"
    return write_anndata(
        path,
        SCREEN.profiles,
        week=WEEK,
        confined=CONFINED,
        spread=SPREAD,
        kind=KIND,
        well=ROWS // 2,
        unknown=np.full(360, np.nan),
        same=WEEK,
    )


def warned(said):
    lines = [line for line in said.splitlines() if line.startswith("balans: warning: ")]
    return [line.removeprefix("balans: warning: ") for line in lines]


def labelled(store, *options):
    out, err = streams("check", store, "--batch-key", "week", *options)
    return " ".join(out.replace("│", " ").split()), warned(err)


def test_confined_labels_are_told_of_with_the_controls_that_are_there(store):
    out, (said,) = labelled(store, "--label-key", "confined")
    assert said == (
        "treatments are confined to batches: 30 of 30 labels of confined with two rows or more lie "
        "in one week only (Cramér's V 0.95), so no correction over all rows can tell what they do "
        "from what their batch does, and it may remove both; 90 negative controls are in 3 of 3 "
        "batches: give --sphering \"confined == 'DMSO'\""
    )
    assert "31 of confined, confounded with batches: 30 of 30 labels of two rows" in out


def test_labels_of_every_batch_are_no_reason_to_worry(store):
    out, said = labelled(store, "--label-key", "spread")
    assert said == []
    assert "31 of spread, not confounded with batches: 0 of 30 labels of two rows" in out
    out, said = labelled(store)
    assert said == []
    assert "confounded" not in out


def test_correct_says_it_before_any_work_and_nothing_of_rho_after_it(store, tmp_path):
    options = ("--batch-key", "week", "--label-key", "confined")
    log = run("correct", store, tmp_path / "out.zarr", *options)
    (said,) = warned(log)
    assert said.startswith("treatments are confined to batches")
    assert log.index(said) < log.index("sampling rows")


def test_the_label_decides_no_byte_of_the_record(store, tmp_path):
    outputs = []
    for name, options in {"with": ("--label-key", "confined"), "without": ()}.items():
        place = tmp_path / name / "out.zarr"
        place.parent.mkdir()
        run("correct", store, place, "--batch-key", "week", "--quiet", *ONE_ROUND, *options)
        outputs.append(files(place))
    assert outputs[0] == outputs[1]


@pytest.mark.parametrize("option", ["--anchor", "--sphering"])
def test_controls_that_are_asked_for_tie_the_batches(store, option):
    controls = (option, "kind == 'negcon'")
    assert labelled(store, "--label-key", "confined", *controls)[1] == []
    (said,) = labelled(store, "--label-key", "same", *controls)[1]
    assert "the 3 batches of week are the 3 labels of same" in said


def test_controls_of_some_batches_alone_tie_none_and_are_not_advised(store):
    some = ("--sphering", "kind == 'negcon' and week != 'week2'")
    (said,) = labelled(store, "--label-key", "confined", *some)[1]
    assert said.startswith("treatments are confined to batches")
    rows = np.array(IS_CONTROL & (WEEK != "week2"))
    advice = NegativeControls("kind == 'negcon'", rows).advice(batch_labels([WEEK], ["week"], 360))
    assert advice == (
        "60 negative controls are in 2 of 3 batches only, and tell nothing of the others"
    )


def test_the_command_that_a_warning_names_runs(store, tmp_path):
    (said,) = labelled(store, "--label-key", "confined")[1]
    named = shlex.split(said.rpartition("give ")[2])
    options = ("--batch-key", "week", "--label-key", "confined", *ONE_ROUND, *named)
    assert warned(run("correct", store, tmp_path / "out.zarr", *options)) == []


def test_who_says_that_all_is_shared_hears_that_labels_say_the_opposite(store):
    declared = ("--shared-populations", "yes")
    (said,) = labelled(store, "--label-key", "confined", *declared)[1]
    assert said.endswith("leave out --shared-populations yes: it says the opposite")
    assert labelled(store, "--label-key", "spread", *declared)[1] == []


def test_a_batch_key_that_is_the_label_is_told_of_with_the_count(store):
    (said,) = labelled(store, "--label-key", "same")[1]
    assert said == (
        "the 3 batches of week are the 3 labels of same: to align them is to remove what tells "
        "labels apart, so choose another --batch-key"
    )
    err = run("check", store, "--batch-key", "same", "--label-key", "same")
    assert "the 3 batches of same are the 3 labels of same" in err


def test_a_batch_key_of_wells_is_told_of_with_the_count(store, tmp_path):
    expected = (
        "360 rows are in 180 batches, 2 in each: a batch is a plate or a week of many wells, not "
        "a well, so choose another --batch-key"
    )
    options = ("--batch-key", "well")
    assert warned(run("check", store, *options)) == [expected]
    first, *_ = warned(run("correct", store, tmp_path / "out.zarr", *options, "--max-rows", 8))
    assert first == expected
    with pytest.warns(InputWarning, match="360 rows are in 180 batches") as said:
        Balans(max_rows=64).fit(SCREEN.profiles, batch=ROWS // 2)
    assert "choose another batch" in str(said[0].message)


def test_a_key_of_wells_is_told_of_before_its_plan_is_refused(store):
    err = run("check", store, "--batch-key", "well", "--memory-limit", "10MB", code=2)
    assert "360 rows are in 180 batches" in err


def test_every_turn_of_keys_is_looked_at(store, tmp_path):
    site = np.array([f"site{i}" for i in ROWS % 2])
    plate = np.array([f"plate{i}" for i in ROWS // 90])
    label = np.array([f"c{i % 2}{i // 2 % 10}" for i in ROWS])
    turns = write_anndata(
        tmp_path / "in.zarr", SCREEN.profiles, site=site, plate=plate, label=label
    )
    keys = ("--batch-key", "site", "--batch-key", "plate", "--label-key", "label")
    (said,) = warned(run("check", turns, *keys, "--batch-order"))
    assert "20 of 20 labels of label with two rows or more lie in one site only" in said
    assert warned(run("check", turns, *keys)) == []


def test_columns_that_cannot_be_labels_are_refused(store):
    options = ("--batch-key", "week", "--label-key")
    assert "no column 'nothing' in obs" in run("check", store, *options, "nothing", code=2)
    err = run("check", store, *options, "unknown", code=2)
    assert "'unknown' of" in err
    assert "is missing in all 360 rows: choose a column with labels" in err


def test_a_presets_label_may_be_missing_but_not_the_users(tmp_path):
    plates = write_anndata(tmp_path / "in.zarr", SCREEN.profiles, Metadata_Plate=WEEK)
    preset = ("check", plates, "--preset", "cellprofiler")
    assert warned(run(*preset)) == []
    assert "no column 'nothing'" in run(*preset, "--label-key", "nothing", code=2)
    named = write_anndata(
        tmp_path / "named.zarr", SCREEN.profiles, Metadata_Plate=WEEK, Metadata_pert_iname=CONFINED
    )
    assert len(warned(run("check", named, "--preset", "cellprofiler"))) == 1


def test_the_estimator_looks_at_y():
    with pytest.warns(InputWarning, match="30 of 31 labels of y with two rows") as said:
        Balans(max_rows=64).fit(SCREEN.profiles, CONFINED, batch=WEEK)
    assert len(said) == 1
    assert str(said[0].message).endswith("if every batch has some, by controls")
    with pytest.warns(InputWarning, match="the 3 batches of batch are the 3 labels of y"):
        Balans(max_rows=64).fit(SCREEN.profiles, WEEK, batch=WEEK)
    Balans(max_rows=64).fit(SCREEN.profiles, SPREAD, batch=WEEK)


@pytest.mark.parametrize(
    "y",
    [None, 3, ["a"], np.zeros((4, 2)), [["list"], {}, set(), ()], np.array([object()] * 4)[:3]],
    ids=["none", "number", "short", "matrix", "no labels", "shorter"],
)
def test_whatever_y_is_the_estimator_goes_on(y):
    assert labels_beside(y, 4) is None


def test_labels_of_some_batches_alone_are_not_the_batches():
    labels = batch_labels([list("aabbccdd")], ["batch"], 8)
    some = factor(["x", "x", "y", "y", None, None, None, None], "compound")
    assert "treatments are confined" in said_of_confounding(labels, some)
    every = factor(list("xxyyzzww"), "compound")
    assert "the 4 batches of batch are the 4 labels" in said_of_confounding(labels, every)


def test_labels_in_two_of_five_batches_keep_to_few():
    batch = np.array([f"b{(i % 20 + i // 20 % 2) % 5}" for i in range(1000)])
    labels = batch_labels([batch], ["batch"], 1000)
    said = said_of_confounding(labels, factor([f"c{i % 20}" for i in range(1000)], "compound"))
    assert "labels of compound keep to few batches of batch each (Cramér's V 0.6" in said


@pytest.mark.parametrize(
    ("columns", "query"),
    [
        ({"Metadata_pert_type": KIND, "compound": CONFINED}, "Metadata_pert_type == 'negcon'"),
        ({"Metadata_control_type": np.where(IS_CONTROL, "negcon", None)},
         "Metadata_control_type == 'negcon'"),
        ({"compound": CONFINED, "kind": KIND}, "compound == 'DMSO'"),
        ({"well kind": KIND}, '`well kind` == "negcon"'),
        ({"class": KIND}, '`class` == "negcon"'),
        ({"kind": pd.Categorical(KIND)}, "kind == 'negcon'"),
        ({"kind": pd.array(np.where(IS_CONTROL, "negcon", None), "string")}, "kind == 'negcon'"),
        ({"Metadata_JCP2022": np.where(IS_CONTROL, "JCP2022_033924", SPREAD)},
         "Metadata_JCP2022 == 'JCP2022_033924'"),
        ({"kind": np.repeat("negcon", 360)}, None),
        ({"kind": np.where(ROWS == 7, "negcon", "trt")}, None),
        ({"dose": ROWS / 7, "count": ROWS, "is_control": IS_CONTROL}, None),
        ({"day": pd.date_range("2026-01-01", periods=360)}, None),
    ],
)  # fmt: skip
def test_controls_are_found_by_what_they_are_called(columns, query):
    obs = pd.DataFrame(columns)
    found = negative_controls(obs)
    assert (None if found is None else found.query) == query
    if found is not None:
        np.testing.assert_array_equal(rows_by_query(obs, query), found.rows)
        np.testing.assert_array_equal(found.rows, IS_CONTROL)


def test_the_label_is_searched_before_other_columns():
    obs = pd.DataFrame({"kind": KIND, "confined": CONFINED})
    assert negative_controls(obs).query == "kind == 'negcon'"
    assert negative_controls(obs, "confined").query == "confined == 'DMSO'"
