"""AnnData in memory, backed and lazy: what is set, what it equals, and what is refused."""

import subprocess
import sys

import anndata
import dask.array as da
import h5py
import numpy as np
import pandas as pd
import pytest
from distributed import Client, LocalCluster
from scipy.sparse import csr_matrix

from balans_dask import Balans, pp
from balans_dask.errors import InvalidInputError
from balans_dask.io.store import open_store
from balans_dask.passes.workers import QUIET_DASHBOARD
from balans_dask.workflows.records import correction_record
from tests.support.screens import gaussian_screen
from tests.support.stores import write_anndata

SCREEN = gaussian_screen(800)
SCORES = (2 * SCREEN.profiles[:, :4]).astype(np.float64)
FEW = {"max_rows": 128, "random_state": 3}
COLUMNS = ["balans_covered", "balans_is_landmark", "balans_displacement"]


def screen(**obsm):
    names = [f"well{i}" for i in range(800)]
    obs = pd.DataFrame({"plate": SCREEN.batch, "row": SCREEN.label.astype(str)}, index=names)
    var = pd.DataFrame(index=[f"Cells_{i}" for i in range(8)])
    return anndata.AnnData(SCREEN.profiles.copy(), obs, var, obsm=obsm or {"X_pca": SCORES})


@pytest.fixture(scope="module")
def expected():
    """Everything that is set, with X in memory."""
    adata = screen()
    pp.balans_integrate(adata, "plate", correct_features=True, operator="smooth")
    return adata


def assert_rows_equal(adata, expected):
    for name in COLUMNS:
        found = np.asarray(adata.obs[name])
        assert found.dtype == expected.obs[name].dtype
        np.testing.assert_array_equal(found, expected.obs[name])


def test_scores_are_those_of_the_estimator_and_the_rest_stays():
    adata = screen()
    assert pp.balans_integrate(adata, "plate", n_neighbors=4, **FEW) is None
    model = Balans(n_neighbors=4, n_components=None, **FEW)
    corrected = model.fit_transform(SCORES, batch=SCREEN.batch)
    np.testing.assert_array_equal(adata.obsm["X_pca_balans"], corrected)
    # Covered in every step; the coverage is that of the last one.
    assert (model.coverage_[adata.obs["balans_covered"]] > 0).all()
    drawn = [block.rows for fitted in model.model_.passes for block in fitted.blocks]
    landmarks = np.flatnonzero(adata.obs["balans_is_landmark"])
    np.testing.assert_array_equal(landmarks, np.unique(np.concatenate(drawn)))
    moved = np.linalg.norm(corrected - SCORES, axis=1)
    np.testing.assert_allclose(adata.obs["balans_displacement"], moved, rtol=1e-5)
    record = adata.uns["balans"]
    assert record["stop_reason"] == model.stop_reason_
    assert record["parameters"]["n_neighbors"] == 4
    assert record["parameters"]["basis"] == "X_pca"
    assert record["parameters"]["batch_key"] == ["plate"]
    np.testing.assert_array_equal(adata.obsm["X_pca"], SCORES)
    np.testing.assert_array_equal(adata.X, SCREEN.profiles)
    assert list(adata.obs.columns) == ["plate", "row", *COLUMNS]
    assert not adata.layers


def test_features_take_the_same_weights(expected):
    assert expected.layers["balans"].dtype == np.float32
    np.testing.assert_allclose(
        expected.obsm["X_pca_balans"], 2 * expected.layers["balans"][:, :4], rtol=1e-5, atol=1e-5
    )


def test_without_a_basis_the_principal_components_of_x_are_taken():
    adata = screen()
    given = {"n_components": 5, "operator": "smooth"}
    pp.balans_integrate(adata, "plate", basis=None, correct_features=True, **given)
    model = Balans(**given)
    np.testing.assert_array_equal(
        adata.layers["balans"], model.fit_transform(SCREEN.profiles, batch=SCREEN.batch)
    )
    assert adata.obsm["X_pca_balans"].shape == (800, 5)
    assert adata.uns["balans"]["parameters"]["basis"] == "X"


