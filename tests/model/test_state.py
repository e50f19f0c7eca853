"""A checkpoint of which one field does not fit the others, or the data, is not continued."""

import numpy as np
import pytest

from balans_dask.kernels.coverage import Reach
from balans_dask.kernels.landmarks import landmark_block
from balans_dask.kernels.projection import Projection
from balans_dask.model.sampler import Round, SamplerState
from balans_dask.model.state import arrays_of, is_sound
from balans_dask.model.stopping import Tally

SIZES = {"n_rows": 8, "n_batches": 2, "n_columns": 3, "block_rows": 4}


@pytest.fixture
def state():
    """Two rounds of three landmarks among eight rows."""
    blocks = []
    for first in (0, 3):
        rows = np.arange(first, first + 3)
        block = landmark_block(rows, np.ones((3, 2), np.float32), 4).with_scales(np.ones((3, 2)))
        block = block.with_guard(np.full(3, 2.0), np.zeros(3, dtype=bool))
        blocks.append(block.with_thresholds(np.full(3, 2048)))
    facts = {"rho": 0.6, "kappa": 0.25}
    sampled = SamplerState(blocks, stop_reason="patience", facts=facts)
    sampled.curve += [Round(1, 3, 5, 8, Tally()), Round(2, 6, 7, 8, Tally(1, 2, 0.5))]
    sampled.reach += [Reach(np.array([4, 3, 1]), np.array([4, 1, 0]))]
    sampled.reach += [Reach(np.array([3, 1, 2]), np.array([2, 0, 0]))]
    projection = Projection(np.array([0, 2]), np.zeros(2), np.ones((2, 2)), 1.0)
    return arrays_of(projection, sampled)


def put(values, place, value):
    changed = np.array(values)
    changed[place] = value
    return changed


CHANGES = {
    "block_sizes": [
        lambda sizes: sizes + 1,
        lambda sizes: put(sizes, 0, 5),
        lambda sizes: np.array([2, 4]),
        lambda sizes: np.array([6]),
    ],
    "rows": [
        lambda rows: put(rows, 0, 8),
        lambda rows: put(rows, 0, -1),
        lambda rows: put(rows, 0, 1),
    ],
    "scores": [lambda scores: put(scores, (0, 0), np.nan), lambda scores: scores[:, :1]],
    "scales": [
        lambda scales: put(scales, (0, 0), 0.0),
        lambda scales: put(scales, (0, 0), 3.0),
        lambda scales: scales[:, :1],
    ],
    "thresholds": [lambda bins: put(bins, 0, 2049), lambda bins: put(bins, 0, -1)],
    "limits": [lambda limits: put(limits, 0, np.nan), lambda limits: put(limits, 0, 0.0)],
    "capped": [lambda capped: capped.astype(int)],
    "curve": [
        lambda curve: put(curve, (0, 0), 2),
        lambda curve: put(curve, (0, 1), 6),
        lambda curve: put(curve, (0, 1), 4),
        lambda curve: put(curve, (1, 1), 6),
        lambda curve: put(curve, (0, 2), 9),
        lambda curve: curve[:1],
    ],
    "tally": [
        lambda tally: tally[:, :2],
        lambda tally: put(tally, (0, 2), np.nan),
        lambda tally: put(tally, (0, 2), -1),
        lambda tally: put(tally, (1, 0), 7),
        lambda tally: put(tally, (1, 1), 0.5),
    ],
    "n_kept": [
        lambda n_kept: put(n_kept, 0, 3),
        lambda n_kept: put(n_kept, 0, 9),
        lambda n_kept: put(n_kept, 2, -1),
    ],
    "n_new": [
        lambda n_new: put(n_new, 0, 3),
        lambda n_new: np.array([4, 0, 0, 3, 0, 0]),
        lambda n_new: put(put(n_new, 2, -1), 1, 2),
    ],
    "stop_reason": [lambda reason: np.array("impatience"), lambda reason: np.array(1)],
    "facts": [
        lambda facts: facts[:1],
        lambda facts: put(facts, 0, 1.5),
        lambda facts: put(facts, 1, np.nan),
    ],
    "used": [
        lambda used: used[::-1],
        lambda used: put(used, 1, 3),
        lambda used: put(used, 0, -1),
    ],
    "mean": [lambda mean: put(mean, 0, np.inf)],
    "weights": [lambda weights: put(weights, (0, 0), np.nan), lambda weights: weights[:, :1]],
    "total_variance": [lambda value: np.array(0.0), lambda value: np.array(np.nan)],
    "unit": [lambda value: np.array(3.0), lambda value: np.array(0.0)],
}
EVERY = [
    lambda values: values[None],
    lambda values: values.astype("S8" if values.dtype.kind == "U" else complex),
    lambda values: None,
]


def test_a_state_as_it_was_saved_is_sound(state):
    assert is_sound(state, SIZES, weighted=True)
    assert set(CHANGES) == set(state)
    # Before all is learned, and with other operators, there are none.
    assert is_sound(state | {"facts": np.empty(0)}, SIZES, weighted=True)


@pytest.mark.parametrize(
    ("name", "number"),
    [(name, n) for name, ways in CHANGES.items() for n in range(len(ways) + len(EVERY))],
)
def test_a_state_of_which_one_field_changed_is_not(state, name, number):
    changed = [*CHANGES[name], *EVERY][number](state[name])
    others = {key: values for key, values in state.items() if key != name}
    assert not is_sound(others if changed is None else others | {name: changed}, SIZES, True)


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("change", [-2, 1])
def test_nor_is_one_of_other_data(state, name, change):
    sizes = SIZES | {name: SIZES[name] + change}
    # A block may be smaller than others, and a feature that varies need not be the last one.
    fits = change == 1 and name in ("block_rows", "n_columns")
    assert is_sound(state, sizes, weighted=True) == fits


def test_nor_is_one_of_another_preprocessor(state):
    assert not is_sound(state, SIZES, weighted=False)
