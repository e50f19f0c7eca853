"""Real profiles, where they are present: the data that the commands are for."""

import anndata
import numpy as np
import pytest
from sklearn.covariance import LedoitWolf
from sklearn.neighbors import NearestNeighbors

from balans_dask import Balans, correct_batches
from balans_dask.cli.app import run
from balans_dask.evaluate.neighbours import neighbour_shares


@pytest.fixture
def wells(real_data, tmp_path):
    store = tmp_path / "A.zarr"
    assert run(["convert", str(real_data / "bbbc021_well.parquet"), str(store)]) == 0
    return store


def test_a_real_screen_from_parquet_to_a_corrected_store(wells, tmp_path, capsys):
    out = tmp_path / "B.zarr"
    assert run(["correct", str(wells), str(out), "--batch-key", "Metadata_week"]) == 0
    assert run(["inspect", str(out)]) == 0
    assert "Metadata_week" in capsys.readouterr().out
    before, after = anndata.read_zarr(wells), anndata.read_zarr(out)
    assert before.shape == after.shape == (632, 459)
    assert list(after.var_names) == list(before.var_names)
    assert after.var_names[0] == "Cells_AreaShape_Area"
    assert np.isfinite(after.X).all()
    assert {"balans_covered", "balans_is_landmark", "balans_displacement"} <= set(after.obs)
    shares = [
        neighbour_shares(scores, before.obs["Metadata_moa"], before.obs["Metadata_week"], 10)
        for scores in (_pca(before.X), after.obsm["X_pca_balans"])
    ]
    assert shares[1].batch_mixing > shares[0].batch_mixing + 0.2


def test_plates_with_the_same_compounds_mix(real_data, tmp_path):
    store = tmp_path / "J.zarr"
    assert run(["convert", str(real_data / "cpjump1_compound_csn.parquet"), str(store)]) == 0
    data = anndata.read_zarr(store)
    # The guard takes compounds of few replicates for missing ones, and mixes less.
    given = {"operator": "smooth", "max_scale_ratio": None}
    corrected = correct_batches(data.X, data.obs["Metadata_Plate"], **given)
    plate = data.obs["Metadata_Plate"].to_numpy()
    purity = [_purity(values, plate) for values in (data.X, corrected)]
    # A quarter is perfect for four plates of equal size.
    assert 0.25 < purity[1] < purity[0] - 0.03


def test_controls_of_different_weeks_mix_and_are_white(wells, tmp_path):
    given = anndata.read_zarr(wells)
    week = given.obs["Metadata_week"].to_numpy()
    controls = (given.obs["Metadata_pert_type"] == "negcon").to_numpy()
    options = ["--batch-key", "Metadata_Plate", "--quiet"]
    sphering = ["--sphering", "Metadata_pert_type == 'negcon'"]
    assert run(["correct", str(wells), str(tmp_path / "plain.zarr"), *options]) == 0
    assert run(["correct", str(wells), str(tmp_path / "out.zarr"), *options, *sphering]) == 0
    plain, found = (anndata.read_zarr(tmp_path / f"{name}.zarr") for name in ("plain", "out"))
    told = found.uns["balans"]["sphering"]
    assert told["n_controls"] == 330
    for before, after, name in (
        (plain.X, found.X, "profiles"),
        (plain.obsm["X_pca_balans"], found.obsm["X_pca_balans"], "scores"),
    ):
        fitted = LedoitWolf().fit(before[controls].astype(np.float64))
        assert told[f"shrinkage_of_{name}"] == pytest.approx(fitted.shrinkage_, rel=1e-4)
        variances, vectors = np.linalg.eigh(fitted.covariance_)
        centred = before.astype(np.float64) - fitted.location_
        expected = centred @ (vectors / np.sqrt(variances)) @ vectors.T
        np.testing.assert_allclose(after, expected, atol=1e-3 * np.abs(expected).max())
    raw = _purity(_pca(given.X)[controls], week[controls])
    purity = _purity(found.obsm["X_pca_balans"][controls], week[controls])
    # Raw .72; .28 and .33 with two seeds.
    assert raw > 0.7
    assert purity < 0.4


@pytest.mark.filterwarnings("ignore:.*covered by no sampled row")
def test_labels_may_be_numbers_or_text(wells):
    data = anndata.read_zarr(wells)
    plate = data.obs["Metadata_Plate"]
    model, text = (
        Balans(operator="smooth", max_rows=64).fit(data.X, batch=labels)
        for labels in (plate.cat.codes.to_numpy(), plate.astype(str))
    )
    np.testing.assert_array_equal(model.sampled_rows_, text.sampled_rows_)
    assert len(model.batches_) == 55


def _pca(values):
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler

    return PCA(50).fit_transform(StandardScaler().fit_transform(values))


def _purity(values, batch):
    found = NearestNeighbors(n_neighbors=11).fit(values).kneighbors(return_distance=False)[:, :10]
    return float((batch[found] == batch[:, None]).mean())
