"""The experiment on the noise model: laws against their formulas, and what a run says."""

import numpy as np
import pytest
import scipy.stats

from benchmarks.experiments import noise_model
from tests.benchmarks.experiment_runs import tiny


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    return tiny(noise_model.EXPERIMENT, tmp_path_factory.mktemp("noise"))


def test_the_law_of_a_square_matrix_is_the_quarter_circle():
    places, below = noise_model.law((70, 70))
    by_formula = (places * np.sqrt(4 - np.minimum(places, 2) ** 2) / 2) / np.pi
    by_formula += 2 * np.arcsin(places / 2) / np.pi
    np.testing.assert_allclose(below, by_formula, atol=1e-3)


@pytest.mark.parametrize("shape", [(200, 200), (80, 300), (300, 80)])
def test_gaussian_noise_follows_the_law_and_loses_nothing(shape):
    noise = np.random.default_rng(0).normal(size=shape)
    assert noise_model.spectrum_of(noise).distance() < 0.03
    assert noise_model.low_rank_removed(noise).n_outside == 0
    low_rank = np.outer(np.arange(shape[0]), np.ones(shape[1]))
    assert noise_model.low_rank_removed(noise + low_rank).n_outside == 1
    np.testing.assert_allclose(
        noise_model.spectrum_of(noise).values.max(), noise_model.edge(shape), rtol=0.05
    )


def test_block_means_leave_out_what_a_row_is_to_itself():
    matrix = np.array([[9.0, 1.0, 4.0], [3.0, 9.0, 6.0]])
    label = np.array([0, 0, 1])
    means = noise_model.block_means(matrix, label[:2], label, np.arange(2))
    np.testing.assert_array_equal(means, [[2, 2, 5], [2, 2, 5]])


def test_exponential_entries_fit_and_affinities_are_measured_beside_them(ran):
    record, text = ran
    matrices = {(run["data"], run["matrix"]) for run in record["runs"]}
    assert len(matrices) == 2 * 3
    for run in record["runs"]:
        assert run["exponential, label means"]["ks"] < 0.05
        assert run["exponential, low rank"]["n_outside"] == 1  # the positive mean
    kept = next(run for run in record["runs"] if run["matrix"] == "kept")
    assert kept["zero_share"] > 0.5
    assert "KS, low rank" in text


def test_the_distance_of_entries_is_that_of_scipy():
    entries = np.random.default_rng(0).exponential(size=500)
    entries[:200] = 0.0
    found = noise_model._entries(entries)
    expected = scipy.stats.kstest(entries, "expon", args=(0, entries.mean())).statistic
    np.testing.assert_allclose(found["ks_entries"], expected, atol=1e-5)
    assert found["zero_share"] == 0.4
