"""Batch keys take turns: source, then batch within source, then plate."""

import anndata
import numpy as np
import pytest

from balans_dask.workflows.mixture import Mixture, write_mixture
from tests.support.align_runs import watched
from tests.support.commands import Command, begun, run, streams
from tests.support.screens import gaussian_screen
from tests.support.stores import files_but_input, write_anndata

SCREEN = gaussian_screen(900, n_features=6, n_clusters=4, n_batches=1)
RNG = np.random.default_rng(3)
SOURCE = RNG.integers(2, size=900)
BATCH = RNG.integers(3, size=900)
KEYS = ["--batch-key", "Metadata_Source", "--batch-key", "Metadata_Batch"]
EMBEDDING = ["--n-components", 0, "--operator", "displace", "--max-rows", 60, "--quiet"]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    # Sources lie far apart, and so do the batches in each: "1" of one source is not "1" of another.
    shift = (
        3.0 * RNG.normal(size=(2, 6))[SOURCE] + 2.0 * RNG.normal(size=(6, 6))[2 * BATCH + SOURCE]
    )
    return write_anndata(
        tmp_path_factory.mktemp("order") / "in.zarr",
        (SCREEN.profiles + shift).astype(np.float32),
        Metadata_Source=[f"source_{i}" for i in SOURCE],
        Metadata_Batch=[f"b{i}" for i in BATCH],
        Metadata_kind=SCREEN.label,
        Metadata_one="same",
        Metadata_Plate=[f"{i}-{j}" for i, j in zip(SOURCE, BATCH, strict=True)],
    )


def record_of(path):
    return anndata.read_zarr(path).uns["balans"]


def corrected(store, tmp_path, name, *options):
    run("correct", store, tmp_path / name, *EMBEDDING, *options)
    return record_of(tmp_path / name)


@pytest.fixture(scope="module")
def in_turn(store, tmp_path_factory):
    """The record of a run of two keys, one pass each."""
    return corrected(store, tmp_path_factory.mktemp("turns"), "o.zarr", *KEYS, "--batch-order")


def test_every_key_has_its_pass_and_is_joint_with_those_before_it(in_turn):
    record = in_turn
    first = record["earlier_passes"]["pass_1"]
    assert list(first["batches"]) == ["source_0", "source_1"]
    assert list(record["batches"]) == [f"source_{i} | b{j}" for i in (0, 1) for j in (0, 1, 2)]
    assert len(first["drawn_by_batch"]) == 2
    assert len(record["drawn_by_batch"]) == 6
    assert record["parameters"]["n_passes"] == 1
    assert record["parameters"]["keys_in_turn"] == 2
    assert record["parameters"]["batch_order"]
    assert list(record["parameters"]["batch_key"]) == ["Metadata_Source", "Metadata_Batch"]


def test_the_first_pass_is_that_of_the_first_key_alone(in_turn, store, tmp_path):
    alone = corrected(store, tmp_path, "s.zarr", *KEYS[:2])
    joint = corrected(store, tmp_path, "j.zarr", *KEYS, "--n-passes", 2)
    first = in_turn["earlier_passes"]["pass_1"]
    for name in ("sampled_rows", "scale_quantiles", "n_kept"):
        np.testing.assert_array_equal(first[name], alone[name])
    assert in_turn["fingerprint"] != joint["fingerprint"]
    other = joint["earlier_passes"]["pass_1"]
    assert first["scale_quantiles"].shape != other["scale_quantiles"].shape


@pytest.mark.parametrize(("operator", "n_passes", "n_steps"), [("displace", 2, 2), ("align", 1, 3)])
def test_passes_are_those_of_every_key(store, tmp_path, operator, n_passes, n_steps):
    passes = ["--operator", operator, "--n-passes", n_passes]
    record = corrected(store, tmp_path, "o.zarr", *KEYS, "--batch-order", *passes)
    earlier = [record["earlier_passes"][f"pass_{i}"] for i in range(1, 2 * n_steps)]
    n_batches = [len(of_pass["batches"]) for of_pass in [*earlier, record]]
    assert n_batches == [2] * n_steps + [6] * n_steps


