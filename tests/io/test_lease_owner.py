"""A lease is as alive as the process that took it, and process numbers come round again."""

import json
import os

import pytest

from balans_dask.io import bucket


def left_by(place, **owner):
    """The file of a lease, taken by this process but for what is said."""
    mine = bucket._owner()
    place.write_text(json.dumps({"owner": mine | owner, "renewals": 0}))
    return place


def test_a_lease_of_a_process_that_runs_is_alive(tmp_path):
    assert bucket._is_alive(left_by(tmp_path / "000001"))


@pytest.mark.parametrize("owner", [{"began": 1.0}, {"pid": 2**22 + 1}, {"pid": "1"}])
def test_a_number_that_another_process_has_by_now_keeps_none_alive(tmp_path, owner):
    assert bucket._machine() == bucket._owner()["machine"]
    assert bucket._owner()["pid"] == os.getpid()
    assert not bucket._is_alive(left_by(tmp_path / "000001", **owner))
