"""The experiment on growth runs, and its figures can be computed otherwise."""

import numpy as np
import pytest

from balans_dask import Balans
from balans_dask.workflows.mixture import Mixture
from benchmarks.experiments import scaling
from benchmarks.experiments.scaling import exponent, gains, growth, last_exponent
from tests.benchmarks.experiment_runs import made_up, tiny


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return tiny(scaling.EXPERIMENT, tmp_path_factory.mktemp("scaling"))


def test_landmarks_are_those_of_the_package_and_means_come_nearer(run):
    record, text = run
    sizes = record["options"]["sizes"]
    assert len(record["runs"]) == 3 * len(sizes["rows"])
    at = {each["operator"]: each for each in record["runs"] if each["n_rows"] == sizes["rows"][0]}
    mixture = Mixture(sizes["rows"][0], cluster_spread=0.5)
    values = np.concatenate([rows for _, rows in mixture.slabs(1000)])
    model = Balans(operator="smooth", n_components=None)
    model.fit(values, batch=mixture.annotations()["Metadata_batch"])
    assert at["smooth"]["n_landmarks"] == at["displace"]["n_landmarks"] == len(model.sampled_rows_)
    for operator in ("smooth", "displace"):
        assert at[operator]["between_batches"] < at["uncorrected"]["between_batches"]
    assert at["smooth"]["spread_kept"] < at["displace"]["spread_kept"]
    assert abs(at["smooth"]["mass_elsewhere"] - at["smooth"]["dense_elsewhere"]) < 0.05
    assert "The operator of all rows" in text


def test_an_exponent_is_fitted_and_gains_are_paired_by_seed():
    case = {"part": "run", "kind": "a"}
    runs = [case | {"n_rows": n, "seed": s, "operator": "smooth", "seconds": 2.0 * n**0.8,
                    "total": 0.6 + s} for n in (10, 100, 1000) for s in (0, 1)]  # fmt: skip
    runs += [case | {"n_rows": 10, "seed": s, "operator": "uncorrected", "total": 0.4 + s}
             for s in (1, 0)]  # fmt: skip
    assert exponent(made_up(runs), "seconds", "a", "smooth").slope == pytest.approx(0.8)
    found = gains(made_up(runs), kind="a", operator="smooth", n_rows=10)
    assert found == pytest.approx([0.2 / 0.4, 0.2 / 1.4])


@pytest.mark.parametrize("power", [0.9, 1.4])
def test_growth_is_told_apart_from_start_up_also_by_runs_that_are_hardly_longer(power):
    def seconds(n_rows):
        return 5.0 + (n_rows / 50_000) ** power

    runs = [{"part": "run", "kind": "a", "operator": "smooth", "n_rows": n, "seconds": seconds(n)}
            for n in (10_000, 100_000, 1_000_000)]  # fmt: skip
    starts = [{"part": "start", "operator": "smooth", "seconds": seconds(1000)}]
    assert growth(made_up(runs + starts), "a", "smooth").slope == pytest.approx(power, abs=1e-3)
    assert growth(made_up(runs), "a", "smooth") is None
    assert growth(made_up(runs[1:] + starts), "a", "smooth") is None


def test_the_last_exponent_is_of_the_two_largest_sizes():
    times = {10: (9.0, 9.0), 100: (3.0, 7.0), 1000: (32.0, 72.0)}
    runs = [{"part": "run", "kind": "a", "operator": "smooth", "n_rows": n, "seconds": seconds}
            for n, of_seeds in times.items() for seconds in of_seeds]  # fmt: skip
    case = ("seconds", "a", "smooth")
    assert last_exponent(made_up(runs), *case, less=2.0) == pytest.approx(np.log10(50 / 3))
    assert last_exponent(made_up(runs), *case, less=6.0) is None
    assert last_exponent(made_up(runs), *case, less=np.nan) is None
