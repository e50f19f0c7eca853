"""Limits on local scales."""

import numpy as np
import pytest

from balans_dask.kernels.local_scale import NearestByBatch, guard_scales, squared_scales

NEAREST = NearestByBatch(
    np.arange(4, dtype=np.int32), np.array([[[4.0], [5.0], [100.0], [np.inf]]])
)
SCALES = squared_scales(NEAREST, floor=0.01)


def guarded(max_scale_ratio, total_variance=8.0):
    return guard_scales(SCALES, NEAREST, max_scale_ratio, total_variance)


def test_a_number_caps_from_the_smallest_scale_of_a_batch_with_another_row():
    np.testing.assert_array_equal(SCALES, [[4.0, 5.0, 100.0, 0.01]])
    np.testing.assert_array_equal(guarded(2.0).squared, [[4.0, 5.0, 16.0, 0.01]])
    assert guarded(2.0).limits == [16.0]
    assert guarded(2.0).capped == [True]
    assert not guarded(5.0).capped


def test_none_is_the_paper():
    np.testing.assert_array_equal(guarded(None).squared, SCALES)
    assert guarded(None).limits == [np.inf]
    assert not guarded(None).capped


def test_auto_lies_between_neighbours_and_strangers():
    # Strangers are 2 * 8 = 16 apart, squared; the geometric mean of 4 and 16 is 8.
    assert guarded("auto").limits == [8.0]
    np.testing.assert_array_equal(guarded("auto").squared[0, [0, 1, 3]], [4.0, 5.0, 0.01])
    # Ten times nearer than strangers would be, the squared scale is (8 / 100)^7 of the limit.
    np.testing.assert_allclose(guarded("auto").squared[0, 2], 8.0 * 0.08**7, rtol=1e-12)
    # The nearest row of the far batch, at 100, is left with no affinity: u is 100 / 8 and more.
    assert 100.0 / guarded("auto").squared[0, 2] > 8.0


def test_auto_never_goes_below_what_noise_does():
    assert guarded("auto", total_variance=1e-9).limits == pytest.approx(1.3**2 * 4.0)


def test_rows_of_a_single_value_stay_finite():
    nearest = NearestByBatch(np.arange(2, dtype=np.int32), np.zeros((1, 2, 1)))
    found = guard_scales(np.zeros((1, 2)), nearest, "auto", 0.0)
    np.testing.assert_array_equal(found.squared, [[0.0, 0.0]])
    assert not found.capped
