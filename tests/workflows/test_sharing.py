"""What runs, records and reports say of rho and kappa, and of few treatments that are shared."""

import warnings
from functools import cache

import anndata
import numpy as np
import pytest

import balans_dask
from balans_dask import Balans
from balans_dask.errors import InputWarning
from balans_dask.io.run_folder import RunFolder
from balans_dask.io.store import open_store
from balans_dask.labels import batch_labels
from balans_dask.workflows.mixture import Mixture
from balans_dask.workflows.records import correction_record
from balans_dask.workflows.sharing import MEANING, said_of_unshared, sharing_facts
from tests.support.commands import run, streams
from tests.support.stores import write_anndata

FEW = "few treatments seem to be shared between batches"
N_ROWS = 400
LABELS = batch_labels([np.repeat(["p1", "p2"], 20)], ["plate"], 40)


@cache
def screen(n_specific, n_rows=N_ROWS):
    """A mixture, some clusters of which are in one batch only."""
    mixture = Mixture(
        n_rows, 20, 10, 4, n_batch_specific=n_specific, cluster_spread=1.5, batch_offset=0.3
    )
    profiles = np.concatenate([rows for _, rows in mixture.slabs(n_rows)])
    obs = mixture.annotations()
    return profiles, obs["Metadata_batch"].to_numpy(), obs["Metadata_treatment"].astype(str)


def stored(tmp_path, n_specific, **columns):
    profiles, batch, label = screen(n_specific)
    obs = {"plate": batch, "compound": label.to_numpy()}
    return write_anndata(tmp_path / "in.zarr", profiles, **obs, **columns)


def messages(fit):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", InputWarning)
        fit()
    return [str(each.message) for each in said]


def test_few_shared_treatments_are_told_of_after_a_fit():
    profiles, batch, _ = screen(10)
    model = Balans()
    (said,) = messages(lambda: model.fit(profiles, batch=batch))
    assert model.rho_ < 0.5
    assert said == (
        f"{FEW} (rho {model.rho_:.2f}, where 1 is all), so align moved rows as far as their "
        "matches are confirmed and held back the rest; if you know that every batch holds every "
        "treatment, give shared_populations=True"
    )


def test_it_is_quiet_where_enough_are_shared_or_the_user_knows_or_was_told():
    profiles, batch, label = screen(10)
    declared = Balans(shared_populations=True)
    assert messages(lambda: declared.fit(profiles, batch=batch)) == []
    assert declared.kappa_ == 1.0
    (told,) = messages(lambda: Balans().fit(profiles, label, batch=batch))
    assert told.startswith("treatments are confined to batches")
    model = Balans()
    profiles, batch, _ = screen(0)
    assert messages(lambda: model.fit(profiles, batch=batch)) == []
    assert model.rho_ > 0.8
    assert model.kappa_ == 0.75
    paper = Balans.paper().fit(profiles, batch=batch)
    assert (paper.rho_, paper.kappa_) == (None, None)


@pytest.mark.parametrize(
    ("rho", "kappa", "said"),
    [
        (0.31, 0.0, "held back (kappa 0)"),
        (0.61, 0.275, "trusted by 0.28 (kappa, of at most 0.75)"),
        (1.0, 0.75, "trusted by 0.75 (kappa, of at most 0.75)"),
        (0.31, 1.0, "trusted (kappa 1)"),
    ],
)
def test_rho_and_kappa_are_put_in_words(rho, kappa, said):
    record = {"rho": rho, "kappa": kappa, "batches": ["p1", "p2"]}
    assert sharing_facts(record) == {
        "treatments shared between batches": f"{rho:.2f} (rho, from 0 to 1)",
        "matches that rows do not confirm": said,
    }
    assert bool(said_of_unshared(record, LABELS)) == (rho < 0.5 and kappa < 1)
    one = record | {"batches": ["p1"]}
    assert sharing_facts(one) == {}
    assert sharing_facts(one | {"model": "m"}) == sharing_facts(record)
    assert sharing_facts({"batches": ["p1", "p2"]}) == {}
    assert said_of_unshared({}, LABELS) == ""


