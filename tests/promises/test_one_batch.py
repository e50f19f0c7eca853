"""A single batch has nothing to be aligned to: it stays bit for bit, and one warning says so."""

import warnings

import anndata
import dask.array as da
import numpy as np
import pytest
import zarr

from balans_dask import Balans, correct_batches
from balans_dask.errors import InputWarning
from balans_dask.parameters import OPERATORS
from balans_dask.pp import balans_integrate
from tests.support.commands import run
from tests.support.screens import gaussian_screen
from tests.support.stores import write_anndata

N_ROWS = 120
SCREEN = gaussian_screen(N_ROWS, n_features=6, n_batches=1)
PROFILES = SCREEN.profiles.copy()
PROFILES[7, 2] = -0.0
SETTINGS = [
    *({"operator": operator} for operator in OPERATORS),
    {"operator": "align", "strength": 0.5},
    {"operator": "align", "max_rows": 3, "uncovered": "keep"},
    {"operator": "smooth", "n_passes": 2, "max_rows": 3},
    {"operator": "displace", "n_components": None},
]
named = pytest.mark.parametrize(
    "setting", SETTINGS, ids=lambda given: "-".join(map(str, given.values()))
)


def lazy(profiles):
    return da.from_array(profiles, chunks=(50, 6))


def stored(profiles):
    array = zarr.create_array({}, data=profiles, chunks=(64, 6))
    assert isinstance(array, zarr.Array)
    return array


