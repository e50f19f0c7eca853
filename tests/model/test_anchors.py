"""Anchors: estimated on the controls alone, applied to all rows."""

import re

import anndata
import numpy as np
import pandas as pd
import pytest

from balans_dask import Balans
from balans_dask.errors import InputWarning, InvalidInputError
from balans_dask.labels import batch_labels
from balans_dask.model.anchors import named_rows, require_anchors, rows_by_query
from balans_dask.parameters import OPERATORS, Parameters
from tests.promises.test_against_reference import exponentials
from tests.support import reference
from tests.support.commands import run
from tests.support.screens import integer_screen
from tests.support.stores import write_anndata


def confounded(n_rows=1500, seed=0):
    """Two plates with an offset; each compound lies in one of them, the controls in both."""
    rng = np.random.default_rng(seed)
    plate = np.array(["a", "b"])[rng.integers(2, size=n_rows)]
    control = rng.random(n_rows) < 0.4
    compound = np.where(
        control, "DMSO", np.char.add(plate, rng.integers(3, size=n_rows).astype(str))
    )
    centres = {name: rng.normal(0, 4, 8) for name in np.unique(compound)}
    offset = rng.normal(0, 2, 8)
    X = np.array([centres[name] for name in compound]) + rng.normal(size=(n_rows, 8))
    X[plate == "b"] += offset
    return X.astype(np.float32), plate, compound, control, offset


@pytest.mark.parametrize("max_rows", [10, None])
@pytest.mark.filterwarnings("ignore:.*covered by no sampled row")
def test_scales_and_displacements_are_those_of_the_anchors(max_rows):
    screen = integer_screen(400, seed=4)
    anchor = np.arange(400) % 3 == 0
    X = screen.profiles - np.round(screen.profiles[anchor].mean(axis=0))
    model = Balans(
        n_components=None, block_rows=1, patience=8, operator="displace", max_rows=max_rows
    )
    found = model.fit_transform(X, batch=screen.batch, anchor=anchor)
    P = X - X[anchor].mean(axis=0)
    expected = reference.balans(
        P, screen.batch, n_neighbors=5, patience=8, exponentials=exponentials(0),
        max_rows=max_rows, anchors=anchor,
    )  # fmt: skip
    np.testing.assert_array_equal(model.sampled_rows_, expected.rows)
    np.testing.assert_allclose(model.scales_, expected.scales, rtol=1e-5)
    np.testing.assert_array_equal(model.thresholds_, expected.thresholds)
    moved = reference.displace(expected, P, X, screen.batch, anchor)
    np.testing.assert_allclose(found, moved, rtol=0, atol=1e-4)


def test_without_an_elbow_only_max_neighbors_cuts():
    screen = integer_screen(60, seed=4)
    anchor = np.arange(60) % 3 != 1
    whole, roomy, tight = (
        Balans(n_components=None, patience=500, operator="displace", max_neighbors=limit).fit(
            screen.profiles, batch=screen.batch, anchor=anchor
        )
        for limit in (None, 60, 6)
    )
    assert (whole.thresholds_ == reference.LAST_U).all()
    assert (roomy.thresholds_ == reference.LAST_U).all()
    assert (tight.thresholds_ < reference.LAST_U).any()
    assert sorted(whole.sampled_rows_) == np.flatnonzero(anchor).tolist()
    assert whole.stop_reason_ == "all_rows"


def test_compounds_of_one_plate_keep_their_distance_to_the_controls():
    X, plate, compound, control, offset = confounded()
    without = Balans(operator="displace", n_components=None, n_passes=2)
    blind = without.fit_transform(X, batch=plate)
    found = without.fit_transform(X, batch=plate, anchor=control)
    for name in np.unique(compound[~control]):
        here = compound == name
        own = (plate == name[0]) & control
        effect = X[here].mean(axis=0) - X[own].mean(axis=0)
        kept = found[here].mean(axis=0) - found[control].mean(axis=0)
        lost = blind[here].mean(axis=0) - blind[control].mean(axis=0)
        assert np.linalg.norm(kept - effect) < 0.2 * np.linalg.norm(effect)
        assert np.linalg.norm(kept - effect) < 0.8 * np.linalg.norm(lost - effect)
    apart = [found[control & (plate == name)].mean(axis=0) for name in ("a", "b")]
    assert np.linalg.norm(apart[0] - apart[1]) < 0.2 * np.linalg.norm(offset)


def test_features_are_centred_and_standardised_by_the_anchors():
    X, plate, _, control, _ = confounded()
    X[~control] *= 9.0
    model = Balans(operator="displace").fit(X, batch=plate, anchor=control)
    projection = model.model_.preprocessor.projection
    np.testing.assert_allclose(projection.mean, X[control].mean(axis=0, dtype=float), rtol=1e-6)
    standardised = X / X[control].std(axis=0, dtype=float)
    centred = standardised - standardised[control].mean(axis=0)
    values, vectors = np.linalg.eigh(centred.T @ centred / len(X))
    loadings = projection.weights * X[control].std(axis=0, dtype=float)[:, None]
    np.testing.assert_allclose(np.abs(loadings.T @ vectors[:, ::-1]), np.eye(8), atol=1e-6)
    np.testing.assert_allclose(projection.total_variance, values.sum(), rtol=1e-6)


