"""The scale ablation at its tiny size."""

import pytest

from benchmarks.experiments.scale_ablation import BY_BATCH, EXPERIMENT, STYLES
from tests.benchmarks.experiment_runs import tiny


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    return tiny(EXPERIMENT, tmp_path_factory.mktemp("scale_ablation"))


def by_variant(record, variant):
    return [run for run in record["runs"] if run["variant"] == variant]


def test_every_variant_is_measured_on_every_set_and_seed(ran):
    record, text = ran
    sizes = record["options"]["sizes"]
    for variant in STYLES:
        assert len(by_variant(record, variant)) == len(sizes["seeds"]) * len(sizes["mixtures"])
    assert "total" not in record["runs"][0]
    assert all(f"## {name}" in text for name in sizes["mixtures"])


def test_all_dense_variants_share_landmarks_and_the_scales_that_drew_them_cover_all(ran):
    record, _ = ran
    one, other = (by_variant(record, name) for name in (BY_BATCH, "one scale a row, k"))
    assert [run["n_landmarks"] for run in one] == [run["n_landmarks"] for run in other]
    assert max(run["uncovered"] for run in one) == 0.0
    assert max(run["uncovered"] for run in other) > 0.0


def test_scales_by_batch_mix_batches(ran):
    record, _ = ran
    for own, raw in zip(
        by_variant(record, BY_BATCH), by_variant(record, "uncorrected"), strict=True
    ):
        assert own["batch_mixing"] > raw["batch_mixing"]
