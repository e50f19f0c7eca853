"""Profiles are sphered on controls after the correction, in stores, arrays and models."""

import shutil
import warnings
from dataclasses import replace

import anndata
import dask.array as da
import numpy as np
import pandas as pd
import pytest
import zarr
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.covariance import LedoitWolf

from balans_dask import Balans, correct_batches, pp
from balans_dask.errors import InputWarning, InvalidInputError
from balans_dask.io.model_store import read_model, write_model
from balans_dask.io.sources import StoredRows
from balans_dask.labels import batch_labels
from balans_dask.model.fit import fit_preprocessor, fit_sphering
from balans_dask.model.inputs import Inputs, check_input
from balans_dask.model.pass_data import Preprocessor, prepare
from balans_dask.parameters import OPERATORS, Parameters
from balans_dask.passes.dask_engine import DaskEngine
from balans_dask.passes.memory import MemoryPlan
from balans_dask.passes.workers import Workers
from balans_dask.tiling import TILE_ROWS, Tiling
from balans_dask.workflows import store_output
from tests.support import reference
from tests.support.commands import Command, run, streams
from tests.support.hostile_queries import HOSTILE
from tests.support.screens import gaussian_screen
from tests.support.stores import files, files_but_input, write_anndata

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*covered by no", "ignore:.*too far from some batch"
)
SCREEN = gaussian_screen(900, n_features=7)
X, BATCH = SCREEN.profiles, SCREEN.batch
CONTROLS = SCREEN.label == 0
KIND = np.where(CONTROLS, "negcon", "trt")
QUERY = "kind == 'negcon'"
SMALL = {"operator": "smooth", "n_components": 5, "max_rows": 64, "max_scale_ratio": None}
FLAGS = ["--batch-key", "plate", "--operator", "smooth", "--n-components", 5, "--max-rows", 64,
         "--max-scale-ratio", "none"]  # fmt: skip
COLUMNS = ["balans_covered", "balans_is_landmark", "balans_displacement"]


def dense(values, controls=CONTROLS):
    """Whiten float32 rows as scikit-learn's covariance says."""
    fitted = LedoitWolf().fit(values[controls].astype(np.float64))
    variances, vectors = np.linalg.eigh(fitted.covariance_)
    centred = values.astype(np.float64) - fitted.location_
    return centred @ (vectors / np.sqrt(variances)) @ vectors.T


def integrated(batch=BATCH, controls=QUERY, basis=None, values=X, **params):
    """Corrected scores and features, and what is told of them."""
    adata = anndata.AnnData(values, pd.DataFrame({"plate": batch, "kind": KIND}).set_index(NAMES))
    adata.obsm["B"] = 2 * values[:, :4]
    if basis is None:
        params.setdefault("n_components", 5)
    params = {"operator": "smooth", "max_rows": 64, "max_scale_ratio": None} | params
    pp.balans_integrate(
        adata, "plate", basis=basis, correct_features=True, controls=controls, **params
    )
    return adata


NAMES = pd.Index([f"well{i}" for i in range(len(X))])


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("basis", [None, "B"])
def test_features_and_scores_are_whitened_as_scikit_learn_would(operator, basis):
    given = {"operator": operator, "strength": 0.7, "basis": basis}
    plain, found = integrated(controls=None, **given), integrated(**given)
    name = "X_pca_balans" if basis is None else "B_balans"
    for before, after in (
        (plain.layers["balans"], found.layers["balans"]),
        (plain.obsm[name], found.obsm[name]),
    ):
        expected, share = reference.sphere(before, CONTROLS)
        np.testing.assert_allclose(dense(before), expected, atol=1e-9)
        # Scores are made again of corrected features, which are stored as float32.
        np.testing.assert_allclose(after, expected, atol=3e-5)
        assert after.dtype == before.dtype
        fitted = LedoitWolf().fit(after[CONTROLS].astype(np.float64))
        np.testing.assert_allclose(fitted.location_, 0.0, atol=1e-5)
        told = found.uns["balans"]["sphering"]
        assert told["n_controls"] == CONTROLS.sum()
        assert share == pytest.approx(min(told.values(), key=lambda s: abs(s - share)), rel=1e-4)
    for column in COLUMNS:
        np.testing.assert_array_equal(found.obs[column], plain.obs[column])
    for fact in ("stop_reason", "n_sampled", "n_uncovered"):
        assert found.uns["balans"][fact] == plain.uns["balans"][fact]
    assert found.uns["balans"]["parameters"]["sphering"] == QUERY


