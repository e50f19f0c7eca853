"""The experiment on tiny clusters runs."""

import numpy as np
import pytest

from balans_dask import Balans
from balans_dask.workflows.mixture import Mixture
from benchmarks.experiments import tiny_clusters
from tests.benchmarks.experiment_runs import tiny


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny_clusters")
    return *tiny(tiny_clusters.EXPERIMENT, folder), folder


def test_clusters_with_a_landmark_are_those_that_the_package_drew_from(run):
    record, *_ = run
    sizes, (found,) = record["options"]["sizes"], record["runs"]
    mixture = Mixture(sizes["rows"], n_clusters=sizes["clusters"], cluster_spread=3.0)
    values = np.concatenate([rows for _, rows in mixture.slabs(1000)])
    obs = mixture.annotations()
    model = Balans(operator="smooth", n_components=None).fit(values, batch=obs["Metadata_batch"])
    assert found["stops"]["patience"] == len(model.sampled_rows_) >= found["stops"]["auto"]
    drawn = obs["Metadata_treatment"].cat.codes.to_numpy()[model.sampled_rows_]
    share = len(set(drawn)) / sizes["clusters"]
    assert found["at_stop"]["patience"]["1 landmark"] == pytest.approx(share, abs=1e-6)
    at_stop = found["at_stop"]["patience"]
    assert at_stop["touched"] >= at_stop["covered"] > 0.9
    for shares in found["shares"].values():
        assert shares == sorted(shares)
        assert len(shares) == len(found["drawn"])


def test_an_experiment_that_is_resumed_keeps_what_was_measured(run, monkeypatch):
    record, _, folder = run
    monkeypatch.setattr(tiny_clusters, "reach", lambda *given: pytest.fail("measured again"))
    again, _ = tiny(tiny_clusters.EXPERIMENT, folder, "--resume")
    assert again["runs"] == record["runs"]
