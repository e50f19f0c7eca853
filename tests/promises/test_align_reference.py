"""Every step of `align`, and all of them, against the equations: arrays, stores, frozen models."""

import anndata
import numpy as np
import pytest

from balans_dask import Balans
from balans_dask.errors import InputWarning
from tests.support import align_reference as reference
from tests.support.align_runs import watched, watched_frozen
from tests.support.commands import run
from tests.support.screens import gaussian_screen
from tests.support.stores import write_anndata

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*covered by no sampled row"),
    pytest.mark.filterwarnings("ignore:.*covered by no landmark"),
    pytest.mark.filterwarnings("ignore:.*are constant"),
]
N_ROWS = 360


def screen_of(seed=3):
    """Four batches, one of them wider; a cluster that one batch lacks; a constant feature."""
    screen = gaussian_screen(N_ROWS, 6, n_clusters=5, n_batches=4, offset=0.8, seed=seed)
    X = screen.profiles.astype(np.float64)
    X[screen.batch == "plate1"] *= 1.4
    kept = (screen.label != 0) | (screen.batch != "plate2")
    X = np.column_stack([X, np.full(len(X), 3.0)])
    return X[kept].astype(np.float32), screen.batch[kept]


X, BATCH = screen_of()
ANCHOR = np.random.default_rng(0).random(len(X)) < 0.4


def assert_agree(found, expected, scale=X):
    """To the rounding of float32: of weights, moves and outputs."""
    atol = 8 * np.spacing(np.float32(np.abs(scale).max()))
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol)


def assert_steps_agree(steps, last, n_local=2, **options):
    """Each step alone, from what went into it; and all in turn, from the profiles alone."""
    assert [step.name for step in steps] == ["location", "scale", *["local"] * n_local]
    chain = steps[0].X
    for step, after in zip(steps, [*(step.X for step in steps[1:]), last], strict=True):
        chain = step.features_moved(chain, **options)
        assert_agree(after, step.features_moved(step.X, **options))
        found = step.learned(step.X, options.get("shared", False)).found
        assert step.facts["rho"] == pytest.approx(found.rho, rel=1e-6)
        assert step.facts["kappa"] == pytest.approx(found.kappa, rel=1e-5, abs=1e-6)
    assert_agree(last, chain)
    assert np.abs(last - steps[0].X).max() > 0.5


SHORT = {"max_rows": 60, "n_passes": 1}
FEW = {"max_rows": 8, "n_passes": 1}
"""So few landmarks that some rows are not covered."""


@pytest.mark.parametrize(
    ("how", "anchor"),
    [
        ({"n_components": None}, None),
        ({"n_components": 4, **SHORT}, None),
        ({"n_components": 4, **SHORT, "shared_populations": True}, None),
        ({"n_components": None, **FEW, "block_rows": 3}, None),
        ({"n_components": 4, **FEW, "uncovered": "nearest"}, None),
        ({"n_components": None, **FEW, "uncovered": "keep"}, None),
        ({"n_components": None, **SHORT}, ANCHOR),
        ({"n_components": 4, **FEW, "max_neighbors": 20}, ANCHOR),
    ],
    ids=["embedding", "features", "shared", "offset", "nearest", "keep", "anchors", "few anchors"],
)
def test_arrays(how, anchor):
    with watched() as steps:
        found = Balans(**how).fit_transform(X, batch=BATCH, anchor=anchor)
    if how.get("max_rows", 60) < 60:
        assert sum((step.run.coverage == 0).sum() for step in steps) > 10
    assert all((step.counts is None) == (anchor is None) for step in steps)
    assert_steps_agree(
        steps,
        found,
        how.get("n_passes", 2),
        shared=how.get("shared_populations", False),
        uncovered=how.get("uncovered", "offset"),
    )
    assert (found[:, -1] == 3.0).all()


def test_float64_and_whole_numbers_as_labels():
    codes = np.unique(BATCH, return_inverse=True)[1] * 7 - 3
    wide = X.astype(np.float64) / 3
    with watched() as steps:
        found = Balans(n_components=None, **SHORT).fit_transform(wide, batch=codes)
    assert found.dtype == np.float64
    assert steps[1].X.dtype == np.float64
    assert_steps_agree(steps, found, 1)


def test_strength_blends_the_profiles_with_what_the_last_step_has_left():
    wide = X.astype(np.float64)
    whole = Balans(n_components=None, **FEW).fit_transform(wide, batch=BATCH)
    found = Balans(n_components=None, **FEW, strength=0.3).fit_transform(wide, batch=BATCH)
    np.testing.assert_allclose(found, 0.7 * wide + 0.3 * whole, rtol=0, atol=1e-12)


