"""The scanpy tutorial with a correction between PCA and neighbours; by make test-scanpy."""

import warnings

import anndata
import numpy as np
import pytest

from balans_dask import pp
from tests.support.commands import run
from tests.support.screens import gaussian_screen
from tests.support.stores import write_anndata

pytest.importorskip("leidenalg", reason="no leiden: pip install igraph leidenalg")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    sc = pytest.importorskip("scanpy", reason="no scanpy: pip install scanpy")

pytestmark = [
    # Of scanpy, umap and leiden, which none of them are ours to heed.
    pytest.mark.filterwarnings("ignore"),
    # umap compiles for a while.
    pytest.mark.timeout(600),
]
SCREEN = gaussian_screen(1500, n_features=30, n_clusters=5, n_batches=3, offset=0.7)


def from_memory(tmp_path):
    adata = anndata.AnnData(SCREEN.profiles.copy())
    adata.obs["batch"] = SCREEN.batch
    sc.pp.pca(adata, n_comps=10)
    pp.balans_integrate(adata, "batch", operator="displace", n_passes=2)
    return adata


def from_store(tmp_path):
    store = write_anndata(tmp_path / "a.zarr", SCREEN.profiles, batch=SCREEN.batch)
    adata = anndata.read_zarr(store)
    sc.pp.pca(adata, n_comps=10)
    with anndata.settings.override(zarr_write_format=3):
        adata.write_zarr(tmp_path / "b.zarr")
    options = ["--basis", "X_pca", "--operator", "displace", "--n-passes", 2]
    run("correct", tmp_path / "b.zarr", "--into", "--batch-key", "batch", *options)
    return anndata.read_zarr(tmp_path / "b.zarr")


@pytest.mark.parametrize("make", [from_memory, from_store])
def test_neighbours_umap_and_clusters_follow_the_corrected_scores(tmp_path, make):
    from sklearn.metrics import adjusted_rand_score

    adata = make(tmp_path)
    assert adata.obsm["X_pca_balans"].shape == (1500, 10)
    agreement = {}
    for basis in ("X_pca", "X_pca_balans"):
        sc.pp.neighbors(adata, use_rep=basis)
        sc.tl.umap(adata, maxiter=20)
        sc.tl.leiden(adata, flavor="igraph", n_iterations=2, resolution=0.3)
        assert np.isfinite(adata.obsm["X_umap"]).all()
        agreement[basis] = adjusted_rand_score(SCREEN.label, adata.obs["leiden"])
    assert agreement["X_pca"] < 0.6
    assert agreement["X_pca_balans"] > 0.9