def test_the_shrinkage_is_that_of_the_rows_before_to_ten_digits():
    before = Balans(**SMALL).fit_transform(X.astype(np.float64), batch=BATCH)
    model = Balans(**SMALL).fit(X.astype(np.float64), batch=BATCH, controls=CONTROLS)
    expected = LedoitWolf().fit(before[CONTROLS]).shrinkage_
    found = model.model_.sphering.facts["shrinkage_of_profiles"]
    assert found == pytest.approx(expected, rel=1e-10)


def test_strength_blends_the_correction_and_not_the_sphering():
    raw = correct_batches(X, BATCH, controls=CONTROLS, strength=0.0, **SMALL)
    np.testing.assert_allclose(raw, dense(X), atol=1e-5)


def test_a_single_batch_is_sphered_and_not_aligned():
    with pytest.warns(InputWarning, match="nothing to align, .* and all rows are sphered"):
        found = Balans().fit_transform(X, controls=CONTROLS)
    np.testing.assert_allclose(found, dense(X), atol=1e-5)


def test_constant_features_take_no_part():
    wide = np.insert(X, [0, 3, 7], [[1.0, -2.5, 0.1]], axis=1).astype(np.float32)
    still = np.array([0, 4, 9])
    with pytest.warns(InputWarning, match="3 of 10 features are constant"):
        found = correct_batches(wide, BATCH, controls=CONTROLS, **SMALL)
    np.testing.assert_array_equal(found[:, still], wide[:, still])
    rest = correct_batches(X, BATCH, controls=CONTROLS, **SMALL)
    np.testing.assert_allclose(np.delete(found, still, axis=1), rest, atol=1e-5)


def test_features_without_a_variance_among_the_controls_are_shrunk_like_any_other():
    flat = X.copy()
    flat[CONTROLS, 2] = 0.1
    found = correct_batches(flat, BATCH, controls=CONTROLS, strength=0.0, **SMALL)
    np.testing.assert_allclose(found, dense(flat), rtol=1e-4, atol=1e-4)
    assert np.ptp(found[CONTROLS, 2]) < 1e-5


def test_a_constant_column_of_the_basis_takes_no_part():
    basis = np.insert(2 * X[:, :4], 1, 5.0, axis=1)
    adata = integrated(controls=None)
    adata.obsm["B"] = basis
    pp.balans_integrate(adata, "plate", basis="B", controls=CONTROLS, correct_features=True,
                        operator="smooth", max_rows=64, max_scale_ratio=None)  # fmt: skip
    found = adata.obsm["B_balans"]
    assert (found[:, 1] == 5.0).all()
    rest = integrated(basis="B").obsm["B_balans"]
    np.testing.assert_allclose(np.delete(found, 1, axis=1), rest, atol=1e-5)


BIG = gaussian_screen(5 * TILE_ROWS + 123, n_features=6)
THIRDS = BIG.profiles / np.float64(3)
# No control in the second tile, nor in the last two.
BIG_CONTROLS = (BIG.label == 1) & (np.arange(len(THIRDS)) % 3 == 0)
BIG_CONTROLS[TILE_ROWS : 2 * TILE_ROWS] = False
BIG_CONTROLS[4 * TILE_ROWS :] = False


def sphered_big(engine, source=THIRDS, tiles=1, keep_scores=True):
    """Everything that a sphering learns of rows that nothing has aligned."""
    labels = batch_labels([BIG.batch], ["batch"], len(THIRDS))
    names = [f"f{i}" for i in range(6)]
    inputs = Inputs(StoredRows(source), labels, names, controls=BIG_CONTROLS)
    parameters = Parameters(n_components=4, sphering=QUERY, operator="smooth")
    plan = MemoryPlan(
        tiling=Tiling(len(THIRDS), tiles), workers=Workers(1, 2, 2**32, embedded=True),
        keep_scores=keep_scores, keep_products=True, piece_bytes=0, n_landmarks=64,
        tasks_per_round=0, task_bytes={}, worker_bytes=0, driver_bytes=0, total_bytes=0,
    )  # fmt: skip
    examined = check_input(engine, inputs, parameters, plan.tiling)
    projection = fit_preprocessor(engine, inputs, parameters, plan, examined)
    preprocessor = Preprocessor(projection, examined.features.constant)
    prepared = prepare(engine, inputs, parameters, plan, preprocessor, pass_number=1)
    found = fit_sphering(engine, prepared, examined.scored.constant)
    operator = found.operator
    return [*operator.mean, *operator.features, *operator.embedding], found.facts


