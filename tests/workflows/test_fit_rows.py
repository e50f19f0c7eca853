"""`align` learns from as many rows of every batch, and all rows take its steps in one pass."""

from dataclasses import replace

import anndata
import dask.array as da
import numpy as np
import pytest
import zarr

from balans_dask import Balans
from balans_dask.errors import InvalidInputError
from balans_dask.kernels import coverage
from balans_dask.kernels.coverage import fit_rows
from balans_dask.model import plan as model_plan
from balans_dask.model.saved import load_model
from balans_dask.parameters import Parameters
from balans_dask.tiling import TILE_ROWS, tile_slices
from balans_dask.workflows import sampled
from balans_dask.workflows.mixture import Mixture, write_mixture
from balans_dask.workflows.store_output import PassWriter
from tests.support.commands import run
from tests.support.stores import files_but_input

pytestmark = pytest.mark.filterwarnings("ignore:.*covered by no sampled row")
N_ROWS, N_BATCHES, N_CLUSTERS = 6 * TILE_ROWS + 77, 3, 20
FEW = 3 * TILE_ROWS
KEYS = ("--batch-key", "Metadata_batch")
OPTIONS = [
    *KEYS, "--n-components", 4, "--max-rows", 32, "--block-rows", 16, "--fit-rows", FEW,
    "--checkpoint-seconds", 0, "--quiet",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("fit_rows")
    write_mixture(Mixture(N_ROWS, 5, n_batches=N_BATCHES), str(place / "in.zarr"))
    run("correct", place / "in.zarr", place / "out.zarr", *OPTIONS, "--model", place / "m.zarr")
    return place


@pytest.fixture(scope="module")
def given(folder):
    return anndata.read_zarr(folder / "in.zarr")


def estimator(**further):
    return Balans(
        **{"n_components": 4, "max_rows": 32, "block_rows": 16, "fit_rows": FEW, **further}
    )


def batch_of(table):
    return table.obs["Metadata_batch"].to_numpy()


# Which rows


def test_as_many_rows_of_every_batch_are_drawn_and_all_of_a_small_one():
    codes = np.repeat([0, 1, 2], [900, 40, 500]).astype(np.uint8)
    rows = fit_rows(7, codes, None, 100)
    assert (np.diff(rows) > 0).all()
    np.testing.assert_array_equal(np.bincount(codes[rows]), [100, 40, 100])
    assert not np.array_equal(rows, fit_rows(8, codes, None, 100))


def test_every_row_of_a_batch_is_as_likely_as_any_other():
    codes = np.tile([0, 1], 200).astype(np.uint8)
    times = np.zeros(400)
    for seed in range(600):
        times[fit_rows(seed, codes, None, 50)] += 1
    # 600 draws with 1 in 4: a standard deviation is 10.6.
    assert abs(times - 150).max() < 5 * 10.6


def test_they_are_the_smallest_keys_however_many_are_drawn_at_once(monkeypatch):
    codes = np.random.default_rng(0).integers(0, 4, 3000).astype(np.uint8)
    keys = coverage.Draw(3, 0, coverage.FIT_DRAW, 150).uniforms(0).random(3000)
    by_key = [np.flatnonzero(codes == b)[np.argsort(keys[codes == b])][:150] for b in range(4)]
    expected = np.sort(np.concatenate(by_key))
    np.testing.assert_array_equal(fit_rows(3, codes, None, 150), expected)
    monkeypatch.setattr(coverage, "DRAWN_AT_ONCE", 128)
    np.testing.assert_array_equal(fit_rows(3, codes, None, 150), expected)


def test_anchors_alone_are_drawn_where_there_are_some():
    codes = np.tile([0, 1, 2], 300).astype(np.uint8)
    anchor = np.arange(900) % 5 == 0
    rows = fit_rows(0, codes, anchor, 30)
    assert anchor[rows].all()
    np.testing.assert_array_equal(np.bincount(codes[rows]), [30, 30, 30])


def test_a_batch_gives_512_rows_at_least():
    assert Parameters().fit_rows_of([10**6] * 5) == 20_000
    assert Parameters(fit_rows=1000).fit_rows_of([513] * 5) == 512
    assert Parameters().fit_rows_of([10**6] * 10_000) == 512
    assert Parameters().fit_rows_of([384] * 2500) is None
    assert Parameters(fit_rows="all").fit_rows_of([10**6] * 5) is None
    assert Parameters(operator="smooth").fit_rows_of([10**6] * 5) is None


def test_what_small_batches_leave_is_for_the_others():
    assert Parameters().fit_rows_of([10**6] + [5] * 999) == 100_000 - 5 * 999
    assert Parameters().fit_rows_of([60_000, 60_000, 10_000]) == 45_000
    assert Parameters(fit_rows=1500).fit_rows_of([600, 600, 10]) is None


@pytest.mark.parametrize("wrong", [0, -3, 2.5, True, "some"])
def test_what_is_no_number_of_rows_is_refused(wrong):
    with pytest.raises(InvalidInputError, match="fit_rows must be 'all', or a whole number"):
        Parameters(fit_rows=wrong)


def test_the_papers_operators_learn_from_all(folder, tmp_path):
    with pytest.raises(InvalidInputError, match="fit_rows must be left out with operator 'smooth'"):
        Parameters(operator="smooth", fit_rows=1000)
    target = tmp_path / "o.zarr"
    said = run("correct", folder / "in.zarr", target, *OPTIONS, "--paper", code=2)
    assert "--fit-rows must be left out with operator 'smooth'" in said
    said = run("correct", folder / "in.zarr", target, *KEYS, "--fit-rows", "few", code=2)
    assert "'few' is neither a whole number nor all" in said


# What comes out


def test_a_fit_of_these_rows_alone_moves_all_rows_alike(given):
    """Of batches of one size, which weigh alike among few rows and all."""
    batch = np.tile(["a", "b", "c"], N_ROWS // 3)
    X = given.X[: len(batch)] + 0.3 * (batch == "b")[:, None]
    whole = estimator(n_components=None)
    corrected = whole.fit_transform(X, batch=batch)
    rows = np.flatnonzero(~np.isnan(whole.coverage_))
    assert len(rows) == FEW
    alone = estimator(n_components=None, fit_rows="all").fit(X[rows], batch=batch[rows])
    np.testing.assert_array_equal(rows[alone.sampled_rows_], whole.sampled_rows_)
    np.testing.assert_array_equal(alone.coverage_, whole.coverage_[rows])
    np.testing.assert_allclose(alone.transform(X, batch=batch), corrected, rtol=0, atol=1e-5)
    assert abs(corrected - X).max() > 0.1


def test_batches_weigh_by_all_their_rows(given):
    batch = np.where(np.arange(N_ROWS) < 4 * TILE_ROWS, "most", "few")
    X = given.X + 0.4 * (batch == "few")[:, None]
    model = estimator(n_components=None, fit_rows=2 * TILE_ROWS).fit(X, batch=batch).model_
    [shift] = model.passes[0].operator.shift
    sizes = np.array([(batch == name).sum() for name in model.batches])
    np.testing.assert_allclose(sizes @ shift / N_ROWS, 0.0, atol=1e-6)
    assert abs(shift).max() > 0.1


def test_store_and_arrays_agree_and_lazy_ones(folder, given):
    found = anndata.read_zarr(folder / "out.zarr")
    model = estimator()
    np.testing.assert_array_equal(found.X, model.fit_transform(given.X, batch=batch_of(given)))
    lazy = da.from_array(given.X, chunks=(5000, 3))
    computed = estimator().fit_transform(lazy, batch=batch_of(given)).compute()
    np.testing.assert_array_equal(found.X, computed)
    stored = zarr.open_group(folder / "in.zarr", mode="r")["X"]
    computed = estimator().fit_transform(stored, batch=batch_of(given)).compute()
    np.testing.assert_array_equal(found.X, computed)


def test_landmarks_and_records_are_of_all_rows(folder, given):
    found = anndata.read_zarr(folder / "out.zarr")
    record = found.uns["balans"]
    model = estimator().fit(given.X, batch=batch_of(given))
    fitted = np.flatnonzero(~np.isnan(model.coverage_))
    steps = [*(record["earlier_passes"][f"pass_{i}"] for i in (1, 2, 3)), record]
    drawn = np.unique(np.concatenate([step["sampled_rows"] for step in steps]))
    np.testing.assert_array_equal(np.flatnonzero(found.obs["balans_is_landmark"]), drawn)
    assert np.isin(drawn, fitted).all()
    assert {int(step["n_fit_rows"]) for step in steps} == {len(fitted)} == {FEW}
    np.testing.assert_array_equal(model.sampled_rows_, record["sampled_rows"])
    np.testing.assert_array_equal(
        np.concatenate(
            [block.rows for block in load_model(str(folder / "m.zarr")).passes[3].blocks]
        ),
        record["sampled_rows"],
    )
    projection = model.model_.preprocessor.projection
    scores = np.concatenate([projection.scores(given.X[tile]) for tile in tile_slices(N_ROWS)])
    way = np.linalg.norm(found.obsm["X_pca_balans"] - scores, axis=1)
    np.testing.assert_allclose(found.obs["balans_displacement"], way, rtol=1e-4, atol=1e-5)


def test_a_model_puts_its_rows_where_the_fit_has_put_them(folder, tmp_path):
    run("transform", folder / "m.zarr", folder / "in.zarr", tmp_path / "t.zarr", *KEYS, "--quiet")
    one, other = (anndata.read_zarr(p) for p in (folder / "out.zarr", tmp_path / "t.zarr"))
    np.testing.assert_array_equal(one.X, other.X)
    np.testing.assert_array_equal(one.obsm["X_pca_balans"], other.obsm["X_pca_balans"])
    for name in ("balans_covered", "balans_displacement"):
        np.testing.assert_array_equal(one.obs[name], other.obs[name])


def in_turn(monkeypatch):
    plan_run = model_plan.plan_run

    def step_by_step(*given, **named):
        plan = plan_run(*given, **named)
        assert plan.at_once
        return replace(plan, at_once=False)

    monkeypatch.setattr(model_plan, "plan_run", step_by_step)


@pytest.mark.parametrize("further", [[], ["--strength", 0.4], ["--uncovered", "keep"]])
def test_all_steps_at_once_make_the_bytes_of_one_pass_after_another(
    folder, tmp_path, monkeypatch, further
):
    run("correct", folder / "in.zarr", tmp_path / "o.zarr", *OPTIONS, *further)
    in_turn(monkeypatch)
    run("correct", folder / "in.zarr", tmp_path / "s.zarr", *OPTIONS, *further)
    assert files_but_input(tmp_path / "o.zarr") == files_but_input(tmp_path / "s.zarr")


@pytest.mark.parametrize("first", ["at once", "in turn"])
@pytest.mark.parametrize("command", ["correct", "transform"])
def test_rows_of_other_steps_are_not_taken_for_those_of_a_resumed_run(
    folder, tmp_path, command, first
):
    """Memory, which no run is bound to, says whether all steps are taken at once."""
    sphered = [*OPTIONS, "--sphering", "Metadata_treatment == 'treatment03'"]
    arguments = [folder / "in.zarr", tmp_path / "out.zarr", *sphered]
    run("correct", folder / "in.zarr", tmp_path / "whole.zarr", *sphered, "--model",
        tmp_path / "m.zarr")  # fmt: skip
    if command == "transform":
        arguments = [tmp_path / "m.zarr", *arguments[:2], *KEYS, "--quiet"]
    with pytest.MonkeyPatch.context() as patched:
        if first == "in turn":
            in_turn(patched)
        stop(patched, "moving")
        with pytest.raises(Stopped):
            run(command, *arguments)
    with pytest.MonkeyPatch.context() as patched:
        if first == "at once":
            in_turn(patched)
        run(command, *arguments, "--resume")
    one, other = (anndata.read_zarr(tmp_path / n) for n in ("whole.zarr", "out.zarr"))
    np.testing.assert_array_equal(one.X, other.X)


def test_rows_of_the_fit_that_are_all_alike_are_refused(tmp_path):
    X = np.zeros((20_000, 3), dtype=np.float32)
    X[:3] = np.eye(3)
    with pytest.raises(InvalidInputError, match=r"constant among the 1024 rows .* fit_rows='all'"):
        Balans(n_components=2, fit_rows=1024).fit(X, batch=np.arange(20_000) % 2)


@pytest.mark.parametrize("where", [["--cluster", "local", "--workers", 2], ["--workers", 1]])
def test_neither_workers_nor_chunks_change_a_byte(folder, tmp_path, where):
    table = anndata.read_zarr(folder / "in.zarr")
    anndata.settings.zarr_write_format = 3
    table.write_zarr(tmp_path / "in.zarr", chunks=(1111, 2))
    run("correct", tmp_path / "in.zarr", tmp_path / "o.zarr", *OPTIONS, *where)
    one, other = (anndata.read_zarr(p) for p in (folder / "out.zarr", tmp_path / "o.zarr"))
    np.testing.assert_array_equal(one.X, other.X)
    assert one.obs.equals(other.obs)


def test_all_controls_sphere_all_rows(given):
    rng = np.random.default_rng(0)
    controls = rng.random(N_ROWS) < 0.2
    given = given.X, {"batch": batch_of(given), "controls": controls}
    sphered = estimator().fit_transform(given[0], **given[1])
    of_controls = np.cov(sphered[controls].T)
    np.testing.assert_allclose(of_controls, np.eye(5), atol=0.05)
    model = estimator().fit(given[0], **given[1])
    assert model.model_.sphering.facts["n_controls"] == controls.sum()
    np.testing.assert_array_equal(model.transform(given[0], batch=given[1]["batch"]), sphered)


def test_anchors_that_are_many_are_drawn_from(given):
    anchor = np.arange(N_ROWS) % 2 == 0
    model = estimator(fit_rows=2 * TILE_ROWS).fit(given.X, batch=batch_of(given), anchor=anchor)
    fitted = ~np.isnan(model.coverage_)
    assert fitted.sum() == 2 * TILE_ROWS // N_BATCHES * N_BATCHES
    assert anchor[fitted].all()
    assert np.isfinite(model.transform(given.X, batch=batch_of(given))).all()


def test_keys_in_turn_take_their_steps_one_after_another(folder, tmp_path):
    keys = ["--batch-key", "Metadata_treatment", "--batch-order"]
    run("correct", folder / "in.zarr", tmp_path / "o.zarr", *OPTIONS, *keys)
    found = anndata.read_zarr(tmp_path / "o.zarr")
    record = found.uns["balans"]
    n_batches = [len(record["earlier_passes"][f"pass_{i}"]["batches"]) for i in range(1, 8)]
    assert n_batches[:4] == [N_BATCHES] * 4
    assert set(n_batches[4:]) == {len(record["batches"])} == {N_BATCHES * N_CLUSTERS}
    assert np.isfinite(found.X).all()


# Stopped, and gone on


class Stopped(BaseException):
    """Nobody catches it."""


def stop(patched, moment):
    """Stop a run while rows are copied, in a step of the fit, before all rows move, or then."""
    copy, write, learn = PassWriter.copy, PassWriter.write, sampled.FitLearner.learn

    def stopped_copy(writer, tiling):
        missing = PassWriter.missing
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(PassWriter, "missing", lambda *given: missing(*given)[:1])
            copy(writer, tiling)
        raise Stopped

    def stopped_learn(learner, pass_number, pass_input):
        found = learn(learner, pass_number, pass_input)
        if moment == pass_number:
            raise Stopped
        return found

    def stopped_begin(learner, pass_number):
        raise Stopped

    def stopped_write(writer, prepared, learned, missing):
        is_all = prepared.inputs.n_rows == N_ROWS
        write(writer, prepared, learned, missing[:1] if is_all else missing)
        if is_all:
            raise Stopped

    changed = {
        "copying": (PassWriter, "copy", stopped_copy),
        "fitted": (sampled.FrozenLearner, "begin", stopped_begin),
        "moving": (PassWriter, "write", stopped_write),
    }
    patched.setattr(*changed.get(moment, (sampled.FitLearner, "learn", stopped_learn)))


def test_a_run_that_is_stopped_again_and_again_makes_the_same_bytes(folder, tmp_path):
    target, model = tmp_path / "out.zarr", tmp_path / "m.zarr"
    command = ["correct", folder / "in.zarr", target, *OPTIONS, "--model", model]
    for number, moment in enumerate(("copying", 0, 1, "moving", 2, 3, "fitted")):
        with pytest.MonkeyPatch.context() as patched:
            stop(patched, moment)
            with pytest.raises(Stopped):
                run(*command, *["--resume"][:number])
    run(*command, "--resume")
    assert files_but_input(target) == files_but_input(folder / "out.zarr")
    assert files_but_input(model) == files_but_input(folder / "m.zarr")
    assert {path.name for path in tmp_path.iterdir()} == {
        "out.zarr", "m.zarr", "out.zarr.events.jsonl",
    }  # fmt: skip
