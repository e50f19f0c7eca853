"""`align` on odd data: finite, as the equations say, and still where nothing is shared."""

import warnings

import numpy as np
import pytest

from balans_dask import Balans
from balans_dask.errors import InputWarning
from tests.promises.test_align_reference import assert_agree
from tests.support.align_runs import watched

RNG = np.random.default_rng(0)
X = RNG.normal(size=(240, 6)).astype(np.float32)
THREE = np.repeat(["a", "b", "c"], 80)
UNEVEN = np.repeat(["a", "b", "c"], [130, 30, 80])


def changed(change):
    profiles = X.copy()
    change(profiles)
    return profiles


def far(profiles):
    profiles[THREE == "c"] += 1000.0


def constant_rows(profiles):
    profiles[:50] = profiles[100:130] = 3.0


def constant_batch(profiles):
    profiles[THREE == "b"] = 3.0


def duplicates(profiles):
    profiles[80:160] = profiles[:80]


def constant_feature_of_one_batch(profiles):
    profiles[THREE == "b", 2] = 0.0


def heavy_tail(profiles):
    profiles[::7] *= 1000.0


def one_row_differs(profiles):
    profiles[:] = 0.0
    profiles[0] = 1.0


ODD = {
    "one-row batches": (X, [*["a"] * 230, *(f"one {i}" for i in range(10))]),
    "a far batch": (changed(far), UNEVEN),
    "constant rows": (changed(constant_rows), THREE),
    "a batch of constant rows": (changed(constant_batch), THREE),
    "duplicates across batches": (changed(duplicates), THREE),
    "a feature constant in one batch": (changed(constant_feature_of_one_batch), THREE),
    "two rows": (X[:2], ["a", "b"]),
    "three rows": (X[:3], ["a", "a", "b"]),
    "heavy tails": (changed(heavy_tail), THREE),
    "one row differs": (changed(one_row_differs), THREE),
    "tiny": (X * np.float32(1e-30), THREE),
    "huge": (X * np.float32(1e30), THREE),
    "all rows single batches": (X[:60], [f"{i:03d}" for i in range(60)]),
    "one batch": (X, ["a"] * len(X)),
}
STILL = {"one batch": "a", "all rows single batches": "", "three rows": "", "a far batch": "c"}
"""Rows that share nothing: those of batches whose name begins so."""
SELDOM = {"heavy tails", "tiny", "huge", "three rows", "one row differs", "constant rows"}


def correct(profiles, batch, **options):
    """What comes out, and what went into every step; no number goes wrong on the way."""
    with (
        warnings.catch_warnings(),
        watched() as steps,
        np.errstate(divide="raise", invalid="raise", over="raise"),
    ):
        warnings.simplefilter("ignore", InputWarning)
        model = Balans(max_rows=60, n_passes=1, **options)
        found = model.fit_transform(profiles, batch=batch)
        assert model.transform(profiles, batch=batch).tobytes() == found.tobytes()
    return steps, found


@pytest.mark.parametrize(
    "kind", [pytest.param(k, marks=pytest.mark.long) if k in SELDOM else k for k in ODD]
)
def test_odd_data_is_moved_as_the_equations_say(kind):
    profiles, batch = ODD[kind]
    steps, found = correct(profiles, batch, n_components=None)
    assert np.isfinite(found).all()
    assert np.isfinite(list(steps[-1].facts.values())).all()
    for step, after in zip(steps, [*(step.X for step in steps[1:]), found], strict=True):
        assert_agree(after, step.features_moved(step.X), profiles)
    if kind in STILL:
        apart = np.char.startswith(np.array(batch), STILL[kind])
        assert found[apart].tobytes() == profiles[apart].tobytes()
        # The others are aligned as if it were not there.
        assert apart.all() or 0.1 < np.abs(found - profiles).max() < 2.0


@pytest.mark.long
@pytest.mark.parametrize("kind", ODD)
def test_so_are_features_by_their_components(kind):
    profiles, batch = ODD[kind]
    steps, found = correct(profiles, batch, n_components=3)
    assert np.isfinite(found).all()
    for step, after in zip(steps, [*(step.X for step in steps[1:]), found], strict=True):
        assert_agree(after, step.features_moved(step.X), profiles)
