"""Batch labels: codes, sizes, and which batches are too small for a local scale of their own."""

import numpy as np
import pytest

from balans_dask.labels import batch_labels


@pytest.mark.parametrize("k", [1, 5])
def test_a_batch_of_k_rows_is_clamped_and_one_of_k_plus_1_is_not(k):
    """A row is not its own neighbour: in a batch of k rows each has only k - 1 others."""
    batch = np.repeat(["one", "exact", "enough", "many"], [1, k, k + 1, 9 * k])
    labels = batch_labels([batch], ["batch"], len(batch))
    sizes = dict(zip(labels.names, labels.sizes, strict=True))
    assert sizes == {"one": 1, "exact": k, "enough": k + 1, "many": 9 * k}
    assert labels.clamped(k) == ["exact", "one"]
