"""What principal components lose, at the tiny size."""

import numpy as np
import pytest

from balans_dask import Balans
from benchmarks.experiments.dimension import EXPERIMENT, Screen
from benchmarks.harness.experiment import Setting
from tests.benchmarks.experiment_runs import tiny


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    return tiny(EXPERIMENT, tmp_path_factory.mktemp("dimension"))


def test_components_keep_no_more_of_the_signal_than_they_could(ran):
    record, text = ran
    kept = [(run["signal_kept"], run["could_be_kept"]) for run in record["runs"]]
    assert all(0 < signal <= could + 1e-9 <= 1 + 1e-6 for signal, could in kept)
    full = [run for run in record["runs"] if run["components"] == "10" and run["rank"] == 3]
    assert min(run["could_be_kept"] for run in full) == pytest.approx(1.0)
    assert "## 60 features, signal of rank 20" in text


def test_the_signal_alone_tells_clusters_apart_best(ran):
    record, _ = ran
    shares = {
        components: np.mean(
            [run["same_label"] for run in record["runs"] if run["components"] == components]
        )
        for components in ("10", "all features", "signal alone")
    }
    assert shares["signal alone"] == max(shares.values())


def test_components_are_those_of_the_package():
    sizes = EXPERIMENT.sizes["tiny"]
    screen = Screen(Setting("tiny", sizes, None, None), sizes["cases"][0], rank=3, seed=0)
    values = np.concatenate([rows for _, rows in screen.mixture.slabs(1000)])
    model = Balans(n_components=10).fit(values, batch=screen.profiles.batch)
    own = model.model_.preprocessor.projection.scores(values)
    given = screen.embedding("10")
    signs = np.sign((own * given).sum(axis=0))
    np.testing.assert_allclose(own, given * signs, rtol=1e-3, atol=1e-3)
