"""Short soaks: the long one is ``make soak``."""

import pytest

from tests.support.soak import soak


@pytest.mark.long
def test_kills_at_random_moments_change_no_byte(tmp_path):
    counts = soak(tmp_path, n_workers=1, n_drivers=1, n_clusters=0, seconds=120, seed=1)
    assert counts["workers killed"] == 1
    assert counts["drivers killed"] == 1
    assert counts["stores compared"] >= 1


@pytest.mark.long
def test_whole_clusters_that_are_killed_change_no_byte(tmp_path):
    counts = soak(tmp_path, n_workers=0, n_drivers=0, n_clusters=1, seconds=120, seed=1)
    assert counts["clusters killed"] == 1
    assert counts["stores compared"] >= 1
