"""No output holds a value that is not finite: rows that would are counted, and nothing appears."""

import dask.array as da
import numpy as np
import pandas as pd
import pytest

from balans_dask import Balans
from balans_dask.errors import InvalidInputError
from balans_dask.io.model_store import read_model, write_model
from tests.support.commands import run
from tests.support.screens import gaussian_screen
from tests.support.stores import files, write_anndata

SCREEN = gaussian_screen(300)
LARGEST = np.finfo(np.float32).max
BEYOND = (SCREEN.profiles / np.abs(SCREEN.profiles).max() * LARGEST).astype(np.float32)
"""Profiles that fill the range of float32: what weighs rows negatively leaves it."""
SAID = (
    r"\d+ of 300 rows from row 0 on would be corrected to features that are NaN or infinite in \d "
    r"columns \(.*\) in float32: rescale the profiles to a smaller range"
)


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("lazy", [False, True])
def test_arrays_that_would_not_be_finite_are_not_returned(lazy):
    profiles = da.from_array(BEYOND, chunks=100) if lazy else BEYOND
    with pytest.raises(InvalidInputError, match=SAID):
        np.asarray(Balans(operator="nystrom").fit_transform(profiles, batch=SCREEN.batch))


def test_a_displacement_beyond_its_type_is_one_of_them():
    wide = SCREEN.profiles * np.float64(1e50)
    with pytest.raises(InvalidInputError, match=r"300 of 300 rows .* to displacement that are NaN"):
        Balans(operator="smooth", n_components=None).fit_transform(wide, batch=SCREEN.batch)


@pytest.mark.parametrize("into", [False, True])
def test_a_store_that_would_not_be_finite_never_appears(tmp_path, into):
    store = write_anndata(tmp_path / "in.zarr", BEYOND, plate=SCREEN.batch)
    before = files(store)
    where = ["--into", "--layer"] if into else [tmp_path / "out.zarr"]
    options = ["--batch-key", "plate", "--operator", "nystrom"]
    err = run("correct", store, *where, *options, code=2)
    assert "are NaN or infinite in" in err
    assert err.splitlines()[-1].startswith("balans: error: ")
    assert files(store) == before
    assert not (tmp_path / "out.zarr").exists()


def test_nor_does_one_that_a_model_of_huge_numbers_would_make(tmp_path):
    model = Balans(operator="displace", n_components=4)
    named = pd.DataFrame(SCREEN.profiles, columns=[f"Cells_{i}" for i in range(8)])
    model.fit(named, batch=SCREEN.batch).save(tmp_path / "model.zarr")
    attributes, arrays = read_model(str(tmp_path / "model.zarr"))
    arrays["pass_0/moves"] = np.full_like(arrays["pass_0/moves"], LARGEST)
    write_model(str(tmp_path / "model.zarr"), attributes, arrays, overwrite=True)
    store = write_anndata(tmp_path / "in.zarr", SCREEN.profiles * 1e3, plate=SCREEN.batch)
    names = [tmp_path / "model.zarr", store, tmp_path / "out.zarr"]
    assert "are NaN or infinite" in run("transform", *names, "--batch-key", "plate", code=2)
    assert not (tmp_path / "out.zarr").exists()
