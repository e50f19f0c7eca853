"""The state of a run on disk."""

import ast
import time

import numpy as np

from balans_dask.io.atomic import read_state, write_state
from balans_dask.io.files import many


def test_no_two_threads_parse_a_header_at_once(monkeypatch, tmp_path):
    """Python 3.11 now and then ends one of them with a SystemError."""
    path = tmp_path / "state.npz"
    write_state(path, {"covered": np.ones(3, dtype=bool), "displacement": np.zeros(3)})
    inside, most = [], []
    parse = ast.literal_eval

    def watched(text):
        inside.append(text)
        time.sleep(0.001)
        most.append(len(inside))
        inside.pop()
        return parse(text)

    monkeypatch.setattr(ast, "literal_eval", watched)
    for state in many(read_state, [path] * 32):
        np.testing.assert_array_equal(state["covered"], np.ones(3, dtype=bool))
    assert len(most) == 64
    assert max(most) == 1


def test_a_changed_bit_of_a_state_leaves_no_other_values(tmp_path):
    """Arrays may be lost, which their reader notices; none is changed, and nothing is raised."""
    place = tmp_path / "checkpoint.npz"
    saved = {"rows": np.arange(12), "reason": np.array("patience"), "unit": np.array(1.0)}
    write_state(place, saved)
    content = place.read_bytes()
    for byte in range(len(content)):
        changed = bytearray(content)
        changed[byte] ^= 1 << byte % 8
        place.write_bytes(changed)
        for name, values in (read_state(place) or {}).items():
            np.testing.assert_array_equal(values, saved[name], strict=True)