def corrected(tmp_path, *options, obsm=None):
    store = write_anndata(tmp_path / "in.zarr", X, obsm=obsm, plate=BATCH)
    with watched() as steps:
        options = ["--max-rows", 60, "--n-passes", 1, "--quiet", *options]
        run("correct", store, tmp_path / "out.zarr", "--batch-key", "plate", *options)
    return steps, anndata.read_zarr(tmp_path / "out.zarr")


def test_a_store_of_features_and_their_scores(tmp_path):
    model, again = tmp_path / "model.zarr", tmp_path / "again.zarr"
    steps, found = corrected(tmp_path, "--n-components", 4, "--model", model)
    assert_steps_agree(steps, found.X, 1)
    last = steps[-1]
    assert_agree(found.obsm["X_pca_balans"], last.moved(last.second))
    # What a step has left is embedded anew by the one projection of the fit.
    assert np.abs(last.second).max() > 1.0
    distance = np.linalg.norm(found.obsm["X_pca_balans"] - steps[0].P, axis=1)
    np.testing.assert_allclose(found.obs["balans_displacement"], distance, atol=1e-5)
    assert found.uns["balans"]["rho"] == steps[-1].facts["rho"]
    assert found.uns["balans"]["kappa"] == steps[-1].facts["kappa"]
    # The saved model gives the rows of the fit back, bit for bit.
    run("transform", model, tmp_path / "in.zarr", again, "--batch-key", "plate", "--quiet")
    transformed = anndata.read_zarr(again)
    np.testing.assert_array_equal(transformed.X, found.X)
    np.testing.assert_array_equal(transformed.obsm["X_pca_balans"], found.obsm["X_pca_balans"])


def test_a_store_of_an_embedding_beside_the_features(tmp_path):
    """Distances in the embedding; weights of one, a scale of its own for each matrix."""
    rng = np.random.default_rng(1)
    embedding = (X[:, :6] @ rng.normal(size=(6, 3))).astype(np.float32)
    options = ["--basis", "X_pca", "--shared-populations", "yes"]
    steps, found = corrected(tmp_path, *options, obsm={"X_pca": embedding})
    assert_steps_agree(steps, found.X, 1, shared=True)
    chain = embedding
    for step in steps:
        chain = step.moved(chain, shared=True)
    assert_agree(found.obsm["X_pca_balans"], chain, embedding)


NEW = np.isin(BATCH, ["plate2", "plate3"]) & ~(
    (BATCH == "plate3") & (np.cumsum(BATCH == "plate3") > 5)
)
"""A batch of its own size, and one of k rows."""
NEW[np.flatnonzero(BATCH == "plate0")[:9]] = True
OLD = np.isin(BATCH, ["plate0", "plate1"])


@pytest.mark.parametrize(
    "how",
    [
        {"n_components": None, **SHORT},
        {"n_components": 4, **SHORT, "shared_populations": True},
        pytest.param({"n_components": None, **FEW}, marks=pytest.mark.long),
        pytest.param({"n_components": 4}, marks=pytest.mark.long),
    ],
    ids=["embedding", "shared", "uncovered", "features"],
)
def test_batches_that_a_model_has_not_seen(how):
    with watched() as fitted:
        model = Balans(**how)
        model.fit_transform(X[OLD], batch=BATCH[OLD])
    with (
        watched_frozen() as steps,
        pytest.warns(InputWarning, match=r"1 of 2 new batches have at most 5 rows \(plate3\)"),
    ):
        found = model.transform(X[NEW], batch=BATCH[NEW])
    assert [step.name for step in steps] == list(model.model_.parameters.steps)
    chain = X[NEW]
    for before, step, after in zip(
        fitted, steps, [*(step.X for step in steps[1:]), found], strict=True
    ):
        uses = ~before.constant
        fields = before.learned(before.X, "shared_populations" in how, uses)
        landmarks, A = before.P[before.run.rows], step.run.affinities
        for rows, results in ((step.X, after), (chain, None)):
            met = reference.meet(
                fields, landmarks, A, step.P, rows, step.batch, step.total_variance, small=[3]
            )
            moved = reference.move(met, A, rows, step.batch)
            if results is not None:
                assert_agree(results, moved)
        chain = moved
    assert_agree(found, chain)
    if how.get("max_rows") == FEW["max_rows"]:
        assert any((step.run.coverage == 0).any() for step in steps)
    # The small batch moves as a whole.
    small = BATCH[NEW] == "plate3"
    assert small.sum() == 5
    shift = (found - X[NEW])[small]
    np.testing.assert_allclose(shift, np.broadcast_to(shift[0], shift.shape), atol=4e-6)
    assert np.abs(shift).max() > 0.2