@pytest.mark.long
def test_the_configuration_in_the_store_makes_it_again(store, tmp_path):
    options = [*KEYS, "--batch-order", "--n-passes", 2]
    record = corrected(store, tmp_path, "o.zarr", *options)
    (tmp_path / "run.toml").write_text(record["configuration"])
    run("correct", store, tmp_path / "again.zarr", "--config", tmp_path / "run.toml")
    assert files_but_input(tmp_path / "again.zarr") == files_but_input(tmp_path / "o.zarr")


def test_the_plan_says_whose_turn_it_is(store):
    said = streams("check", store, *KEYS, "--batch-order")[0]
    words = " ".join(said.replace("│", " ").split())
    assert "Metadata_Source (2 batches), then Metadata_Batch (6 batches): 8 passes" in words


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        (["Metadata_Source"], "asks for several keys, and 1 is given"),
        (["Metadata_one", "Metadata_Batch"], "'Metadata_one' is the same in all rows"),
        (["Metadata_Source", "Metadata_Source"], "is the same in all rows of every obs column"),
        (["Metadata_Plate", "Metadata_Source"], "'Metadata_Source' is the same in all rows of ev"),
    ],
)
def test_a_turn_that_would_do_nothing_is_refused(store, tmp_path, keys, reason):
    options = [part for key in keys for part in ("--batch-key", key)]
    said = run("correct", store, tmp_path / "o.zarr", *options, "--batch-order", code=2)
    assert reason in said
    assert not list(tmp_path.iterdir())


def test_a_model_of_keys_in_turn_is_refused(store, tmp_path):
    model = ["--model", tmp_path / "m.zarr"]
    said = run("correct", store, tmp_path / "o.zarr", *KEYS, "--batch-order", *model, code=2)
    assert "leave out --model, or --batch-order" in said
    assert not list(tmp_path.iterdir())


@pytest.mark.long
def test_a_killed_run_goes_on_where_it_was(tmp_path):
    write_mixture(Mixture(n_rows=60_000, n_features=8, n_clusters=20), str(tmp_path / "in.zarr"))
    keys = ["--batch-key", "Metadata_batch", "--batch-key", "Metadata_treatment"]
    joint = [*EMBEDDING, *keys, "--max-rows", 256, "--checkpoint-seconds", 0]
    options = [*joint, "--batch-order"]
    run("correct", tmp_path / "in.zarr", tmp_path / "undisturbed.zarr", *options)
    target = tmp_path / "out.zarr"
    command = Command("correct", tmp_path / "in.zarr", target, *options)
    # The last pass lies in the folder itself: the pass before it is done.
    assert command.wait_for(begun(target))
    command.kill_all()
    other = [*joint, "--n-passes", 2, "--resume"]
    said = run("correct", tmp_path / "in.zarr", target, *other, code=2)
    assert "batch_order was True, is not set" in said
    run("correct", tmp_path / "in.zarr", target, *options, "--resume")
    assert files_but_input(target) == files_but_input(tmp_path / "undisturbed.zarr")


def test_every_key_runs_all_steps_of_align_among_its_own_batches(store, tmp_path):
    options = ["--n-components", 0, "--quiet", "--max-rows", 60, "--n-passes", 1, *KEYS]
    with watched() as steps:
        run("correct", store, tmp_path / "o.zarr", *options, "--batch-order")
    found = anndata.read_zarr(tmp_path / "o.zarr")
    assert [step.name for step in steps] == ["location", "scale", "local"] * 2
    assert [step.batch.max() + 1 for step in steps] == [2] * 3 + [6] * 3
    chain = steps[0].X
    for step in steps:
        chain = step.moved(chain)
    np.testing.assert_allclose(found.X, chain, rtol=0, atol=1e-5)
    record = found.uns["balans"]
    kept = [*(record["earlier_passes"][f"pass_{i}"] for i in range(1, 6)), record]
    assert [len(each["batches"]) for each in kept] == [2] * 3 + [6] * 3
    assert [each["rho"] for each in kept] == [step.facts["rho"] for step in steps]
    # The first key's steps are those of a run with that key alone.
    with watched() as alone:
        run("correct", store, tmp_path / "s.zarr", *options[:-2])
    source = anndata.read_zarr(tmp_path / "s.zarr").X
    np.testing.assert_array_equal(steps[3].X, source)
    assert [step.run.rows for step in alone] == [step.run.rows for step in steps[:3]]
