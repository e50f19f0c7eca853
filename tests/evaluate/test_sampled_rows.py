"""What is known of the rows that are scored."""

import numpy as np
import pytest

from balans_dask.errors import InvalidInputError
from balans_dask.evaluate.rows import sampled_rows
from balans_dask.io.store import open_store
from tests.support.screens import gaussian_screen
from tests.support.stores import write_anndata


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "in.zarr"
    profiles, batch, label = gaussian_screen(400, 6)
    compound = np.where(label == 0, None, np.char.add("C", (label % 3).astype(str))).astype(object)
    write_anndata(path, profiles, plate=batch, drug=label.astype(str), compound=compound)
    return open_store(str(path))


def test_rows_without_a_compound_are_not_of_one_compound(store):
    labels = sampled_rows(store, ["plate"], "drug", compound_key="compound").labels
    without = labels.label == "0"
    assert len(set(labels.compound[without])) == without.sum() > 1
    assert len(set(labels.compound[~without])) == 3


def test_a_query_that_names_no_control_is_refused(store):
    with pytest.raises(InvalidInputError, match=r"drug == '77'\" names no row: drug has '"):
        sampled_rows(store, ["plate"], "drug", control="drug == '77'")