def test_results_have_the_bits_of_the_command(tmp_path):
    from tests.support.commands import run

    store = write_anndata(
        tmp_path / "in.zarr", SCREEN.profiles, obsm={"X_pca": SCORES}, p=SCREEN.batch
    )
    few = ("--max-rows", 128, "--seed", 3)
    run("correct", store, tmp_path / "out.zarr", "--batch-key", "p", "--basis", "X_pca", *few)
    by_command, here = anndata.read_zarr(tmp_path / "out.zarr"), anndata.read_zarr(store)
    pp.balans_integrate(here, "p", correct_features=True, **FEW)
    np.testing.assert_array_equal(here.obsm["X_pca_balans"], by_command.obsm["X_pca_balans"])
    np.testing.assert_array_equal(here.layers["balans"], by_command.X)
    assert_rows_equal(here, by_command)
    mine, its = here.uns["balans"], by_command.uns["balans"]
    assert set(mine) - set(its) == {"elements"}
    assert set(its) - set(mine) == {"input"}


def test_several_keys_make_joint_batches():
    adata = screen()
    with pytest.warns(match="batches have at most"):
        pp.balans_integrate(adata, ["plate", "row"], n_neighbors=60, operator="smooth")
    assert len(adata.uns["balans"]["batches"]) == 3 * 6
    assert adata.uns["balans"]["parameters"]["batch_key"] == ["plate", "row"]


def test_results_that_are_there_are_replaced():
    adata = screen()
    place = {"adjusted_basis": "X_corrected"}
    pp.balans_integrate(adata, "plate", operator="smooth", max_rows=100, **place)
    first = adata.obsm["X_corrected"]
    pp.balans_integrate(adata, "plate", operator="displace", **place)
    assert not np.array_equal(adata.obsm["X_corrected"], first)
    assert adata.uns["balans"]["parameters"]["operator"] == "displace"
    assert sorted(adata.obsm) == ["X_corrected", "X_pca"]
    assert list(adata.obs.columns) == ["plate", "row", *COLUMNS]


def test_anchors_by_query_and_by_mask_are_the_same():
    by_query, by_mask = screen(), screen()
    given = {"operator": "displace", "n_passes": 2}
    pp.balans_integrate(by_query, "plate", anchor="row == '1'", **given)
    pp.balans_integrate(by_mask, "plate", anchor=SCREEN.label == 1, **given)
    np.testing.assert_array_equal(by_query.obsm["X_pca_balans"], by_mask.obsm["X_pca_balans"])
    assert by_query.uns["balans"]["parameters"]["anchor"] == "row == '1'"
    mask = SCREEN.label == 1
    model = Balans(n_components=None, **given)
    corrected = model.fit_transform(SCORES, batch=SCREEN.batch, anchor=mask)
    np.testing.assert_array_equal(by_mask.obsm["X_pca_balans"], corrected)


@pytest.mark.parametrize("suffix", ["zarr", "h5ad"])
def test_results_survive_writing_and_reading(tmp_path, expected, suffix):
    path = tmp_path / f"a.{suffix}"
    write, read = {
        "zarr": (expected.copy().write_zarr, anndata.read_zarr),
        "h5ad": (expected.copy().write_h5ad, anndata.read_h5ad),
    }[suffix]
    write(path)
    found = read(path)
    np.testing.assert_array_equal(found.obsm["X_pca_balans"], expected.obsm["X_pca_balans"])
    assert found.uns["balans"]["fingerprint"] == expected.uns["balans"]["fingerprint"]
    if suffix == "zarr":
        record = correction_record(open_store(str(path)))
        assert sorted(record["elements"]) == sorted(
            ["obsm/X_pca_balans", "uns/balans", "layers/balans", *(f"obs/{c}" for c in COLUMNS)]
        )


def test_a_view_becomes_an_object_of_its_own():
    adata = screen()
    view = adata[SCREEN.label < 4]
    with pytest.warns(anndata.ImplicitModificationWarning):
        pp.balans_integrate(view, "plate", operator="smooth")
    part = SCREEN.label < 4
    model = Balans(operator="smooth", n_components=None)
    expected = model.fit_transform(SCORES[part], batch=SCREEN.batch[part])
    np.testing.assert_array_equal(view.obsm["X_pca_balans"], expected)
    assert list(adata.obsm) == ["X_pca"]


@pytest.mark.parametrize("mode", ["r", "r+"])
def test_of_a_backed_object_x_stays_in_its_file(tmp_path, expected, mode):
    screen().write_h5ad(tmp_path / "a.h5ad")
    adata = anndata.read_h5ad(tmp_path / "a.h5ad", backed=mode)
    pp.balans_integrate(adata, "plate", correct_features=True, operator="smooth")
    assert isinstance(adata.X, h5py.Dataset)
    assert isinstance(adata.obsm["X_pca_balans"], np.ndarray)
    np.testing.assert_array_equal(adata.obsm["X_pca_balans"], expected.obsm["X_pca_balans"])
    assert_rows_equal(adata, expected)
    assert isinstance(adata.layers["balans"], da.Array)
    np.testing.assert_array_equal(adata.layers["balans"].compute(), expected.layers["balans"])
    adata.file.close()


