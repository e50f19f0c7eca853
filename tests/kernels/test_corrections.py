"""Which weights an operator believes: eigenvalues of landmarks, and sums that cancel."""

import numpy as np

from balans_dask.kernels.affinity import AffinityRows
from balans_dask.kernels.operators import covered_by
from balans_dask.kernels.smooth import pseudo_inverse


def test_eigenvalues_below_a_thousandth_of_the_largest_are_dropped():
    inverse = pseudo_inverse(np.diag([2.0, 2.01e-3, 1.99e-3]))
    np.testing.assert_allclose(inverse, np.diag([0.5, 1 / 2.01e-3, 0.0]), rtol=1e-12)


def test_a_row_whose_weights_cancel_to_less_than_a_tenth_is_not_covered():
    """Two landmarks of affinity 1 to one row, whose weights sum to a share of their sizes."""
    both = AffinityRows(
        2, np.array([0, 1, 2]), np.zeros(2, dtype=np.uint16), np.ones(2, dtype=np.float32)
    )
    for share, covered in [(0.101, True), (0.099, False)]:
        weights = np.array([[1.0 + share], [share - 1.0]])
        assert covered_by([both], 1, weights) == [covered]
