"""The whole run with one row a block against the paper's sequential loop, on the same draws."""

import numpy as np
import pytest

from balans_dask import Balans
from balans_dask.kernels.coverage import Draw, Reach, RowCoverage, draw_rows, no_coverage
from balans_dask.parameters import OPERATORS
from tests.support import reference
from tests.support.screens import gaussian_screen, integer_screen

pytestmark = pytest.mark.filterwarnings("ignore:.*covered by no sampled row")
NONE = np.zeros(0, dtype=np.int64)


def exponentials(seed, number=0):
    def draw(n_round, n):
        key = np.array([seed, number * 2**32 + n_round], dtype=np.uint64)
        philox = np.random.Philox(key=key)
        return -np.log1p(-np.random.Generator(philox).random(n))

    return draw


def both(screen, seed, **params):
    model = Balans.paper(n_components=None, block_rows=1, random_state=seed, **params)
    corrected = model.fit_transform(screen.profiles, batch=screen.batch)
    run = reference.balans(
        screen.profiles - screen.profiles.mean(axis=0),
        screen.batch,
        n_neighbors=model.n_neighbors,
        patience=model.patience,
        exponentials=exponentials(seed),
        max_rows=model.max_rows,
    )
    smoothed = reference.smooth(run, screen.profiles, screen.profiles, screen.batch)
    return model, corrected, run, smoothed


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_exact_coordinates_give_the_same_rows_scales_and_thresholds(seed):
    model, corrected, run, smoothed = both(integer_screen(400, seed=seed), seed, patience=8)
    assert model.stop_reason_ == run.stop_reason == "patience"
    np.testing.assert_array_equal(model.sampled_rows_, run.rows)
    np.testing.assert_array_equal(model.scales_, run.scales)
    np.testing.assert_array_equal(model.thresholds_, run.thresholds)
    np.testing.assert_array_equal(model.coverage_ > 0, run.coverage > 0)
    np.testing.assert_allclose(model.coverage_, run.coverage, rtol=1e-6)
    # Weights are stored in float32 and the output is float32: a few units in the last place
    # of the largest coordinate.
    atol = 4 * np.spacing(np.abs(smoothed).max().astype(np.float32))
    np.testing.assert_allclose(corrected, smoothed, rtol=0, atol=atol)


@pytest.mark.parametrize("n_neighbors", [1, 5, 12])
def test_any_number_of_neighbours(n_neighbors):
    screen = integer_screen(240, seed=5)
    model, _, run, _ = both(screen, 5, n_neighbors=n_neighbors, patience=5)
    np.testing.assert_array_equal(model.sampled_rows_, run.rows)
    np.testing.assert_array_equal(model.scales_, run.scales)


