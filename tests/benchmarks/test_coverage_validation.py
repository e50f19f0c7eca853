"""The experiment on coverage runs; samplers draw different rows by their rules."""

import math

import numpy as np
import pytest

from benchmarks.experiments import coverage_validation
from benchmarks.experiments.coverage_validation import SAMPLERS, farthest_point
from tests.benchmarks.experiment_runs import tiny


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return tiny(coverage_validation.EXPERIMENT, tmp_path_factory.mktemp("coverage"))


def test_balans_has_covered_all_but_outliers_where_its_rule_stops(run):
    (found,) = [each for each in run[0]["runs"] if each["part"] == "samplers"]
    assert list(found["samplers"]) == ["BALANS", *SAMPLERS]
    ours = found["samplers"]["BALANS"]
    assert ours["rows"][-1] > 0.99
    assert ours["rows"] == sorted(ours["rows"])
    assert found["drawn"][-1] == found["stops"]["patience"] >= found["stops"]["auto"]
    at_90 = ours["needed"]["0.9"]
    assert max(n for n, share in zip(found["drawn"], ours["rows"], strict=True)
               if share < 0.9) < at_90  # fmt: skip


def test_rows_for_every_cluster_stand_beside_k_log_k(run):
    record, text = run
    (found,) = [each for each in record["runs"] if each["part"] == "clusters"]
    k = found["n_clusters"]
    assert found["bound"] == {"1": round(k * math.log(k)), "3": round(3 * k * math.log(k))}
    assert k <= found["landmarks"]["1"] <= found["landmarks"]["3"]
    assert found["uniform"]["1"] >= k
    assert "K log K" in text


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_samplers_draw_rows_once_and_by_their_seed(name, rng):
    values = rng.normal(size=(50, 3))
    rows = SAMPLERS[name](values, 20, 1)
    assert len(set(rows.tolist())) == 20
    np.testing.assert_array_equal(rows, SAMPLERS[name](values, 20, 1))


def test_farthest_points_are_farthest():
    values = np.array([[0.0], [1.0], [10.0], [4.0]])
    rows = farthest_point(values, 4, 0).tolist()
    for place in range(1, 4):
        apart = np.abs(values - values[rows[:place]].T).min(axis=1)
        assert apart[rows[place]] == apart.max()