def test_landmarks_are_anchors_and_every_row_follows_its_batch_s_anchors():
    X, plate, _, control, offset = confounded(300)
    model = Balans(operator="displace", n_components=None, n_passes=2, block_rows=1, patience=3)
    found = model.fit_transform(X, batch=plate, anchor=control)
    assert control[model.sampled_rows_].all()
    centre, expected = X[control].mean(axis=0, dtype=float), X.astype(float)
    for number in range(2):
        P = (expected - centre).astype(np.float32)
        fitted = reference.balans(
            P, plate, n_neighbors=5, patience=3, exponentials=exponentials(0, number),
            anchors=control,
        )  # fmt: skip
        expected = reference.displace(fitted, P, expected, plate, control)
    np.testing.assert_array_equal(model.sampled_rows_, fitted.rows)
    # Affinities, displacements and the output are float32.
    atol = 4 * np.spacing(np.float32(np.abs(expected).max()))
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol)
    followed = (found - X)[(plate == "a") & ~control] @ offset / (offset @ offset)
    of_controls = (found - X)[(plate == "a") & control] @ offset / (offset @ offset)
    assert followed.mean() > 0.9 * of_controls.mean()
    assert followed.min() > 0.5 * of_controls.mean()


@pytest.mark.filterwarnings("ignore:.*covered by no landmark")
def test_new_plates_are_estimated_on_their_anchors():
    X, plate, _, control, _ = confounded()
    model = Balans(operator="displace", n_components=None).fit(X, batch=plate, anchor=control)
    new, _, _, new_control, _ = confounded(400, seed=0)
    new = new + 3.0
    names = np.full(400, "c")
    found = model.transform(new, batch=names, anchor=new_control)
    # What is no anchor may be anything: the anchors, and so all other rows, move alike.
    wild = new.copy()
    last = np.flatnonzero(~new_control)[-1]
    wild[last] = 0.0
    again = model.transform(wild, batch=names, anchor=new_control)
    rest = np.arange(400) != last
    np.testing.assert_array_equal(again[rest], found[rest])
    with pytest.raises(InvalidInputError, match=r"fitted on anchors .* say which rows are anchors"):
        model.transform(new, batch=names)
    known = np.full(400, "a")
    np.testing.assert_array_equal(
        model.transform(new, batch=known), model.transform(new, batch=known, anchor=new_control)
    )
    none = np.zeros(400, dtype=bool)
    with pytest.raises(InvalidInputError, match="1 of 1 new batches have no anchor row"):
        model.transform(new, batch=names, anchor=none)


@pytest.mark.filterwarnings("ignore:.*covered by no landmark")
def test_a_new_plate_of_few_anchors_moves_as_a_whole_however_many_rows_it_has():
    X, plate, _, control, _ = confounded()
    model = Balans(n_components=None).fit(X, batch=plate, anchor=control)
    few = np.zeros(len(X), dtype=bool)
    few[np.flatnonzero(control)[:5]] = True
    new, names = X + np.float32(3.0), np.full(len(X), "c")
    with pytest.warns(InputWarning, match=r"1 of 1 new batches have at most 5 anchor rows \(c\)"):
        found = model.transform(new, batch=names, anchor=few)
    shift = found - new
    np.testing.assert_allclose(shift, np.broadcast_to(shift[0], shift.shape), atol=1e-5)
    assert np.abs(shift).max() > 1.0


@pytest.mark.parametrize("operator", ["smooth", "nystrom"])
def test_operators_that_average_rows_refuse_anchors_and_say_why(operator):
    X, plate, _, control, _ = confounded(200)
    with pytest.raises(
        InvalidInputError, match=r"anchors mean nothing to operator .* estimated on all"
    ):
        Balans(operator=operator).fit(X, batch=plate, anchor=control)


@pytest.mark.parametrize("operator", OPERATORS)
def test_a_model_of_all_rows_refuses_the_anchors_of_new_plates(operator):
    X, plate, _, control, _ = confounded(200)
    model = Balans(operator=operator, block_rows=64).fit(X, batch=plate)
    with pytest.raises(InvalidInputError, match=f"operator '{operator}' on all rows"):
        model.transform(X, batch=["c"] * 200, anchor=control)


def test_masks_and_batches_without_anchors_are_refused():
    X, plate, _, control, _ = confounded(200)
    model = Balans(operator="displace")
    with pytest.raises(InvalidInputError, match="one True or False for each of the 200 rows"):
        model.fit(X, batch=plate, anchor=control[:10])
    with pytest.raises(InvalidInputError, match="type int64"):
        model.fit(X, batch=plate, anchor=control.astype(int))
    with pytest.raises(InvalidInputError, match=r"1 of 2 batches have no row that is an anchor .b"):
        model.fit(X, batch=plate, anchor=control & (plate == "a"))
    few = control & ((plate == "a") | (np.cumsum(control & (plate == "b")) <= 2))
    with pytest.warns(InputWarning, match="1 of 2 batches have fewer than 5 anchor rows .b"):
        model.fit(X, batch=plate, anchor=few)


