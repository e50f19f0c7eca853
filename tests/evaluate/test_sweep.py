"""A sweep gives what single corrections give, with less work."""

import json
from collections import Counter
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from balans_dask.errors import InvalidInputError
from balans_dask.evaluate.sweep import grouped
from balans_dask.evaluate.sweep.embeddings import Embeddings
from balans_dask.evaluate.sweep.result import Point, SweepResult, sweep_lines
from balans_dask.io.store import open_store
from balans_dask.model.inputs import check_input
from balans_dask.model.plan import plan_run
from balans_dask.parameters import AUTO, OPERATORS, PAPER, Parameters
from balans_dask.sweep import Grid, sweep_store
from balans_dask.tiling import Tiling
from balans_dask.workflows.correct import WriteOptions, correct_store
from balans_dask.workflows.request import correction_request
from tests.support.commands import run, streams
from tests.support.screens import gaussian_screen
from tests.support.stores import write_anndata

BASE = Parameters(n_components=5, patience=10)
FEW_LANDMARKS = pytest.mark.filterwarnings("ignore:.*covered by no sampled row")
SMALL = Grid(("smooth",), (5,), n_passes=(1,), strength=(1.0,))
KEYS = ["--batch-key", "plate", "--label-key", "compound"]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    screen = gaussian_screen(400, n_features=9)
    kind = np.where(screen.label < 2, "negcon", "trt")
    return write_anndata(
        tmp_path_factory.mktemp("sweep") / "in.zarr",
        screen.profiles,
        plate=screen.batch,
        compound=[f"compound{i}" for i in screen.label],
        kind=kind,
        empty=np.full(400, np.nan),
    )


@pytest.fixture
def with_basis(tmp_path, store):
    found = open_store(store)
    pca = found.features[:, :4] * np.array([3.0, 2.0, 1.0, 0.5], dtype=np.float32)
    columns = {name: found.obs[name].to_numpy() for name in ("plate", "compound")}
    return write_anndata(tmp_path / "in.zarr", found.features[:], obsm={"X_pca": pca}, **columns)