@pytest.fixture(scope="module")
def sphered(engine):
    return sphered_big(engine)


def assert_same_sphering(found, expected):
    assert found[1] == expected[1]
    for one, other in zip(found[0], expected[0], strict=True):
        assert one.tobytes() == other.tobytes()


@settings(max_examples=3)
@given(
    chunk_rows=st.integers(500, 25_000),
    chunk_columns=st.integers(1, 6),
    tiles=st.sampled_from([1, 2, 4, 8]),
    keep_scores=st.booleans(),
)
@example(chunk_rows=9000, chunk_columns=6, tiles=4, keep_scores=True)
def test_chunks_partitions_and_caches_change_no_bit(
    engine, sphered, tmp_path_factory, chunk_rows, chunk_columns, tiles, keep_scores
):
    folder = tmp_path_factory.mktemp("chunked")
    chunks = (chunk_rows, chunk_columns)
    array = zarr.create_array(folder / "x.zarr", data=THIRDS, chunks=chunks)
    assert_same_sphering(sphered_big(engine, array, tiles, keep_scores), sphered)


def test_worker_processes_change_no_bit(processes, sphered, tmp_path):
    array = zarr.create_array(tmp_path / "x.zarr", data=THIRDS, chunks=(3000, 6))
    assert_same_sphering(sphered_big(DaskEngine(processes), array, 2), sphered)
    assert_same_sphering(sphered_big(DaskEngine(processes), array, 1, keep_scores=False), sphered)


def test_sums_of_many_tiles_are_scikit_learn_s(sphered):
    fitted = LedoitWolf().fit(THIRDS[BIG_CONTROLS])
    assert sphered[1]["shrinkage_of_profiles"] == pytest.approx(fitted.shrinkage_, rel=1e-10)
    mean, matrix = sphered[0][0][:6], sphered[0][1]
    np.testing.assert_allclose(mean, fitted.location_, rtol=1e-12)
    np.testing.assert_allclose(matrix @ fitted.covariance_ @ matrix, np.eye(6), atol=1e-10)


def test_lazy_arrays_give_what_numpy_gives():
    given = {"batch": BATCH, "controls": CONTROLS}
    expected = Balans(**SMALL).fit_transform(X, **given)
    model = Balans(**SMALL)
    found = model.fit_transform(da.from_array(X, chunks=(170, 3)), **given)
    assert isinstance(found, da.Array)
    assert found.compute(scheduler="threads").tobytes() == expected.tobytes()
    again = model.transform(da.from_array(X, chunks=(400, 7)), batch=BATCH)
    assert again.compute().tobytes() == expected.tobytes()


@pytest.mark.parametrize("operator", OPERATORS)
def test_a_model_spheres_its_own_rows_bit_for_bit_and_new_plates_as_frozen(operator, tmp_path):
    old = BATCH != "plate2"
    given = SMALL | {"operator": operator, "strength": 0.8}
    if operator == "align":
        del given["max_scale_ratio"]
    model = Balans(**given)
    fitted = model.fit_transform(X[old], batch=BATCH[old], controls=CONTROLS[old])
    assert model.transform(X[old], batch=BATCH[old]).tobytes() == fitted.tobytes()
    new = model.transform(X[~old], batch=BATCH[~old])
    aligned = Balans(**given).fit(X[old], batch=BATCH[old]).transform(X[~old], batch=BATCH[~old])
    [mean], [matrix] = model.model_.sphering.operator.mean, model.model_.sphering.operator.features
    np.testing.assert_allclose(new, (aligned - mean[:7]) @ matrix, atol=1e-5)
    alone = model.transform(X[old][:1], batch=BATCH[old][:1])
    np.testing.assert_array_equal(alone, fitted[:1])
    model.save(tmp_path / "m.zarr")
    loaded = Balans.load(tmp_path / "m.zarr")
    assert loaded.get_params() == Balans(**loaded.get_params()).get_params()
    assert loaded.model_.sphering.facts == model.model_.sphering.facts
    assert loaded.transform(X[old], batch=BATCH[old]).tobytes() == fitted.tobytes()


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("sphering") / "in.zarr"
    scores = (2 * X[:, :4]).astype(np.float32)
    return write_anndata(path, X, obsm={"X_pca": scores}, plate=BATCH, kind=KIND)


