"""A lease is as alive as the process that took it, and process numbers come round again."""

import json
import os

import pytest

from balans_dask.io import lease


def left_by(place, **owner):
    """The file of a lease, taken by this process but for what is said."""
    mine = lease._owner()
    place.write_text(json.dumps({"owner": mine | owner, "renewals": 0}))
    return place


def test_a_lease_of_a_process_that_runs_is_alive(tmp_path):
    assert lease._is_alive(left_by(tmp_path / "000001"))


@pytest.mark.parametrize("owner", [{"began": 1.0}, {"pid": 2**22 + 1}, {"pid": "1"}])
def test_a_number_that_another_process_has_by_now_keeps_none_alive(tmp_path, owner):
    assert lease._machine() == lease._owner()["machine"]
    assert lease._owner()["pid"] == os.getpid()
    assert not lease._is_alive(left_by(tmp_path / "000001", **owner))
