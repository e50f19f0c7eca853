"""The severity of batch effects at its tiny size, and where curves cross zero."""

import pytest

from benchmarks.experiments.severity import EXPERIMENT, METHODS, Stretch, stretches_above
from tests.benchmarks.experiment_runs import tiny


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    return tiny(EXPERIMENT, tmp_path_factory.mktemp("severity"))


def of(record, **case):
    return [run for run in record["runs"] if case.items() <= run.items()]


def test_every_operator_is_measured_without_and_with_the_effect(ran):
    record, text = ran
    for method in ("uncorrected", *METHODS[:3]):
        assert len(of(record, method=method, axis="none")) == 2
        assert len(of(record, method=method, axis="offset", level=2.0)) == 2
        assert f"| {method} |" in text


def test_an_offset_separates_batches(ran):
    record, _ = ran
    (none, offset) = (of(record, method="uncorrected", axis=axis) for axis in ("none", "offset"))
    assert min(run["batch_mixing"] for run in none) > 0.9
    assert max(run["batch_mixing"] for run in offset) < 0.1


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([-1, 1, -3], [Stretch(0.5, 1.25, True, True)]),
        ([1, 1, 1], [Stretch(0, 2, False, False)]),
        ([1, -1, 1], [Stretch(0, 0.5, False, True), Stretch(1.5, 2, True, False)]),
        ([-1, -1, 0], []),
    ],
)
def test_a_curve_is_above_zero_between_its_crossings(values, expected):
    assert stretches_above([0, 1, 2], values) == expected