def test_a_backed_object_is_read_by_workers_of_other_processes(tmp_path, processes, expected):
    screen().write_h5ad(tmp_path / "a.h5ad")
    with processes.as_current():
        adata = anndata.read_h5ad(tmp_path / "a.h5ad", backed="r")
        pp.balans_integrate(adata, "plate", correct_features=True, operator="smooth")
        np.testing.assert_array_equal(adata.obsm["X_pca_balans"], expected.obsm["X_pca_balans"])
        np.testing.assert_array_equal(adata.layers["balans"].compute(), expected.layers["balans"])
        adata.file.close()
        writable = anndata.read_h5ad(tmp_path / "a.h5ad", backed="r+")
        with pytest.raises(InvalidInputError, match="open it by backed='r'"):
            pp.balans_integrate(writable, "plate", basis=None)
        writable.file.close()


def test_dask_matrices_stay_lazy(expected):
    adata = screen(X_pca=da.from_array(SCORES, chunks=(90, 4)))
    adata.X = da.from_array(SCREEN.profiles, chunks=(90, 3))
    pp.balans_integrate(adata, "plate", correct_features=True, operator="smooth")
    assert isinstance(adata.obsm["X_pca_balans"], da.Array)
    assert isinstance(adata.layers["balans"], da.Array)
    assert_rows_equal(adata, expected)
    for found, wanted in (
        (adata.obsm["X_pca_balans"], expected.obsm["X_pca_balans"]),
        (adata.layers["balans"], expected.layers["balans"]),
    ):
        assert found.dtype == wanted.dtype
        np.testing.assert_array_equal(found.compute(scheduler="threads"), wanted)


def test_a_lazy_object_stays_lazy(tmp_path, expected):
    pytest.importorskip("xarray", reason="anndata reads lazily by xarray: pip install xarray")
    adata = screen()
    adata.strings_to_categoricals()
    with anndata.settings.override(zarr_write_format=3):
        adata.write_zarr(tmp_path / "a.zarr")
    lazy = anndata.experimental.read_lazy(tmp_path / "a.zarr")
    pp.balans_integrate(lazy, "plate", correct_features=True, operator="smooth")
    assert isinstance(lazy.obsm["X_pca_balans"], da.Array)
    assert isinstance(lazy.X, da.Array)
    assert_rows_equal(lazy, expected)
    whole = lazy.to_memory()
    np.testing.assert_array_equal(whole.obsm["X_pca_balans"], expected.obsm["X_pca_balans"])
    np.testing.assert_array_equal(whole.layers["balans"], expected.layers["balans"])
    anchored = anndata.experimental.read_lazy(tmp_path / "a.zarr")
    pp.balans_integrate(anchored, "plate", anchor="row == '1'", operator="displace")
    assert anchored.obsm["X_pca_balans"].shape == (800, 4)


@pytest.mark.parametrize(
    ("operator", "n_passes"),
    [("displace", 2), pytest.param("displace", 3, marks=pytest.mark.long), ("align", 1)],
)
@pytest.mark.parametrize("correct_features", [False, True])
def test_passes_of_lazy_matrices_are_those_of_numpy(operator, n_passes, correct_features):
    numpy, lazy = screen(), screen(X_pca=da.from_array(SCORES, chunks=(300, 4)))
    given = {"operator": operator, "n_passes": n_passes, "correct_features": correct_features}
    for adata in (numpy, lazy):
        pp.balans_integrate(adata, "plate", **given, **FEW)
    np.testing.assert_array_equal(lazy.obsm["X_pca_balans"].compute(), numpy.obsm["X_pca_balans"])
    assert_rows_equal(lazy, numpy)
    record = lazy.uns["balans"]
    n_steps = n_passes + 2 * (operator == "align")
    assert len(record["earlier_passes"]) == n_steps - 1
    moved = np.linalg.norm(numpy.obsm["X_pca_balans"] - SCORES, axis=1)
    np.testing.assert_allclose(numpy.obs["balans_displacement"], moved, rtol=1e-4, atol=1e-5)