def test_as_many_anchors_as_neighbours_are_enough():
    """Of which only warnings would say otherwise, and those fail a test."""
    labels = batch_labels([np.repeat(["a", "b"], 6)], ["plate"], 12)
    five_of_each = np.arange(12) % 6 < 5
    require_anchors(five_of_each, labels, Parameters(operator="displace", n_neighbors=5))
    with pytest.warns(InputWarning, match="2 of 2 batches have fewer than 6 anchor rows"):
        require_anchors(five_of_each, labels, Parameters(operator="displace", n_neighbors=6))


OBS = pd.DataFrame({"kind": ["negcon", "trt", "negcon", "poscon"], "dose (uM)": [0, 1, 2, 3]})


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("kind == 'negcon'", [1, 0, 1, 0]),
        ("kind in ['negcon', 'poscon'] and `dose (uM)` > 0", [0, 0, 1, 1]),
        ("not (kind == 'trt') | (`dose (uM)` <= 0)", [1, 0, 1, 1]),
    ],
)
def test_a_query_compares_columns_with_values(query, expected):
    np.testing.assert_array_equal(rows_by_query(OBS, query), np.array(expected, dtype=bool))


@pytest.mark.parametrize(
    "query",
    [
        "kind.to_csv('/tmp/x') == 1",
        "@pd.io.common.os.system('true') == 0",
        "__import__('os').system('true') == 0",
        "(lambda: 1)() == 1",
        "kind",
        "`dose (uM)` + 1",
        "other == 'negcon'",
        "kind ==",
        "3 == 3",
        "",
    ],
)
def test_anything_else_is_refused_and_not_run(query):
    with pytest.raises(InvalidInputError, match="the query"):
        rows_by_query(OBS, query)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("kind == 'negcontrol'", "names no row: did you mean 'negcon'?"),
        ("kind in ['DMSO'] or kind == 'DMSO'", "names no row: kind has 'negcon', 'trt', 'poscon'"),
        ("kind == 'trt' and `dose (uM)` == '1'", "names no row: dose (uM) has 0, 1, 2, 3"),
        ("kind == 'trt' and `dose (uM)` > 5", "names no row: check its values"),
        ("not kind in ['negcon', 'trt', 'poscon']", "names no row: check its values"),
    ],
)
def test_a_query_that_must_name_rows_is_refused_with_the_values_that_are_there(query, said):
    with pytest.raises(InvalidInputError, match=re.escape(said) + "$"):
        named_rows(OBS, query)
    np.testing.assert_array_equal(named_rows(OBS, "kind == 'trt'"), [False, True, False, False])


@pytest.mark.filterwarnings("ignore:.*covered by no landmark")
def test_the_command_takes_a_query_and_the_model_keeps_it(tmp_path):
    X, plate, compound, control, _ = confounded(600)
    kind = np.where(control, "negcon", "trt")
    source = write_anndata(tmp_path / "in.zarr", X, plate=plate, kind=kind, compound=compound)
    out, model = tmp_path / "out.zarr", tmp_path / "m.zarr"
    options = ["--batch-key", "plate", "--operator", "displace", "--anchor", "kind == 'negcon'"]
    run("correct", source, out, *options, "--model", model)
    found = anndata.read_zarr(out)
    expected = Balans(operator="displace").fit_transform(X, batch=plate, anchor=control)
    np.testing.assert_array_equal(found.X, expected)
    assert found.uns["balans"]["parameters"]["anchor"] == "kind == 'negcon'"
    new = write_anndata(tmp_path / "new.zarr", X, plate=["c"] * 600, kind=kind)
    run("transform", model, new, tmp_path / "t.zarr", "--batch-key", "plate")
    loaded = Balans.load(model)
    frame = pd.DataFrame(X, columns=loaded.feature_names_in_)
    expected = loaded.transform(frame, batch=["c"] * 600, anchor=control)
    np.testing.assert_array_equal(anndata.read_zarr(tmp_path / "t.zarr").X, expected)
    plain = write_anndata(tmp_path / "plain.zarr", X, plate=plate)
    run("transform", model, plain, tmp_path / "u.zarr", "--batch-key", "plate")
    np.testing.assert_array_equal(anndata.read_zarr(tmp_path / "u.zarr").X, found.X)
    smooth = ["--batch-key", "plate", "--operator", "smooth", "--anchor", "kind == 'negcon'"]
    said = run("correct", source, tmp_path / "s.zarr", *smooth, code=2)
    assert "anchors mean nothing to operator 'smooth'" in said
    said = run("check", source, *smooth, code=2)
    assert "anchors mean nothing to operator 'smooth'" in said