class Swept:
    """All embeddings of a sweep, and the passes over the data that made them."""

    def __init__(self, engine, monkeypatch, path, grid, base=BASE, rows=None, **where):
        settings = grid.settings(base)
        asked = correction_request(open_store(path), ["plate"], settings[0], **where)
        plan = plan_run(asked.inputs, settings[0], engine.workers())
        self.plan = plan
        self.calls = Counter()
        whole = engine.map

        def counted(name, *args, **kwargs):
            self.calls[name] += 1
            return whole(name, *args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(engine, "map", counted)
            examined = check_input(engine, asked.inputs, settings[0], plan.tiling)
            rows = np.arange(asked.inputs.n_rows) if rows is None else rows
            embeddings = Embeddings(engine, asked.inputs, plan, examined, rows)
            self.of = {found.parameters: found for found in embeddings.of(settings)}
        self.n_fits = embeddings.n_fits
        self.settings = settings


def corrected(engine, tmp_path, path, parameters, key="X_pca_balans", **where):
    """The embedding that ``balans correct`` writes."""
    asked = correction_request(open_store(path), ["plate"], parameters, **where)
    plan = plan_run(asked.inputs, parameters, engine.workers())
    target = str(tmp_path / "out.zarr")
    record = correct_store(engine, asked, plan, target, WriteOptions(overwrite=True))
    written = open_store(target)
    values = written.features[:] if key is None else written.embedding(key)[:]
    return values, int(record["n_sampled"]), int(record["n_capped"])


def assert_equal_to_single_corrections(swept, engine, tmp_path, path, some=None, **where):
    for setting in swept.settings if some is None else some:
        values, n_sampled, n_capped = corrected(engine, tmp_path, path, setting, **where)
        found = swept.of[setting]
        assert (found.n_landmarks, found.n_capped) == (n_sampled, n_capped)
        np.testing.assert_allclose(found.values, values, rtol=1e-5, atol=1e-6, err_msg=str(setting))


@pytest.mark.parametrize(
    ("operator", "n_passes"),
    [
        pytest.param(
            operator, n, marks=[] if operator in ("align", "nystrom") else pytest.mark.long
        )
        for operator, n in zip(OPERATORS, (2, 2, 2, 3), strict=True)
    ],
)
def test_every_setting_is_what_correct_writes(
    engine, tmp_path, monkeypatch, store, operator, n_passes
):
    grid = Grid((operator,), (5,), n_passes=(1, n_passes), strength=(0.4, 1.0))
    swept = Swept(engine, monkeypatch, store, grid, replace(BASE, max_rows=128))
    some = [s for s in swept.settings if (s.n_passes, s.strength) in {(1, 1.0), (n_passes, 0.4)}]
    assert len(some) == 2
    assert swept.n_fits == len(some[1].steps)
    assert_equal_to_single_corrections(swept, engine, tmp_path, store, some)


@FEW_LANDMARKS
@pytest.mark.parametrize(
    "limits",
    [{"patience": (8, 3)}, {"max_rows": (16, 24, 40)}],
    ids=["patience", "max_rows"],
)
def test_a_sampler_that_goes_on_draws_what_a_fresh_one_draws(
    engine, tmp_path, monkeypatch, store, limits
):
    base = replace(BASE, block_rows=16)
    swept = Swept(engine, monkeypatch, store, replace(SMALL, **limits), base)
    assert len({found.n_landmarks for found in swept.of.values()}) == 1 + len(swept.settings)
    assert swept.n_fits == 1
    assert_equal_to_single_corrections(swept, engine, tmp_path, store)


@pytest.mark.parametrize(("operator", "n_passes"), [("displace", 2), ("align", 1)])
def test_a_basis_is_scored_where_distances_are_taken_in_it(
    engine, tmp_path, monkeypatch, with_basis, operator, n_passes
):
    grid = Grid((operator,), (5,), n_passes=(n_passes,), strength=(0.5,))
    swept = Swept(engine, monkeypatch, with_basis, grid, basis="X_pca")
    where = {"key": "X_pca_balans", "basis": "X_pca"}
    assert_equal_to_single_corrections(swept, engine, tmp_path, with_basis, **where)


def test_an_embedding_is_scored_as_it_is(engine, tmp_path, monkeypatch, store):
    grid = Grid(("displace",), (5,), n_passes=(2,), strength=(0.5,))
    swept = Swept(engine, monkeypatch, store, grid, replace(BASE, n_components=None))
    assert_equal_to_single_corrections(swept, engine, tmp_path, store, key=None)


@pytest.mark.parametrize(("operator", "n_passes"), [("displace", 2), ("align", 1)])
def test_anchors_are_those_of_correct(engine, tmp_path, monkeypatch, store, operator, n_passes):
    grid = Grid((operator,), (5,), n_passes=(n_passes,), strength=(0.5,))
    anchor = "kind == 'negcon'"
    swept = Swept(engine, monkeypatch, store, grid, anchor=anchor)
    assert_equal_to_single_corrections(swept, engine, tmp_path, store, anchor=anchor)


@FEW_LANDMARKS
def test_rows_are_picked_across_partitions(engine, tmp_path, monkeypatch):
    screen = gaussian_screen(9000)
    path = write_anndata(
        tmp_path / "in.zarr", screen.profiles, plate=screen.batch, compound=screen.label
    )
    rows = np.array([0, 5, 4095, 4096, 8999])
    grid = replace(SMALL, max_rows=(32,))
    with monkeypatch.context() as patch:
        patch.setattr(
            "balans_dask.passes.memory.Tiling", lambda n_rows, *_, **__: Tiling(n_rows, 1)
        )
        swept = Swept(engine, monkeypatch, path, grid, rows=rows)
    assert swept.plan.tiling.n_partitions == 3
    values, *_ = corrected(engine, tmp_path, path, swept.settings[0])
    np.testing.assert_array_equal(swept.of[swept.settings[0]].values, values[rows])


def test_operators_have_their_own_defaults_and_align_no_limit_on_scales():
    grid = Grid(n_neighbors=(3,), max_scale_ratio=(AUTO, None), n_passes=(1,), strength=(1.0,))
    align, *others = grid.settings(Parameters(block_rows=16, shared_populations=True))
    same = {"n_neighbors": 3, "block_rows": 16, "n_passes": 1}
    assert align == Parameters(shared_populations=True, **same)
    assert others == [
        Parameters(operator=operator, max_scale_ratio=ratio, **same)
        for operator, ratio in product(("smooth", "nystrom", "displace"), (AUTO, None))
    ]


def test_what_is_no_default_is_the_same_for_all_operators():
    settings = Grid(("align", "smooth")).settings(Parameters(stopping="auto", uncovered="keep"))
    assert {(each.operator, each.stopping, each.uncovered) for each in settings} == {
        ("align", "auto", "keep"),
        ("smooth", "auto", "keep"),
    }
    # Their landmarks have other scales.
    assert len(grouped(settings, "n_neighbors", "operator", "n_passes", "strength")) == 2


@pytest.mark.parametrize(
    ("parameters", "options"),
    [
        (Parameters(), []),
        (Parameters(n_passes=2, shared_populations=True), ["--shared-populations", "yes"]),
        (Parameters(operator="smooth", uncovered="nearest"), ["--operator", "smooth"]),
        (Parameters(**PAPER, n_neighbors=3), ["--paper", "--n-neighbors", "3"]),
        (
            Parameters(operator="displace", n_components=None, max_scale_ratio=None, n_passes=2),
            ["--n-components", "0", "--max-scale-ratio", "none", "--operator", "displace",
             "--n-passes", "2"],
        ),
    ],
)  # fmt: skip
def test_a_command_says_what_is_not_the_default_of_its_operator(parameters, options):
    raw = Point(None, 0.5, 0.4)
    result = SweepResult("A.zarr", [raw, point(parameters)], "s", "m", 100, 100, 1, 1, ())
    assert result.command.split() == ["balans", "correct", "A.zarr", "OUT.zarr", *options]


def test_raw_is_where_all_settings_start_from(engine, monkeypatch, store):
    swept = Swept(engine, monkeypatch, store, Grid(("smooth",), (5,), n_passes=(2,), strength=(0,)))
    [setting] = swept.settings
    np.testing.assert_array_equal(swept.of[setting].values, swept.of[None].values)


def test_what_settings_share_is_made_once(engine, monkeypatch, store):
    grid = Grid(
        operator=("smooth", "displace"),
        n_neighbors=(3, 5),
        max_rows=(8, 16),
        n_passes=(1, 2),
        strength=(0.25, 0.5, 1.0),
    )
    swept = Swept(engine, monkeypatch, store, grid)
    n_first = 2
    n_second = 2 * 2 * 2
    assert len(swept.settings) == 48
    assert swept.n_fits == n_first + n_second
    # Scores: of the input, and of what each operator with each set of landmarks has moved.
    assert swept.calls["scores"] == 1 + n_second
    # Each of the moved profiles is corrected once, and each of the embeddings.
    assert swept.calls["correct"] == n_second + 2 * n_second


def test_nothing_stays_on_the_workers(engine, monkeypatch, store):
    before = {future.key for future in engine._futures if not future.cancelled()}
    with engine.scope():
        Swept(engine, monkeypatch, store, SMALL)
    left = {future.key for future in engine._futures if not future.cancelled()}
    assert left <= before


def test_python_gives_points_front_and_choice(store):
    result = sweep_store(store, ["plate"], "compound", replace(SMALL, strength=(0.0, 1.0)), BASE)
    raw, unmoved, whole = result.points
    assert raw.parameters is None
    assert (raw.signal, raw.mixing) == (unmoved.signal, unmoved.mixing)
    assert whole.mixing > raw.mixing
    assert result.chosen in result.front
    assert (result.n_fits, result.n_unshared) == (1, 2)


def test_the_chosen_command_makes_the_chosen_correction(tmp_path, store, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out, _ = streams("sweep", store, *KEYS, "--operator", "displace", "--n-passes", "1,2",
                     "--n-neighbors", "3", "--strength", "1", "--json", "s.json")  # fmt: skip
    found = json.loads((tmp_path / "s.json").read_text())
    assert found["command"] in out
    [chosen] = [point for point in found["points"] if point["chosen"]]
    run(*found["command"].split()[1:])
    record = open_store(str(tmp_path / "OUT.zarr")).root["uns/balans"]
    assert int(record["n_sampled"][()]) == chosen["n_landmarks"]
    assert found["fits"] == {"made": 2, "unshared": 3}


def test_a_narrow_terminal_cuts_no_setting_off(store, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    grid = ["--operator", "smooth,displace", "--n-neighbors", "5,12", "--n-passes", "1,2"]
    out, _ = streams("sweep", store, *KEYS, *grid, "--strength", "0.5,1", "--quiet")
    lines = [line.split()[:4] for line in out.splitlines() if line]
    settings = product(("smooth", "displace"), ("5", "12"), ("1", "2"), ("0.5", "1"))
    assert [line for line in lines if line[0] in {"smooth", "displace"}] == list(
        map(list, settings)
    )


def point(parameters=BASE, signal=0.5, mixing=0.9, n_uncovered=0, n_capped=0):
    return Point(parameters, signal, mixing, 40, n_uncovered, n_capped)


def told(*points, options=()):
    raw = Point(None, 0.5, 0.4)
    result = SweepResult("A.zarr", [raw, *points], "s", "m", 100, 100, 1, 1, options)
    return [line for line in sweep_lines(result) if isinstance(line, str)][5:]


def test_the_reason_of_a_choice_compares_it_with_raw():
    good, lossy = point(signal=0.49), point(replace(BASE, seed=1), signal=0.3)
    lost = "1 of 2 settings keep too little of raw's signal"
    gain = "why: signal 0.490 against raw's 0.500, mixing 0.900 against 0.400; "
    assert told(good, lossy) == [gain + lost]
    other = "1 of 1 settings keep too little of raw's signal"
    assert told(lossy) == [f"why: {other}, and no other one has a higher total than raw's 0.460"]


@pytest.mark.parametrize(
    ("chosen", "options", "said"),
    [
        (point(n_uncovered=1, n_capped=10), (), []),
        (point(n_uncovered=2), (), ["caution: 2 of 100 rows are covered by no landmark"]),
        (point(n_uncovered=2), ("--anchor", "kind == 'negcon'"), []),
        (point(n_capped=11), (), ["caution: 11 of 40 sampled wells are too far"]),
    ],
)
def test_what_correct_would_warn_of_is_said_of_the_choice(chosen, options, said):
    found = told(chosen, options=options)[1:]
    assert len(found) == len(said)
    assert all(line.startswith(start) for line, start in zip(found, said, strict=True))


def test_the_picture_is_written_and_not_replaced_unasked(tmp_path, store):
    pytest.importorskip("matplotlib")
    picture = tmp_path / "front.png"
    small = [store, *KEYS, "--strength", "0", "--operator", "align,smooth", "--n-neighbors", "5",
             "--n-passes", "1", "--plot", picture, "--quiet"]  # fmt: skip
    out, _ = streams("sweep", *small)
    # A strength of 0 is raw by another name.
    assert "choice: raw, do not correct" in out
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "add --overwrite" in run("sweep", *small, code=2)
    run("sweep", *small, "--overwrite")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--operator", "smoth"], "operator must be one of align, smooth, nystrom, displace, got"),
        (["--n-neighbors", "3,x"], "'x' is not a whole number"),
        (["--n-neighbors", ","], "the grid has no value of n_neighbors"),
        (["--strength", "2"], "strength must be"),
        (["--patience", "5,9", "--max-rows", "8,9"], "vary one of them"),
        (["--max-scale-ratio", "much"], "'much' is not a number, auto or none"),
        (["--label-key", "gene"], "no column 'gene'"),
        (["--label-key", "one"], "no column 'one'"),
        (["--label-key", "empty"], "is missing in all 400 rows"),
        (["--operator", "smooth", "--anchor", "kind == 'negcon'"], "anchors mean nothing"),
        (["--json", "nowhere/s.json"], "the folder of nowhere/s.json does not exist"),
        (["--scratch", "nowhere"], "nowhere is no folder"),
        (["--scores", "mine"], "scores must be one of neighbours, scib, got 'mine'"),
    ],
)
def test_refusals_are_one_line(store, options, reason):
    err = run("sweep", store, *KEYS, *options, code=2)
    assert reason in err
    assert err.count("\n") == 1


def test_a_sphering_is_refused(store):
    with pytest.raises(InvalidInputError, match=r"without sphering, got .*add it to the chosen"):
        sweep_store(store, ["plate"], "compound", SMALL, replace(BASE, sphering="kind == 'negcon'"))


def test_labels_of_one_batch_each_are_refused(tmp_path):
    screen = gaussian_screen(120)
    path = write_anndata(
        tmp_path / "in.zarr", screen.profiles, plate=screen.batch, compound=screen.batch
    )
    with pytest.raises(InvalidInputError, match="no label is in two batches"):
        sweep_store(path, ["plate"], "compound", SMALL, BASE)
