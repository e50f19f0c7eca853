"""The experiment on stopping: settings beside the default of the same seed."""

import pytest

from balans_dask import Balans
from balans_dask.workflows.arrays import parameters_of
from benchmarks.experiments import stopping_rules
from benchmarks.experiments.stopping_rules import DEFAULT
from tests.benchmarks.experiment_runs import tiny


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    return tiny(stopping_rules.EXPERIMENT, tmp_path_factory.mktemp("stopping"))


def test_the_defaults_are_those_of_the_paper():
    given = parameters_of(Balans.paper().get_params(deep=False)).as_dict()
    assert {name: given[name] for name in DEFAULT} == DEFAULT


def test_one_setting_changes_at_a_time_and_rows_follow_it(ran):
    record, text = ran
    drawn = {}
    for run in record["runs"]:
        changed = {name: run[name] for name in DEFAULT if run[name] != DEFAULT[name]}
        assert len(changed) <= 1
        drawn[str(changed)] = run["n_sampled"]
    assert drawn["{'patience': 5}"] <= drawn["{}"] == drawn["{'stopping': 'auto'}"]
    assert drawn["{'coverage_tol': 0.01}"] <= drawn["{}"]
    assert drawn["{'block_rows': 256}"] >= 256
    assert len(drawn) == len(record["runs"]) == 5
    for name in ("default", "patience 5", "rows a block 256", "tolerance 0.01", "rule auto"):
        assert f"| {name} |" in text