def test_commands_sphere_record_and_freeze(store, tmp_path):
    out, model, again = (tmp_path / name for name in ("out.zarr", "m.zarr", "again.zarr"))
    said, _ = streams("check", store, *FLAGS, "--sphering", QUERY)
    assert f"{CONTROLS.sum()} rows, by which all are sphered" in said
    run("correct", store, out, *FLAGS, "--sphering", QUERY, "--model", model)
    found, expected = anndata.read_zarr(out), integrated()
    np.testing.assert_array_equal(found.X, expected.layers["balans"])
    np.testing.assert_array_equal(found.obsm["X_pca_balans"], expected.obsm["X_pca_balans"])
    for column in COLUMNS:
        np.testing.assert_array_equal(found.obs[column], expected.obs[column])
    record = found.uns["balans"]
    assert record["parameters"]["sphering"] == QUERY
    assert f'sphering = "{QUERY}"' in record["configuration"]
    assert "pass_2" not in record.get("earlier_passes", {})
    for place in (out, model):
        said, _ = streams("inspect", place)
        assert f"{CONTROLS.sum()} controls, shrinkage 0." in said
    page = tmp_path / "page.html"
    run("report", out, "--html", page, "--label-key", "kind")
    assert f"{CONTROLS.sum()} controls, shrinkage 0." in page.read_text()
    before = files(out)
    # A transform asks no control, and has none here.
    plain = write_anndata(tmp_path / "plain.zarr", X, plate=BATCH)
    run("transform", model, plain, again, "--batch-key", "plate")
    transformed = anndata.read_zarr(again)
    for one, other in ((transformed.X, found.X), (transformed.obsm["X_pca_balans"],
                                                  found.obsm["X_pca_balans"])):  # fmt: skip
        assert one.tobytes() == other.tobytes()
    np.testing.assert_array_equal(transformed.uns["balans"]["sphering"]["n_controls"],
                                  CONTROLS.sum())  # fmt: skip
    assert files(out) == before


@pytest.mark.parametrize("options", [[], ["--layer"], ["--basis", "X_pca", "--layer"]])
def test_into_adds_sphered_scores(store, tmp_path, options):
    place, out = tmp_path / "in.zarr", tmp_path / "out.zarr"
    shutil.copytree(store, place)
    flags = [
        flag for flag in FLAGS if "--basis" not in options or flag not in ("--n-components", 5)
    ]
    flags += ["--sphering", QUERY]
    run("correct", place, "--into", *flags, *options)
    run("correct", store, out, *flags, *[o for o in options if o != "--layer"])
    found, expected = anndata.read_zarr(place), anndata.read_zarr(out)
    np.testing.assert_array_equal(found.obsm["X_pca_balans"], expected.obsm["X_pca_balans"])
    if "--layer" in options:
        np.testing.assert_array_equal(found.layers["balans"], expected.X)
    for column in COLUMNS:
        np.testing.assert_array_equal(found.obs[column], expected.obs[column])


def test_keys_in_turn_are_all_aligned_before_the_sphering(tmp_path):
    half = np.where(np.arange(900) % 2, "left", "right")
    source = write_anndata(tmp_path / "in.zarr", X, plate=BATCH, half=half, kind=KIND)
    flags = [*FLAGS, "--batch-key", "half", "--batch-order"]
    run("correct", source, tmp_path / "plain.zarr", *flags)
    run("correct", source, tmp_path / "out.zarr", *flags, "--sphering", QUERY)
    plain, found = (anndata.read_zarr(tmp_path / f"{name}.zarr") for name in ("plain", "out"))
    np.testing.assert_allclose(found.X, dense(plain.X), atol=3e-5)
    np.testing.assert_array_equal(found.obs["balans_displacement"],
                                  plain.obs["balans_displacement"])  # fmt: skip
    assert list(found.uns["balans"]["batches"]) == list(plain.uns["balans"]["batches"])