def alone(action):
    """What an action returns; it warns once, that there is one batch."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        result = action()
    (warning,) = said
    assert warning.category is InputWarning
    assert f"all {N_ROWS} rows are of one batch" in str(warning.message)
    assert "nothing to align, so they stay as they are" in str(warning.message)
    return result


def of_command(*arguments):
    """The warnings of a command."""
    lines = run(*arguments, "--quiet").splitlines()
    return [line.removeprefix("balans: warning: ") for line in lines]


@named
def test_arrays_come_back(setting):
    corrected = alone(lambda: Balans(**setting).fit_transform(PROFILES))
    assert corrected.tobytes() == PROFILES.tobytes()


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("given", [lazy, stored])
def test_lazy_arrays_come_back(operator, given):
    corrected = alone(lambda: Balans(operator=operator).fit_transform(given(PROFILES)))
    assert corrected.compute().tobytes() == PROFILES.tobytes()


@pytest.mark.parametrize("kind", ["float64", "int32"])
def test_the_type_of_the_output_holds_every_value(kind):
    profiles = np.round(PROFILES * 1000).astype(kind)
    corrected = alone(lambda: Balans().fit_transform(profiles))
    np.testing.assert_array_equal(corrected, profiles)


def test_labels_in_the_place_of_y_are_no_batches():
    corrected = alone(lambda: Balans().fit_transform(PROFILES, SCREEN.label))
    assert corrected.tobytes() == PROFILES.tobytes()
    one = np.repeat("P1", N_ROWS)
    corrected = alone(lambda: correct_batches(PROFILES, one))
    assert corrected.tobytes() == PROFILES.tobytes()


@named
def test_a_model_leaves_its_own_rows_and_aligns_later_plates(setting, tmp_path):
    model = alone(lambda: Balans(**setting).fit(PROFILES, batch=np.repeat("P1", N_ROWS)))
    model.save(tmp_path / "model.zarr")
    frozen = Balans.load(tmp_path / "model.zarr")
    assert len(frozen.sampled_rows_)
    own = np.repeat("P1", N_ROWS)
    assert frozen.transform(PROFILES, batch=own).tobytes() == PROFILES.tobytes()
    later = PROFILES + np.float32(0.8)
    both = np.concatenate([PROFILES, later])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*fit again with these rows")
        moved = frozen.transform(both, batch=np.repeat(["P1", "P2"], N_ROWS))
    assert moved[:N_ROWS].tobytes() == PROFILES.tobytes()
    if "max_rows" not in setting:
        before, after = (
            np.linalg.norm((rows - PROFILES).mean(axis=0)) for rows in (later, moved[N_ROWS:])
        )
        assert after < (0.8 if "strength" in setting else 0.6) * before


@pytest.mark.parametrize("operator", OPERATORS)
def test_stores_come_back_and_later_plates_align(operator, tmp_path):
    own = write_anndata(tmp_path / "in.zarr", PROFILES, plate=["P1"] * N_ROWS)
    later = write_anndata(
        tmp_path / "later.zarr", PROFILES + np.float32(0.8), plate=["P2"] * N_ROWS
    )
    out, model, again, moved = (
        tmp_path / name for name in ("out.zarr", "model.zarr", "again.zarr", "moved.zarr")
    )
    key = ("--batch-key", "plate")
    (said,) = of_command("correct", own, out, *key, "--operator", operator, "--model", model)
    assert said == (
        f"all {N_ROWS} rows are of one batch (P1): nothing to align, so they stay as they are; if "
        "they are of several, say which by --batch-key"
    )
    corrected = anndata.read_zarr(out)
    assert corrected.X.tobytes() == PROFILES.tobytes()
    assert not corrected.obs["balans_displacement"].any()
    assert of_command("transform", model, own, again, *key) == []
    assert anndata.read_zarr(again).X.tobytes() == PROFILES.tobytes()
    of_command("transform", model, later, moved, *key)
    shift = (anndata.read_zarr(moved).X - PROFILES).mean(axis=0)
    assert np.linalg.norm(shift) < 0.6 * 0.8 * np.sqrt(6)


@pytest.mark.parametrize("operator", OPERATORS)
def test_an_embedding_comes_back_beside_the_features(operator, tmp_path):
    scores = PROFILES[:, :3].copy()
    store = write_anndata(
        tmp_path / "in.zarr", PROFILES, obsm={"X_pca": scores}, plate=["P1"] * N_ROWS
    )
    key = ("--batch-key", "plate", "--operator", operator, "--basis", "X_pca")
    (_,) = of_command("correct", store, tmp_path / "out.zarr", *key)
    corrected = anndata.read_zarr(tmp_path / "out.zarr")
    (_,) = of_command("correct", store, "--into", "--layer", *key)
    added = anndata.read_zarr(store)
    for features in (corrected.X, added.layers["balans"]):
        assert features.tobytes() == PROFILES.tobytes()
    for embedding in (corrected.obsm["X_pca_balans"], added.obsm["X_pca_balans"]):
        assert embedding.tobytes() == scores.tobytes()
    adata = anndata.AnnData(PROFILES, obs=added.obs[["plate"]], obsm={"X_pca": scores})
    alone(lambda: balans_integrate(adata, "plate", operator=operator, correct_features=True))
    assert adata.obsm["X_pca_balans"].tobytes() == scores.tobytes()
    assert adata.layers["balans"].tobytes() == PROFILES.tobytes()


def test_the_paper_smooths_a_single_batch_and_says_so(tmp_path):
    with pytest.warns(InputWarning, match="one batch .* but the paper smooths them all the same"):
        corrected = Balans.paper().fit_transform(PROFILES)
    assert corrected.var() < 0.95 * PROFILES.var()
    store = write_anndata(tmp_path / "in.zarr", PROFILES, plate=["P1"] * N_ROWS)
    said = of_command("correct", store, tmp_path / "out.zarr", "--batch-key", "plate", "--paper")
    assert "the paper smooths them all the same" in said[0]
    assert anndata.read_zarr(tmp_path / "out.zarr").X.tobytes() == corrected.tobytes()


def test_no_strength_is_no_change_whatever_the_sign_of_a_zero():
    batch = np.repeat(["P1", "P2"], N_ROWS // 2)
    corrected = Balans(strength=0.0).fit_transform(PROFILES, batch=batch)
    assert corrected.tobytes() == PROFILES.tobytes()
