"""Other methods beside ours: every one in its own process, and only where it is."""

import sys

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from balans_dask.workflows.mixture import Mixture
from benchmarks.experiments.baselines import EXPERIMENT, OURS, PEERS
from tests.benchmarks.experiment_runs import tiny


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A run in which this Python is the environment of other methods."""
    return tiny(EXPERIMENT, tmp_path_factory.mktemp("baselines"), "--peers", sys.executable)


def runs(record, **case):
    return [run for run in record["runs"] if case.items() <= run.items()]


def test_ours_stand_beside_what_is_installed(ran):
    record, text = ran
    there = [peer for peer in PEERS if peer in record["versions"]]
    # scikit-learn is; but without negative controls there is nothing to whiten by.
    assert "sphering" in there
    methods = ["raw", *OURS, *(peer for peer in there if peer != "sphering")]
    for seed in EXPERIMENT.sizes["tiny"]["seeds"]:
        assert [run["method"] for run in runs(record, seed=seed)] == methods
    assert "## mixture" in text


def test_the_uncorrected_score_is_that_of_the_mixture(ran):
    sizes = EXPERIMENT.sizes["tiny"]
    seed, n_rows, n_each = sizes["seeds"][0], sizes["mixture_rows"], sizes["scored_each"]
    mixture = Mixture(n_rows, cluster_spread=0.5, seed=seed)
    values = np.concatenate([part for _, part in mixture.slabs(4096)]).astype(np.float64)
    label = mixture.annotations()["Metadata_treatment"].to_numpy(dtype=str)
    shuffled = np.random.default_rng([seed, 98]).permutation(n_rows)
    scored = np.sort(
        np.concatenate([shuffled[label[shuffled] == one][:n_each] for one in np.unique(label)])
    )
    values, label = values[scored], label[scored]
    index = NearestNeighbors(n_neighbors=31).fit(values)
    near = index.kneighbors(values, return_distance=False)[:, 1:]
    found = runs(ran[0], method="raw", seed=seed)[0]["same_label"]
    assert found == pytest.approx((label[near] == label[:, None]).mean(), abs=1e-4)