def test_a_run_killed_while_it_spheres_goes_on_and_makes_the_same_bytes(tmp_path):
    screen = gaussian_screen(40_000, n_features=12)
    kind = np.where(screen.label == 0, "negcon", "trt")
    source = write_anndata(tmp_path / "in.zarr", screen.profiles, plate=screen.batch, kind=kind)
    flags = [*FLAGS, "--sphering", QUERY, "--checkpoint-seconds", 0]
    undisturbed, model = tmp_path / "undisturbed.zarr", tmp_path / "undisturbed_model.zarr"
    run("correct", source, undisturbed, *flags, "--model", model)
    target, other = tmp_path / "out.zarr", tmp_path / "model.zarr"
    partial = tmp_path / "out.zarr.partial"
    command = Command("correct", source, target, *flags, "--model", other)
    units = partial / "units"
    assert command.wait_for(lambda: units.exists() and len(list(units.glob("*.json"))) > 0)
    command.kill_all()
    # The correction is a store of its own meanwhile.
    assert len(list(partial.glob("pass*"))) == 1
    err = run("correct", source, target, *flags[:-2], "--sphering", "kind == 'trt'", "--resume",
              code=2)  # fmt: skip
    assert "sphering was kind == 'negcon', is kind == 'trt'" in err
    run("correct", source, target, *flags, "--model", other, "--resume")
    assert files_but_input(target) == files_but_input(undisturbed)
    assert files(other) == files(model)


def test_a_run_that_failed_after_its_last_row_finds_the_same_sphering(store, tmp_path, monkeypatch):
    run("correct", store, tmp_path / "undisturbed.zarr", *FLAGS, "--sphering", QUERY)
    target = tmp_path / "out.zarr"

    def fail(path):
        raise OSError("no more disk")

    with monkeypatch.context() as patched:
        patched.setattr(store_output, "consolidate", fail)
        run("correct", store, target, *FLAGS, "--sphering", QUERY, code=1)
    run("correct", store, target, *FLAGS, "--sphering", QUERY, "--resume")
    assert files_but_input(target) == files_but_input(tmp_path / "undisturbed.zarr")


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("kind == 'none'", "names no row: did you mean 'negcon'?"),
        ("row == 7", "1 of 900 rows are controls of the sphering: name two at least"),
        ("row < 2", "the 2 controls vary in 1 of 7 directions of the profiles: name more"),
        ("alike == True", "the 5 controls of the sphering are all alike: name controls that vary"),
        ("kind ==", 'the query "kind ==" cannot be used'),
        ("no == 'negcon'", "obs has no column 'no'"),
        ("", "--sphering must be a query, or left out"),
    ],
)
def test_controls_of_no_use_are_refused_in_one_line(tmp_path, query, said):
    values, alike = X.copy(), np.arange(900) % 180 == 3
    values[alike] = 0.1
    source = write_anndata(
        tmp_path / "in.zarr", values, plate=BATCH, kind=KIND, row=np.arange(900), alike=alike
    )
    options = [*FLAGS, "--sphering", query]
    err = run("correct", source, tmp_path / "out.zarr", *options, code=2)
    last = err.strip().splitlines()[-1].replace("'kind =='", '"kind =="')
    assert said in last
    assert "Traceback" not in err
    assert not (tmp_path / "out.zarr").exists()
    if "directions" not in said:
        run("check", source, *options, code=2)


@pytest.mark.parametrize("query", HOSTILE[::17], ids=range(len(HOSTILE[::17])))
def test_a_hostile_query_is_refused_of_a_user_and_of_a_model(
    store, saved, tmp_path, monkeypatch, query
):
    monkeypatch.chdir(tmp_path)
    facts, tables = saved
    facts = facts | {"parameters": facts["parameters"] | {"sphering": query}}
    write_model("m.zarr", facts, tables, False)
    left = sorted(tmp_path.iterdir())
    for command in (
        ["correct", store, "out.zarr", *FLAGS, "--sphering", query],
        ["check", store, *FLAGS, "--sphering", query],
        ["transform", "m.zarr", store, "out.zarr", "--batch-key", "plate"],
    ):
        assert "the query" in run(*command, code=2)
    assert sorted(tmp_path.iterdir()) == left