def test_the_client_of_the_user_is_used_and_left_open(expected):
    with (
        LocalCluster(
            n_workers=1, processes=False, dashboard_address=QUIET_DASHBOARD, memory_limit=0
        ) as cluster,
        Client(cluster) as client,
    ):
        client.get_task_stream()
        adata = screen(X_pca=da.from_array(SCORES, chunks=(90, 4)))
        pp.balans_integrate(adata, "plate", correct_features=True, operator="smooth")
        assert client.status == "running"
        keys = [str(event["key"]) for event in client.get_task_stream()]
        stages = {key.split("-")[1] for key in keys if key.startswith("balans-")}
        assert {"moments", "scales", "elbow", "rows", "sums"} <= stages
        np.testing.assert_array_equal(
            adata.obsm["X_pca_balans"].compute(), expected.obsm["X_pca_balans"]
        )


def without(**parts):
    adata = screen()
    for name, value in parts.items():
        setattr(adata, name, value)
    return adata


def with_obs(values):
    adata = screen()
    adata.obs["plate"] = values
    return adata


MISSING = pd.Series(SCREEN.batch).where(SCREEN.label != 2).to_numpy()
BAD = [
    (screen, "week", {}, r"no column 'week' in obs: choose one of its 2 columns \(plate, row\)"),
    (screen, "Plate", {}, r"no column 'Plate' in obs: did you mean plate\?"),
    (screen, [], {}, "key names no column of obs"),
    (screen, None, {}, "key holds None: give the name of a column of obs, as text"),
    (screen, 0, {}, "key holds 0: give"),
    (screen, ["plate", ["row"]], {}, r"key holds \['row'\]: give"),
    (
        lambda: screen(X_umap=SCORES),
        "plate",
        {},
        r"no 'X_pca' in obsm, which holds 1 matrices \(X_umap\): .* by sc.pp.pca\(adata\)",
    ),
    (lambda: with_obs(MISSING), "plate", {}, r"obs column 'plate' is missing in \d+ of 800 rows"),
    (screen, "plate", {"n_components": 3}, "n_components means nothing to the basis 'X_pca'"),
    (screen, "plate", {"adjusted_basis": "X_pca"}, "adjusted_basis is the basis 'X_pca' itself"),
    (screen, "plate", {"n_neighbors": 0}, "n_neighbors must be"),
    (screen, "plate", {"random_state": "x"}, "random_state must be"),
    (
        screen,
        "plate",
        {"anchor": "row == '1'", "operator": "smooth"},
        "anchors mean nothing to operator 'smooth'",
    ),
    (screen, "plate", {"anchor": [True]}, "anchor has shape"),
    (lambda: without(X=None), "plate", {"correct_features": True}, "adata has no X"),
    (lambda: without(X=csr_matrix(SCREEN.profiles)), "plate", {"basis": None}, "X is sparse"),
    (
        lambda: screen(X_pca=np.where(SCORES > 5, np.nan, SCORES)),
        "plate",
        {},
        r"of 800 rows hold NaN .* \(X_pca column 0",
    ),
]


@pytest.mark.parametrize(("make", "key", "given", "reason"), BAD, ids=[case[3] for case in BAD])
def test_what_cannot_be_corrected_is_refused_in_one_line_and_changes_nothing(
    make, key, given, reason
):
    adata = make()
    before = (list(adata.obs), list(adata.obsm), list(adata.uns), list(adata.layers))
    with pytest.raises(InvalidInputError, match=reason) as refusal:
        pp.balans_integrate(adata, key, **given)
    assert len(str(refusal.value).splitlines()) == 1
    assert (list(adata.obs), list(adata.obsm), list(adata.uns), list(adata.layers)) == before


def test_a_view_of_a_backed_object_is_refused_before_the_work(tmp_path):
    screen().write_h5ad(tmp_path / "a.h5ad")
    view = anndata.read_h5ad(tmp_path / "a.h5ad", backed="r")[::2]
    with pytest.raises(InvalidInputError, match=r"view of 400 rows of a backed object"):
        pp.balans_integrate(view, "plate")


def test_an_unknown_parameter_is_named():
    with pytest.raises(TypeError, match="n_neighbours"):
        pp.balans_integrate(screen(), "plate", n_neighbours=5)


def test_importing_the_package_stays_light():
    code = (
        "import sys, balans_dask; "
        "print([m for m in ('anndata', 'dask', 'zarr', 'sklearn') if m in sys.modules]); "
        "print(callable(balans_dask.pp.balans_integrate))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.split("\n")[:2] == ["[]", "True"]
