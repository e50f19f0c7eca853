"""The experiment on blocks of draws: the dense sampler is ours, and the tests are what they say."""

import numpy as np
import pytest

from balans_dask import Balans
from benchmarks.experiments import sampler_blocks
from benchmarks.experiments.sampler_blocks import draw_landmarks
from benchmarks.harness import dense_operators as dense
from tests.benchmarks.experiment_runs import tiny
from tests.support.screens import integer_screen


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    return tiny(sampler_blocks.EXPERIMENT, tmp_path_factory.mktemp("blocks"))


@pytest.mark.parametrize("block_rows", [5, 64])
def test_the_dense_sampler_draws_and_stops_as_the_package_does(block_rows):
    screen = integer_screen(300, seed=2)
    model = Balans.paper(n_components=None, block_rows=block_rows, patience=8, random_state=4).fit(
        screen.profiles, batch=screen.batch
    )
    everywhere = np.arange(300)
    squared = dense.squared_distances(screen.profiles, everywhere)
    scales = dense.batch_scales(squared, everywhere, screen.batch, 5)
    kept = dense.affinity_rows(squared, everywhere, scales).kept
    drawn = draw_landmarks(kept, block_rows, seed=4, patience=8)
    np.testing.assert_array_equal(drawn.rows[: drawn.n_stop], model.sampled_rows_)
    longer = draw_landmarks(kept, block_rows, seed=4, patience=8, least=250)
    assert longer.n_stop == drawn.n_stop
    np.testing.assert_array_equal(longer.rows[: drawn.n_stop], model.sampled_rows_)


def test_a_shift_is_found_equality_is_not_denied_and_power_is_what_it_says():
    rng = np.random.default_rng(0)
    error, n_runs = np.sqrt(2 / 50), 400
    smallest = sampler_blocks.detectable(error, n_tests=1)
    found = [
        sampler_blocks.compare(rng.normal(size=50), rng.normal(size=50) + shift).p_mean < 0.05
        for shift in (0.0, smallest)
        for _ in range(n_runs)
    ]
    assert 0.02 < np.mean(found[:n_runs]) < 0.08
    assert 0.74 < np.mean(found[n_runs:]) < 0.86


def test_equivalence_needs_an_interval_within_the_margin():
    rng = np.random.default_rng(1)
    same = sampler_blocks.compare(rng.normal(size=80), rng.normal(size=80))
    assert same.equivalent(1.0)
    assert not same.equivalent(0.01)
    constant = sampler_blocks.compare([1.0, 1.0], [1.0, 1.0])
    assert constant.equivalent(1e-9)
    assert constant.p_mean == 1.0


def test_counts_of_clusters_are_compared_by_runs():
    rng = np.random.default_rng(2)
    first, second = rng.multinomial(64, np.full(10, 0.1), size=(2, 20))
    assert sampler_blocks.counts_differ(first, second) > 0.05
    assert sampler_blocks.counts_differ(first, np.roll(first, 1, axis=0)) == 1.0
    shifted = rng.multinomial(64, np.r_[0.2, np.full(8, 0.1), 0.0], size=20)
    assert sampler_blocks.counts_differ(first, shifted) < 0.01


def test_holm_corrects_a_family():
    corrected = sampler_blocks.corrected([0.01, 0.04, 0.03, 0.5])
    np.testing.assert_allclose(corrected, [0.04, 0.09, 0.09, 0.5])


def test_every_group_is_compared_with_one_row_at_a_time(ran):
    record, text = ran
    assert [run["block_rows"] for run in record["runs"]] == [1, 64, 1, 64]
    sizes = sampler_blocks.EXPERIMENT.sizes["tiny"]
    for run in record["runs"]:
        assert len(run["rows_drawn"]) == len(sizes["seeds"])
        assert all(sum(counts) == 64 for counts in run["clusters_64"])
        assert sum(run["cluster_sizes"]) == sizes["rows"]
        assert run["as_package"] >= 0.9
    assert "| separated: rows drawn, at the stop | 64 |" in text