def test_a_model_of_a_mask_transforms_stores(store, tmp_path):
    frame = pd.DataFrame(X, columns=[f"Cells_{i}" for i in range(7)])
    model = Balans(**SMALL)
    expected = model.fit_transform(frame, batch=BATCH, controls=CONTROLS)
    model.save(tmp_path / "m.zarr")
    run("transform", tmp_path / "m.zarr", store, tmp_path / "out.zarr", "--batch-key", "plate")
    np.testing.assert_array_equal(anndata.read_zarr(tmp_path / "out.zarr").X, expected)


def test_fewer_controls_than_features_are_said(store, tmp_path):
    few = np.flatnonzero(CONTROLS)[:5]
    mask = np.isin(np.arange(900), few)
    with pytest.warns(InputWarning, match="the sphering has 5 controls for 7 features"):
        found = correct_batches(X, BATCH, controls=mask, strength=0.0, **SMALL)
    np.testing.assert_allclose(found, dense(X, mask), rtol=1e-4, atol=1e-4)
    listed = f"index in {[f'well{i}' for i in few]}"
    for command in (["check", store], ["correct", store, tmp_path / "out.zarr"]):
        err = run(*command, *FLAGS, "--sphering", listed)
        assert "the sphering has 5 controls for 7 features" in err


def test_masks_that_fit_no_rows_are_refused():
    for mask in (CONTROLS[:10], CONTROLS.astype(int)):
        with pytest.raises(InvalidInputError, match=r"controls has shape .* one True or False"):
            Balans(**SMALL).fit(X, batch=BATCH, controls=mask)
    with pytest.raises(InvalidInputError, match="controls has shape"):
        integrated(controls=CONTROLS[:10])


def test_squares_beyond_float64_are_refused():
    huge = X.astype(np.float64) * 1e80
    with pytest.raises(InvalidInputError, match="leave the range of float64"):
        correct_batches(huge, BATCH, controls=CONTROLS, strength=0.0, **SMALL)


def test_masks_and_queries_are_the_same_controls():
    one, other = integrated(), integrated(controls=CONTROLS)
    np.testing.assert_array_equal(one.obsm["X_pca_balans"], other.obsm["X_pca_balans"])
    assert other.uns["balans"]["parameters"]["sphering"] == "rows given by the caller"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Balans(**SMALL).fit(X, batch=BATCH, controls=CONTROLS).save(folder / "m.zarr")
    return read_model(str(folder / "m.zarr"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda facts, tables: tables.pop("sphere/features"), "features is missing in sphere"),
        (lambda facts, tables: tables.pop("sphere/embedding"), "embedding is missing in sphere"),
        (lambda facts, tables: tables.update({"sphere/mean": np.zeros(3)}), "mean has shape"),
        (lambda facts, tables: tables["sphere/features"].put(0, np.nan), "not finite in sphere"),
        (lambda facts, tables: facts.pop("sphering"), "sphering is missing"),
        (lambda facts, tables: facts.update(sphering=[]), "tells no number of controls"),
        (lambda facts, tables: facts.update(sphering={"n_controls": -1}), "n_controls of the"),
        (lambda facts, tables: facts["parameters"].update(sphering=None), "of none"),
        (lambda facts, tables: facts["parameters"].update(sphering=3), "sphering must be"),
    ],
)
def test_a_damaged_sphering_is_refused(saved, tmp_path, change, said):
    facts, tables = saved
    facts = facts | {"parameters": dict(facts["parameters"])}
    tables = {name: table.copy() for name, table in tables.items()}
    change(facts, tables)
    write_model(str(tmp_path / "m.zarr"), facts, tables, False)
    with pytest.raises(InvalidInputError, match=said):
        Balans.load(tmp_path / "m.zarr")


def test_the_steps_of_a_fit_end_with_the_sphering():
    plain = Parameters(n_passes=3, keys_in_turn=2)
    assert plain.steps == plain.alignment
    assert replace(plain, sphering=QUERY).steps == (*plain.alignment, "sphere")
