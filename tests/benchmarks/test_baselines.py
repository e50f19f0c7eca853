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
    absent = [peer for peer in PEERS if peer not in there]
    assert all(peer in record["reading"][-1] for peer in ("fastMNN", "Seurat", *absent))
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


def test_the_reading_names_the_best_by_the_figures(ran):
    record, _ = ran
    middle = {
        method: np.median([run["same_label"] for run in runs(record, method=method)])
        for method in {run["method"] for run in record["runs"]}
    }
    best = max(middle, key=middle.get)
    answer, of_sets, *_ = record["reading"]
    assert f"the highest same label is {middle[best]:.3f}" in of_sets
    assert f"uncorrected {middle['raw']:.3f}" in of_sets
    of_ours = "displace, 2 passes"
    place = sorted(middle.values(), reverse=True).index(middle[of_ours]) + 1
    assert f"(place {place} of {len(middle)})" in answer
    assert (f"in front: `{best}` on 1" in answer) == (best not in (of_ours, "raw"))
    assert f"above uncorrected on {int(middle[of_ours] >= middle['raw'] + 0.005)}" in answer