def test_the_scale_among_k_exact_duplicates_is_2_to_the_minus_40_of_the_total_variance():
    base = integer_screen(100, n_features=5)
    sixfold = base._replace(**{name: np.repeat(v, 6, axis=0) for name, v in base._asdict().items()})
    model, _, run, _ = both(sixfold, 0, patience=5)
    codes = np.unique(sixfold.batch, return_inverse=True)[1]
    own = model.scales_[np.arange(len(model.scales_)), codes[model.sampled_rows_]]
    floor = 2.0**-20 * np.sqrt(base.profiles.astype(np.float64).var(axis=0).sum())
    np.testing.assert_allclose(own, floor, rtol=1e-12)
    np.testing.assert_allclose(model.scales_, run.scales, rtol=1e-12)
    duplicates = 6 * (model.sampled_rows_[:, None] // 6) + np.arange(6)
    assert (model.coverage_[duplicates] >= 1).all()


def test_uncovered_rows_follow_the_nearest_landmark():
    screen = gaussian_screen(500, n_clusters=12)
    model, corrected, run, smoothed = both(screen, 3, max_rows=6)
    assert model.stop_reason_ == run.stop_reason == "max_rows"
    np.testing.assert_array_equal(model.sampled_rows_, run.rows)
    uncovered = model.coverage_ == 0
    assert 20 < uncovered.sum() < 480
    np.testing.assert_allclose(corrected[uncovered], smoothed[uncovered], atol=1e-4)


def test_a_screen_of_all_rows_stops_there():
    screen = integer_screen(30, seed=2)
    model, _, run, _ = both(screen, 2, patience=500)
    assert model.stop_reason_ == run.stop_reason == "all_rows"
    assert sorted(model.sampled_rows_) == list(range(30))
    np.testing.assert_array_equal(model.sampled_rows_, run.rows)


def test_draws_are_proportional_to_the_inverse_of_coverage():
    """Chi-square of 20,000 first draws; 5 cells of expected share 1 / (eps + c)."""
    coverage = np.array([0.0, 0.01, 0.1, 1.0, 10.0])
    expected = 1 / (1e-3 + coverage)
    expected *= 20_000 / expected.sum()
    state = RowCoverage(0, coverage, np.zeros(5, dtype=bool), Reach(NONE, NONE), 0)
    first = [draw_rows(Draw(seed, 0, 0, 1), state).rows[0] for seed in range(20_000)]
    observed = np.bincount(first, minlength=5)
    likely = expected >= 5
    chi2 = ((observed - expected)[likely] ** 2 / expected[likely]).sum()
    assert chi2 < 18.5  # 99.9 % of chi-square with 4 degrees of freedom


def test_a_block_is_drawn_in_the_order_of_its_keys_and_without_replacement():
    state = no_coverage(0, 1000, None)
    rows = draw_rows(Draw(7, 0, 3, 64), state).rows
    keys = exponentials(7)(3, 1000)
    np.testing.assert_array_equal(rows, np.argsort(keys)[:64])
    state.drawn[rows] = True
    assert not set(rows) & set(draw_rows(Draw(7, 0, 3, 64), state).rows)


@pytest.mark.parametrize("operator", ["smooth", "nystrom", "displace"])
@pytest.mark.parametrize("max_rows", [8, None])
def test_every_operator_is_what_its_equation_says(operator, max_rows):
    screen = integer_screen(400, seed=4)
    model, corrected, run, _ = both(screen, 4, operator=operator, patience=8, max_rows=max_rows)
    np.testing.assert_array_equal(model.sampled_rows_, run.rows)
    if max_rows:
        assert (model.coverage_ == 0).any()
    expected = getattr(reference, operator)(run, screen.profiles, screen.profiles, screen.batch)
    scale = np.abs(screen.profiles).max()
    # Affinities are stored in float32; the pseudo-inverse magnifies their rounding a little.
    tolerance = {"smooth": 1e-6, "nystrom": 1e-4, "displace": 1e-6}[operator]
    np.testing.assert_allclose(corrected, expected, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("operator", OPERATORS)
def test_strength_blends_the_input_with_the_output(operator):
    screen = gaussian_screen(500)
    X = screen.profiles.astype(np.float64)
    full = Balans(operator=operator, max_rows=100).fit_transform(X, batch=screen.batch)
    for strength in (0.0, 0.3):
        model = Balans(operator=operator, max_rows=100, strength=strength)
        found = model.fit_transform(X, batch=screen.batch)
        np.testing.assert_allclose(found, (1 - strength) * X + strength * full, atol=1e-12)


@pytest.mark.parametrize("operator", ["smooth", "displace"])
def test_a_second_pass_is_a_fit_of_what_the_first_has_left(operator):
    screen = gaussian_screen(300, seed=7)
    X = screen.profiles.astype(np.float64)
    model = Balans(
        n_components=None,
        block_rows=1,
        patience=8,
        operator=operator,
        n_passes=2,
        max_scale_ratio=None,
    )
    found = model.fit_transform(X, batch=screen.batch)
    moved = X
    for number in range(2):
        P = (moved - X.mean(axis=0)).astype(np.float32)
        run = reference.balans(
            P,
            screen.batch,
            n_neighbors=5,
            patience=8,
            exponentials=exponentials(0, number),
        )
        moved = getattr(reference, operator)(run, P, moved, screen.batch)
    np.testing.assert_array_equal(model.sampled_rows_, run.rows)
    np.testing.assert_allclose(found, moved, rtol=0, atol=1e-5)


def test_strength_blends_what_went_into_the_first_pass_with_what_the_last_put_out():
    screen = gaussian_screen(500)
    X = screen.profiles.astype(np.float64)
    full = Balans(operator="displace", n_passes=3).fit_transform(X, batch=screen.batch)
    model = Balans(operator="displace", n_passes=3, strength=0.3)
    found = model.fit_transform(X, batch=screen.batch)
    np.testing.assert_allclose(found, 0.7 * X + 0.3 * full, atol=1e-12)
    assert np.abs(model.transform(X, batch=screen.batch) - found).max() == 0
