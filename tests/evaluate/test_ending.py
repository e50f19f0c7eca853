"""What a correction has changed: by which rows it is told, and how many are read for it."""

import numpy as np
import pytest

from balans_dask.evaluate import ending as of_ending
from balans_dask.evaluate.ending import ending
from balans_dask.evaluate.rows import joint_batches
from balans_dask.io.store import open_store
from balans_dask.workflows.confounding import factor
from tests.support.commands import run
from tests.support.screens import gaussian_screen
from tests.support.stores import write_anndata

N_ROWS = 900
SCREEN = gaussian_screen(N_ROWS, 8)
KEY = ["--batch-key", "plate", "--n-components", 0, "--quiet"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A screen in 30 chunks, corrected as it is."""
    place = tmp_path_factory.mktemp("ending")
    own = [f"{batch} alone" for batch in SCREEN.batch]
    few = np.where(np.arange(N_ROWS) < 5, "a", None).astype(object)
    columns = {"plate": SCREEN.batch, "drug": SCREEN.label.astype(str), "own": own, "few": few}
    columns["site"] = ["one"] * N_ROWS
    write_anndata(place / "in.zarr", SCREEN.profiles, chunks=(30, 8), **columns)
    run("correct", place / "in.zarr", place / "out.zarr", *KEY)
    control = ["--sphering", "drug == '1'"]
    run("correct", place / "in.zarr", place / "sphered.zarr", *KEY, *control)
    return place


def told(folder, label="drug", batch="plate", name="out.zarr"):
    before, after = (open_store(str(folder / each)) for each in ("in.zarr", name))
    column = None if label is None else factor(before.column(label), label)
    return ending(before, after, joint_batches(before, [batch]), column)


def own_share(rows):
    """Share of the 10 nearest rows that are of the same batch, from all distances."""
    rows = np.asarray(rows, dtype=np.float64)
    distance = np.linalg.norm(rows[:, None] - rows, axis=2)
    np.fill_diagonal(distance, np.inf)
    nearest = np.argsort(distance, axis=1)[:, :10]
    return float((SCREEN.batch[nearest] == SCREEN.batch[:, None]).mean())


def test_all_rows_of_a_small_store_are_scored(folder):
    change, n_rows = told(folder)
    assert n_rows == N_ROWS
    corrected = np.asarray(open_store(str(folder / "out.zarr")).features[:])
    assert change.own_batch.before == pytest.approx(own_share(SCREEN.profiles), abs=1e-3)
    assert change.own_batch.after == pytest.approx(own_share(corrected), abs=1e-3)
    assert change.own_batch.after < change.own_batch.before
    sizes = np.unique(SCREEN.batch, return_counts=True)[1]
    mixed = (sizes * (sizes - 1)).sum() / (N_ROWS * (N_ROWS - 1))
    assert change.own_batch.mixed == pytest.approx(mixed)
    kept = corrected.var(axis=0).sum() / SCREEN.profiles.var(axis=0).sum()
    assert change.variance_kept == pytest.approx(kept, rel=1e-4)
    assert change.signal.after >= change.signal.before - 0.05


def test_labels_that_say_nothing_leave_the_batches(folder):
    """No label at all; one a batch; of five rows."""
    without, _ = told(folder, None)
    for label in ("own", "few"):
        change, n_rows = told(folder, label)
        assert change.signal is None
        assert n_rows == N_ROWS
        assert change.own_batch == without.own_batch


def test_sphered_rows_are_in_another_unit(folder):
    change, _ = told(folder, name="sphered.zarr")
    assert np.isnan(change.variance_kept)
    assert change.own_batch.after < change.own_batch.before


def test_one_batch_has_nothing_to_compare(folder):
    assert told(folder, batch="site") is None


@pytest.mark.parametrize(("bytes_read", "n_slabs"), [(1, 1), (5 * 30 * 8 * 4, 5), (2**30, 30)])
def test_few_chunks_are_read_of_many(folder, monkeypatch, bytes_read, n_slabs):
    asked = []
    read = of_ending.read_embeddings

    def noted(stores, rows, slab_rows):
        asked.append((rows, slab_rows))
        return read(stores, rows, slab_rows)

    monkeypatch.setattr(of_ending, "read_embeddings", noted)
    monkeypatch.setattr(of_ending, "READ_BYTES", bytes_read)
    change, n_rows = told(folder)
    [(rows, slab_rows)] = asked
    assert slab_rows == 30
    assert len(rows) == n_rows == 30 * n_slabs
    starts = np.unique(rows // 30)
    assert len(starts) == n_slabs
    # A table is most often in the order of its plates: slabs lie all over it.
    assert np.ptp(starts) >= 30 * (1 - 1 / n_slabs) - 1
    assert change.own_batch.mixed < 1


def test_no_more_rows_are_scored_than_take_a_moment(folder, monkeypatch):
    monkeypatch.setattr(of_ending, "SCORED_ROWS", 200)
    change, n_rows = told(folder)
    assert n_rows == 200
    whole = own_share(SCREEN.profiles)
    assert change.own_batch.before == pytest.approx(whole, abs=0.15)