@pytest.fixture(scope="module")
def corrected(tmp_path_factory):
    """A run with few shared treatments: its folder, and what it has shown and warned of."""
    folder = tmp_path_factory.mktemp("corrected")
    store = stored(folder, 10, kind=np.where(np.arange(N_ROWS) % 5 == 0, "negcon", "trt"))
    named = (store, folder / "out.zarr", "--batch-key", "plate", "--model", folder / "m.zarr")
    return folder, *streams("correct", *named)


def test_the_run_its_record_and_what_inspects_it_say_them(corrected):
    folder, shown, err = corrected
    store, out, model, moved = (
        folder / name for name in ("in.zarr", "out.zarr", "m.zarr", "moved.zarr")
    )
    record = correction_record(open_store(str(out)))
    rho = f"treatments shared between batches: {record['rho']:.2f} (rho, from 0 to 1)"
    kappa = "matches that rows do not confirm: held back (kappa 0)"
    assert f"\n  {rho}\n  {kappa}\nnext: " in shown
    assert record["sharing"] == f"{rho}; {kappa}"
    assert anndata.read_zarr(out).uns["balans"]["sharing"] == f"{rho}; {kappa}"
    warning = err[err.index(FEW) :]
    assert "every treatment, give --shared-populations yes; 80 negative controls are in" in warning
    assert "4 of 4 batches: give --sphering \"kind == 'negcon'\"" in warning
    run("transform", model, store, moved, "--batch-key", "plate")
    assert correction_record(open_store(str(moved)))["sharing"] == f"{rho}; {kappa}"
    for place in (out, model, moved):
        told = " ".join(streams("inspect", place)[0].replace("│", " ").split())
        assert f"treatments shared between batches {record['rho']:.2f} (rho" in told
        assert "matches that rows do not confirm held back (kappa 0)" in told


def test_who_spheres_on_controls_hears_of_no_others(tmp_path):
    store = stored(tmp_path, 10, kind=np.where(np.arange(N_ROWS) % 5 == 0, "negcon", "trt"))
    options = ("--batch-key", "plate", "--sphering", "kind == 'negcon'")
    said = run("correct", store, tmp_path / "out.zarr", *options)
    assert said.strip().endswith("every treatment, give --shared-populations yes")
    anchored = ("--batch-key", "plate", "--anchor", "kind == 'negcon'", "--overwrite")
    assert FEW not in run("correct", store, tmp_path / "out.zarr", *anchored)


def test_a_run_that_was_killed_after_its_fit_says_it_all_the_same(tmp_path, monkeypatch):
    store = stored(tmp_path, 10)
    command = ("correct", store, tmp_path / "out.zarr", "--batch-key", "plate")

    def killed(*given):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(RunFolder, "publish", killed)
        run(*command, code=1)
    assert FEW in run(*command, "--resume")


def test_a_report_says_what_they_mean_and_warns(corrected, tmp_path):
    pytest.importorskip("matplotlib")
    out, html = corrected[0] / "out.zarr", tmp_path / "out.html"
    said = run("report", out, "--html", html)
    assert FEW in said
    page = html.read_text()
    record = correction_record(open_store(str(out)))
    assert MEANING.split(";")[0] in page
    assert f"{record['rho']:.2f} (rho, from 0 to 1)" in page
    assert "held back (kappa 0)" in page
    labelled = run("report", out, "--html", html, "--overwrite", "--label-key",
                   "compound")  # fmt: skip
    assert "are confounded" in labelled
    assert FEW not in labelled


def test_a_single_batch_was_compared_with_none(tmp_path):
    store = stored(tmp_path, 0, one=["p"] * N_ROWS)
    shown, err = streams("correct", store, tmp_path / "out.zarr", "--batch-key", "one")
    assert "shared between" not in shown + err
    assert "sharing" not in correction_record(open_store(str(tmp_path / "out.zarr")))


def test_an_annotated_object_is_told_in_words_of_python():
    profiles, batch, _ = screen(10)
    adata = anndata.AnnData(profiles, obsm={"X_pca": profiles})
    adata.obs["plate"] = batch
    with pytest.warns(InputWarning, match=f"{FEW}.* give shared_populations=True"):
        balans_dask.pp.balans_integrate(adata, "plate")
    assert adata.uns["balans"]["sharing"].startswith("treatments shared between batches: 0.")
