"""The estimator: what goes in, what comes out, and what it says."""

import inspect
import os
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
import zarr
from distributed import Client, LocalCluster
from scipy.sparse import csr_array
from sklearn.base import clone

from balans_dask import Balans, correct_batches
from balans_dask.errors import InputWarning, InvalidInputError
from balans_dask.parameters import OPERATORS, PAPER, Parameters
from balans_dask.passes.workers import QUIET_DASHBOARD
from tests.support.screens import gaussian_screen

SCREEN = gaussian_screen(800)
APART = gaussian_screen(800, offset=2.0)


def test_numpy_in_numpy_out_with_the_shape_and_type_of_the_input():
    corrected = Balans().fit_transform(SCREEN.profiles, batch=SCREEN.batch)
    assert isinstance(corrected, np.ndarray)
    assert corrected.shape == SCREEN.profiles.shape
    assert corrected.dtype == np.float32
    wide = Balans().fit_transform(SCREEN.profiles.astype(np.float64), batch=SCREEN.batch)
    assert wide.dtype == np.float64
    np.testing.assert_allclose(wide, corrected, atol=1e-4)


@pytest.mark.parametrize("kind", [np.int16, np.int64, np.float16])
def test_other_numbers_become_floats_that_hold_them(kind):
    whole = np.round(SCREEN.profiles * 10).astype(kind)
    corrected = Balans(operator="smooth").fit_transform(whole, batch=SCREEN.batch)
    assert corrected.dtype == np.result_type(kind, np.float32)
    expected = Balans(operator="smooth").fit_transform(whole.astype(np.float64), batch=SCREEN.batch)
    np.testing.assert_allclose(corrected, expected, rtol=1e-5, atol=1e-4)


def test_zarr_and_dask_in_dask_out_and_nothing_is_computed_before_it_is_asked_for(tmp_path):
    expected = Balans(operator="smooth").fit_transform(SCREEN.profiles, batch=SCREEN.batch)
    array = zarr.create_array(tmp_path / "x.zarr", data=SCREEN.profiles, chunks=(100, 3))
    for given in (array, da.from_zarr(array), da.from_array(SCREEN.profiles, chunks=(90, 8))):
        found = Balans(operator="smooth").fit_transform(given, batch=SCREEN.batch)
        assert isinstance(found, da.Array)
        assert found.compute().tobytes() == expected.tobytes()


def profiles_of_workers(process):
    """A Dask array of two batches that refuses to be computed in one process."""
    rng = np.random.default_rng(0)
    offsets = rng.normal(size=(2, 400))

    def block(block_info=None):
        assert os.getpid() != process, "computed on the client"
        (start, stop), _ = block_info[None]["array-location"]
        noise = np.random.default_rng(start).normal(size=(stop - start, 400))
        return (noise + offsets[start // 2048 % 2]).astype(np.float32)

    return da.map_blocks(block, chunks=((2048,) * 16, 400), dtype=np.float32, meta=np.empty((0, 0)))


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:.*covered by no sampled row")
def test_of_a_dask_array_only_figures_reach_the_client(processes):
    """52 MB of profiles, of which the client holds a small part at any moment."""
    lazy = profiles_of_workers(os.getpid())
    batch = np.arange(len(lazy)) // 2048 % 2
    with processes.as_current():
        tracemalloc.start()
        try:
            model = Balans.paper(n_components=20, max_rows=64)
            corrected = model.fit_transform(lazy, batch=batch)
            later = model.transform(lazy, batch=batch)
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert isinstance(corrected, da.Array)
        assert isinstance(later, da.Array)
        assert peak_bytes < lazy.nbytes / 2
        shift = [
            abs(z[batch == 1].mean(0) - z[batch == 0].mean(0)).mean() for z in (lazy, corrected)
        ]
        before, after = processes.compute(shift, sync=True)
    assert after < 0.7 * before


def test_a_dataframe_gives_its_names():
    frame = pd.DataFrame(SCREEN.profiles, columns=[f"Cells_{i}" for i in range(8)])
    model = Balans(operator="smooth").fit(frame, batch=SCREEN.batch)
    assert model.feature_names_in_.tolist() == list(frame.columns)
    assert model.n_features_in_ == 8


def test_the_function_passes_every_parameter_on():
    given = {
        "n_neighbors": 3,
        "patience": 7,
        "stopping": "auto",
        "operator": "displace",
        "shared_populations": "auto",
        "strength": 0.5,
        "block_rows": 16,
        "coverage_tol": 0.001,
        "max_rows": 150,
        "n_components": 4,
        "max_scale_ratio": 1.5,
        "max_neighbors": 100,
        "uncovered": "keep",
        "n_passes": 2,
        "fit_rows": "all",
        "random_state": 3,
        "verbose": True,
        "correct_single_batch": True,
    }
    assert set(given) == set(inspect.signature(Balans).parameters)
    expected = Balans(**given).fit_transform(SCREEN.profiles, batch=SCREEN.batch)
    np.testing.assert_array_equal(correct_batches(SCREEN.profiles, SCREEN.batch, **given), expected)


@pytest.fixture(scope="module")
def paper():
    """What the published method makes of batches that lie apart."""
    return Balans.paper().fit_transform(APART.profiles, batch=APART.batch)


@pytest.mark.filterwarnings("ignore:.*covered by no sampled row")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_neighbors", 2),
        ("patience", 3),
        ("block_rows", 8),
        ("coverage_tol", 0.05),
        ("max_rows", 20),
        ("n_components", 3),
        ("max_scale_ratio", 1.01),
        ("max_scale_ratio", "auto"),
        ("max_neighbors", 12),
        ("random_state", 1),
    ],
)
def test_every_parameter_changes_the_result(paper, name, value):
    model = Balans.paper(**{name: value})
    found = model.fit_transform(APART.profiles, batch=APART.batch)
    assert not np.array_equal(paper, found)


def test_every_parameter_of_align_changes_its_result():
    different = ({}, {"shared_populations": True}, {"n_passes": 1})
    found = {
        Balans(max_rows=128, **given).fit_transform(APART.profiles, batch=APART.batch).tobytes()
        for given in different
    }
    assert len(found) == len(different)


@pytest.mark.filterwarnings("ignore:.*covered by no sampled row")
def test_uncovered_rows_may_stay_as_they_are():
    kept = Balans(operator="smooth", max_rows=4, uncovered="keep")
    corrected = kept.fit_transform(SCREEN.profiles, batch=SCREEN.batch)
    uncovered = kept.coverage_ == 0
    assert 10 < uncovered.sum() < 790
    np.testing.assert_array_equal(corrected[uncovered], SCREEN.profiles[uncovered])
    moved = Balans(operator="smooth", max_rows=4).fit_transform(SCREEN.profiles, batch=SCREEN.batch)
    assert (moved[uncovered] != SCREEN.profiles[uncovered]).any(axis=1).all()
    np.testing.assert_array_equal(corrected[~uncovered], moved[~uncovered])


@pytest.mark.filterwarnings("ignore:.*covered by no sampled row")
@pytest.mark.parametrize(
    ("operator", "uncovered"), [("smooth", "keep"), ("smooth", "nearest"), ("align", "offset")]
)
def test_dask_arrays_treat_uncovered_rows_as_numpy_arrays_do(operator, uncovered):
    model = Balans(operator=operator, max_rows=4, uncovered=uncovered)
    expected = model.fit_transform(SCREEN.profiles, batch=SCREEN.batch)
    assert (model.coverage_ == 0).sum() > 10
    lazy = model.fit_transform(da.from_array(SCREEN.profiles, chunks=(90, 8)), batch=SCREEN.batch)
    assert lazy.compute(scheduler="threads").tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    ("uncovered", "fate"), [("nearest", "follow the nearest one"), ("keep", "stay as they are")]
)
@pytest.mark.parametrize(
    ("stop", "remedy"), [({"max_rows": 4}, "max_rows"), ({"patience": 1}, "patience")]
)
def test_uncovered_rows_are_counted_with_their_fate_and_the_remedy(uncovered, fate, stop, remedy):
    # The paper has no guard, which has a warning of its own.
    model = Balans.paper(uncovered=uncovered, **stop)
    with pytest.warns(InputWarning) as warned:
        model.fit(SCREEN.profiles, batch=SCREEN.batch)
    n_uncovered = (model.coverage_ == 0).sum()
    assert [str(warning.message) for warning in warned] == [
        f"{n_uncovered} of 800 rows are covered by no sampled row and {fate}: raise {remedy} to "
        "cover more"
    ]


@pytest.mark.parametrize(("uncovered", "n_told"), [("offset", 1), ("nearest", 1), ("keep", 3)])
def test_uncovered_rows_are_told_of_in_steps_that_treat_them_otherwise(uncovered, n_told):
    """Steps of offsets and widths move whole batches."""
    model = Balans(max_rows=4, n_passes=1, uncovered=uncovered)
    with pytest.warns(InputWarning) as warned:
        model.fit(SCREEN.profiles, batch=SCREEN.batch)
    told = [str(each.message) for each in warned if "no sampled row" in str(each.message)]
    assert len(told) == n_told
    assert told[-1].startswith(f"{(model.coverage_ == 0).sum()} of 800 rows are covered by no")


@pytest.mark.filterwarnings("ignore:.*covered by no sampled row")
def test_a_landmark_among_more_duplicates_than_it_may_keep_covers_itself():
    profiles = SCREEN.profiles[:300].copy()
    profiles[:40] = profiles[:40].mean(axis=0) + 3
    model = Balans(operator="smooth", n_components=None, max_neighbors=20)
    corrected = model.fit_transform(profiles, batch=SCREEN.batch[:300])
    crowded = model.sampled_rows_ < 40
    assert crowded.any()
    assert (model.thresholds_[crowded] == 0).all()
    assert (model.coverage_[model.sampled_rows_] >= 1).all()
    # All others follow the nearest landmark, which is one of their own kind.
    np.testing.assert_allclose(corrected[:40], profiles[:40], rtol=1e-6)


@pytest.mark.filterwarnings("ignore:.*features are constant")
@pytest.mark.parametrize("n_components", [3, None])
def test_constant_features_keep_every_bit(n_components):
    """A weighted mean of thirds is a third only up to its last bits."""
    profiles = SCREEN.profiles.astype(np.float64)
    profiles[:, [2, 5]] = 1 / 3, -7 / 3
    model = Balans(operator="smooth", n_components=n_components)
    corrected = model.fit_transform(profiles, batch=SCREEN.batch)
    assert corrected[:, [2, 5]].tobytes() == profiles[:, [2, 5]].tobytes()
    assert (corrected[:, [0, 1]] != profiles[:, [0, 1]]).any(axis=0).all()


def test_parameters_here_and_in_the_record_agree():
    here = {name: p.default for name, p in inspect.signature(Balans).parameters.items()}
    here["seed"] = here.pop("random_state")
    assert here.pop("verbose") is False
    # An array has one key of batches, and its controls are given to fit.
    assert here.keys() | {"keys_in_turn", "sphering"} == Parameters().as_dict().keys()
    assert Parameters(**here) == Parameters()


def test_clone_and_repr():
    model = clone(Balans(n_neighbors=3, random_state=np.random.RandomState(0)))
    assert model.n_neighbors == 3
    assert "n_neighbors=3" in repr(model)


def test_a_random_state_may_be_an_instance():
    one, two = (
        Balans(operator="smooth", random_state=np.random.RandomState(5)).fit(
            SCREEN.profiles, batch=SCREEN.batch
        )
        for _ in range(2)
    )
    np.testing.assert_array_equal(one.sampled_rows_, two.sampled_rows_)


@pytest.mark.parametrize("operator", OPERATORS)
def test_one_batch_comes_back_as_it_was_and_warns(operator):
    with pytest.warns(InputWarning, match="nothing to align"):
        corrected = Balans(operator=operator).fit_transform(SCREEN.profiles[:100])
    assert corrected.tobytes() == SCREEN.profiles[:100].tobytes()


def test_the_paper_is_one_word_and_takes_further_parameters():
    found = Balans.paper(max_rows=5).get_params()
    assert found.items() >= PAPER.items()
    assert found["max_rows"] == 5
    assert Parameters(**PAPER).steps == ("smooth",)


def test_the_paper_smooths_one_batch_too():
    with pytest.warns(InputWarning, match="nothing to align"):
        corrected = Balans.paper().fit_transform(SCREEN.profiles)
    assert np.isfinite(corrected).all()
    assert corrected.var() < SCREEN.profiles.var()


def test_mixing_and_retrieval_rise_on_a_mixture():
    from balans_dask.evaluate.neighbours import neighbour_shares

    screen = gaussian_screen(4000, n_features=40, n_clusters=10, offset=0.6)
    corrected = Balans().fit_transform(screen.profiles, batch=screen.batch)
    before, after = (
        neighbour_shares(values, screen.label, screen.batch)
        for values in (screen.profiles, corrected)
    )
    assert after.batch_mixing > before.batch_mixing + 0.3
    assert after.same_label >= before.same_label


@pytest.mark.parametrize(
    ("operator", "exponent"),
    [*(("smooth", power) for power in (-110, -60, 0, 60, 110)), ("align", -110), ("align", 110)],
)
def test_the_unit_of_an_embedding_changes_no_bit(operator, exponent):
    model, other = (Balans(operator=operator, n_components=None, max_rows=192) for _ in range(2))
    expected = model.fit_transform(SCREEN.profiles, batch=SCREEN.batch)
    scaled = SCREEN.profiles * np.float32(2.0**exponent)
    corrected = other.fit_transform(scaled, batch=SCREEN.batch)
    np.testing.assert_array_equal(other.sampled_rows_, model.sampled_rows_)
    np.testing.assert_array_equal(other.scales_, model.scales_ * 2.0**exponent)
    np.testing.assert_array_equal(corrected, expected * np.float32(2.0**exponent))


@pytest.mark.parametrize("operator", ["align", "smooth"])
def test_duplicates_and_small_batches_give_finite_output(operator):
    profiles = np.repeat(SCREEN.profiles[:40], 20, axis=0)
    batch = np.array(["a"] * 797 + ["b", "c", "c"])
    # Blocks of 256 rows, of which most are alike, may leave some uncovered, and warn of it.
    model = Balans(operator=operator, block_rows=64)
    with pytest.warns(InputWarning, match="2 of 3 batches have at most 5 rows"):
        corrected = model.fit_transform(profiles, batch=batch)
    assert np.isfinite(corrected).all()


@pytest.mark.parametrize("operator", ["align", "smooth"])
@pytest.mark.parametrize("n_rows", [2, 3, 7])
@pytest.mark.filterwarnings("ignore::balans_dask.errors.InputWarning")
def test_a_handful_of_rows(n_rows, operator):
    profiles = SCREEN.profiles[:n_rows]
    model = Balans(operator=operator)
    corrected = model.fit_transform(profiles, batch=np.arange(n_rows) % 2)
    assert np.isfinite(corrected).all()


BAD = [
    (SCREEN.profiles[0], None, "1 dimensions .* give a matrix of profiles"),
    (np.array([["a"], ["b"]]), None, "type <U1: give integers or floats"),
    (SCREEN.profiles.astype(np.longdouble), None, "at most 64 bits"),
    (SCREEN.profiles.astype(complex), None, "Complex data not supported: X has type complex128"),
    (csr_array(SCREEN.profiles), None, "sparse matrix, but dense data is required"),
    ([[1.0, 2.0], [3.0]], None, "no array .*: give every row the same length"),
    (pd.DataFrame({"a": [1.0, 2.0], "p": ["1", "2"]}), None, "2 of 4 values of X are text"),
    (pd.DataFrame({"a": [1.0, {}]}), None, "a value of X is no number .* not 'dict'"),
    (pd.DataFrame({"a": [1.0, 2.0], 1: [1.0, 3.0]}), None, "name all features by text"),
    (SCREEN.profiles[:1], None, "at least 2"),
    (SCREEN.profiles[:, :0], None, r"0 feature\(s\)"),
    (np.full((9, 2), np.nan), None, "9 of 9 rows hold NaN"),
    (np.ones((9, 2)), None, "all 2 features are constant"),
    (SCREEN.profiles.astype(float) * 1e200, None, "leave the range of float64"),
    (SCREEN.profiles.astype(float) * 1e-200, None, "leave the range of float64"),
    (SCREEN.profiles, SCREEN.batch[:-1], "799 labels for 800 rows"),
    (SCREEN.profiles, np.where(SCREEN.label == 1, np.nan, 1.0), "is missing in"),
]


@pytest.mark.filterwarnings("ignore:.*nothing to align")
@pytest.mark.filterwarnings("ignore:.*(overflow|invalid value) encountered:RuntimeWarning")
@pytest.mark.parametrize(("profiles", "batch", "reason"), BAD, ids=[case[2] for case in BAD])
def test_what_cannot_be_corrected_is_refused(profiles, batch, reason):
    with pytest.raises(InvalidInputError, match=reason) as refusal:
        Balans().fit(profiles, batch=batch)
    assert len(str(refusal.value).splitlines()) == 1


def test_numbers_in_python_objects_are_numbers():
    expected = Balans(operator="smooth").fit_transform(
        SCREEN.profiles.astype(float), batch=SCREEN.batch
    )
    found = Balans(operator="smooth").fit_transform(
        SCREEN.profiles.astype(object), batch=SCREEN.batch
    )
    np.testing.assert_array_equal(found, expected)


def test_a_dask_array_of_unknown_length_is_refused():
    lazy = da.from_array(SCREEN.profiles, chunks=100)
    with pytest.raises(InvalidInputError, match="compute_chunk_sizes"):
        Balans().fit(lazy[lazy[:, 0] > 0], batch=SCREEN.batch)


def test_the_clients_of_the_user_are_used_and_left_open():
    with (
        LocalCluster(
            n_workers=1, processes=False, dashboard_address=QUIET_DASHBOARD, memory_limit=0
        ) as cluster,
        Client(cluster) as client,
    ):
        client.get_task_stream()
        corrected = Balans(operator="smooth").fit_transform(SCREEN.profiles, batch=SCREEN.batch)
        assert corrected.shape == SCREEN.profiles.shape
        assert client.status == "running"
        stages = {event["key"].split("-")[1] for event in client.get_task_stream()}
        assert {"moments", "scales", "elbow", "rows", "sums", "correct"} <= stages


@pytest.mark.parametrize("state", [True, "x", 1.5, -1])
def test_a_random_state_that_is_none_is_refused(state):
    with pytest.raises(InvalidInputError, match=r"(random_state|seed) must be"):
        Balans(random_state=state).fit(SCREEN.profiles, batch=SCREEN.batch)


def test_a_zarr_array_with_a_lost_or_torn_chunk_is_refused(tmp_path):
    array = zarr.create_array(tmp_path / "x.zarr", data=SCREEN.profiles, chunks=(100, 8))
    chunk = tmp_path / "x.zarr/c/3/0"
    content = chunk.read_bytes()
    chunk.write_bytes(content[:40])
    with pytest.raises(InvalidInputError, match=r"cannot decode .* in rows 0 to 800"):
        Balans().fit(array, batch=SCREEN.batch)
    chunk.unlink()
    with pytest.raises(InvalidInputError, match="lacks 1 of 8 stored chunks"):
        Balans().fit(array, batch=SCREEN.batch)


@pytest.mark.parametrize("kept", [400, 1600])
def test_a_dask_array_that_does_not_keep_its_shape_is_refused(kept):
    rows = dask.delayed(np.resize)(SCREEN.profiles, (kept, 8))
    lazy = da.from_delayed(rows, SCREEN.profiles.shape, SCREEN.profiles.dtype)
    with pytest.raises(InvalidInputError, match=r"yields a block of shape"):
        Balans().fit(lazy, batch=SCREEN.batch)


@pytest.mark.filterwarnings("ignore:.*batches have at most")
def test_more_neighbours_than_any_batch_has_are_those_that_it_has():
    expected, found = (
        Balans(operator="smooth", n_neighbors=n).fit(SCREEN.profiles, batch=SCREEN.batch)
        for n in (800, 10**9)
    )
    np.testing.assert_array_equal(found.scales_, expected.scales_)


def test_two_fits_in_two_threads_leave_dask_as_it_was():
    lazy = da.from_array(SCREEN.profiles)
    models = [Balans(operator="smooth", max_rows=m) for m in (100, 200)]
    with ThreadPoolExecutor(2) as pool:
        fits = [pool.submit(model.fit_transform, lazy, batch=SCREEN.batch) for model in models]
    for model, fit in zip(models, fits, strict=True):
        alone = clone(model).fit_transform(SCREEN.profiles, batch=SCREEN.batch)
        np.testing.assert_array_equal(fit.result(), alone)
    assert dask.config.get("scheduler", None) is None
    assert da.ones(5).sum().compute() == 5


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:.*covered by no sampled row")
def test_a_cluster_that_grows_from_nothing_corrects_numpy(engine):
    model = Balans(operator="smooth", max_rows=64)
    expected = model.fit_transform(SCREEN.profiles, batch=SCREEN.batch)
    with (
        LocalCluster(
            n_workers=0, threads_per_worker=1, dashboard_address=QUIET_DASHBOARD, memory_limit="2GB"
        ) as cluster,
        Client(cluster),
    ):
        cluster.adapt(minimum=0, maximum=1, interval="100ms")
        found = model.fit_transform(SCREEN.profiles, batch=SCREEN.batch)
    np.testing.assert_array_equal(found, expected)


def table_of_screen(**metadata):
    """Features as a table has them, in float64, between columns of metadata."""
    table = pd.DataFrame(SCREEN.profiles.astype(np.float64), columns=[f"f{i}" for i in range(8)])
    for place, (name, column) in enumerate(metadata.items()):
        table.insert(2 * place, name, column)
    return table


PLATES, DAYS = SCREEN.batch, np.arange(800) // 400
JOINT = np.array([f"{plate}, {day}" for plate, day in zip(PLATES, DAYS, strict=True)])


def test_the_function_gives_a_table_back_with_its_metadata_and_its_order():
    table = table_of_screen(Metadata_plate=PLATES, compound=SCREEN.label.astype(str))
    table.index = np.repeat(np.arange(400)[::-1], 2)  # names need not differ
    found = correct_batches(table, batch="Metadata_plate")
    expected = correct_batches(SCREEN.profiles, PLATES)
    features = [f"f{i}" for i in range(8)]
    np.testing.assert_array_equal(found[features], expected)
    assert (found[features].dtypes == np.float32).all()
    assert list(found) == list(table)
    pd.testing.assert_frame_equal(
        found[["Metadata_plate", "compound"]], table[["Metadata_plate", "compound"]]
    )
    pd.testing.assert_index_equal(found.index, table.index)
    assert (table.dtypes[features] == np.float64).all()


@pytest.mark.parametrize("batch", [PLATES, list(PLATES), pd.Series(PLATES), pd.Categorical(PLATES)])
def test_the_function_takes_labels_beside_a_table(batch):
    table = table_of_screen()
    found = correct_batches(table, batch)
    np.testing.assert_array_equal(found, correct_batches(SCREEN.profiles, PLATES))
    assert isinstance(found, pd.DataFrame)


def test_the_batch_of_a_table_is_no_feature_though_it_is_a_number():
    table = table_of_screen(day=DAYS, plate=PLATES)
    found = correct_batches(table, batch=["plate", "day"])
    assert found["day"].equals(table["day"])
    expected = correct_batches(SCREEN.profiles, JOINT)
    np.testing.assert_array_equal(found.drop(columns=["plate", "day"]), expected)


def test_missing_numbers_of_a_table_are_refused_and_others_are_features():
    table = table_of_screen(Metadata_plate=PLATES)
    given = table.astype({"f0": "Float64", "f1": "Float32", "f2": "Int64"}, errors="ignore")
    found = correct_batches(given, batch="Metadata_plate")
    np.testing.assert_array_equal(found["f3"], correct_batches(table, "Metadata_plate")["f3"])
    given.loc[3, "f0"] = pd.NA
    with pytest.raises(InvalidInputError, match="f0"):
        correct_batches(given, batch="Metadata_plate")


@pytest.mark.parametrize(
    ("table", "batch", "reason"),
    [
        (table_of_screen(), "plate", "X has no column 'plate'"),
        (table_of_screen(plate=PLATES), ["plate", "dya"], "X has no column 'dya'"),
        (pd.DataFrame({"plate": PLATES}), "plate", "X has no numeric feature among its 1 columns"),
        (table_of_screen().set_axis(["f"] * 8, axis=1), PLATES, "column names more than once"),
    ],
)
def test_a_table_that_cannot_be_corrected_is_refused_in_one_line(table, batch, reason):
    with pytest.raises(InvalidInputError, match=reason) as refused:
        correct_batches(table, batch)
    assert "\n" not in str(refused.value)


def test_a_dataframe_of_features_comes_back_as_one_where_set_output_asks():
    table = table_of_screen().set_index(np.arange(800) + 5)
    model = Balans().set_output(transform="pandas")
    for found in (
        model.fit_transform(table, batch=PLATES),
        model.transform(table, batch=PLATES),
    ):
        assert isinstance(found, pd.DataFrame)
        assert list(found) == list(table)
        pd.testing.assert_index_equal(found.index, table.index)


@pytest.mark.parametrize(
    "batch",
    [
        pd.DataFrame({"plate": PLATES, "day": DAYS}),
        np.column_stack([PLATES, DAYS.astype(str)]),
        list(zip(PLATES, DAYS, strict=True)),
    ],
    ids=["table", "array", "list"],
)
def test_several_keys_make_joint_batches(batch):
    found = Balans().fit(SCREEN.profiles, batch=batch)
    expected = Balans().fit(SCREEN.profiles, batch=JOINT)
    assert len(found.batches_) == 6
    assert found.batches_[0] == "plate0 | 0"
    np.testing.assert_array_equal(found.scales_, expected.scales_)
    np.testing.assert_array_equal(
        found.transform(SCREEN.profiles, batch=batch),
        expected.transform(SCREEN.profiles, batch=JOINT),
    )


def test_one_column_is_one_key():
    table = pd.DataFrame({"plate": PLATES})
    one, other = (Balans().fit(SCREEN.profiles, batch=given) for given in (table, PLATES))
    assert one.model_.record["fingerprint"] == other.model_.record["fingerprint"]
    with pytest.raises(InvalidInputError, match="batch has no column"):
        Balans().fit(SCREEN.profiles, batch=table[[]])


def test_a_model_refuses_another_number_of_keys(tmp_path):
    both = pd.DataFrame({"plate": PLATES, "day": DAYS})
    Balans().fit(SCREEN.profiles, batch=both).save(tmp_path / "joint.zarr")
    joint = Balans.load(tmp_path / "joint.zarr")
    assert joint.transform(SCREEN.profiles, batch=both).shape == SCREEN.profiles.shape
    with pytest.raises(InvalidInputError, match=r"of 2 keys \(plate, day\), and batch has 1"):
        joint.transform(SCREEN.profiles, batch=PLATES)
    with pytest.raises(InvalidInputError, match="by plate and day, and these are by day"):
        joint.transform(SCREEN.profiles, batch=both[["day", "plate"]])
    single = Balans().fit(SCREEN.profiles, batch=PLATES)
    with pytest.raises(InvalidInputError, match="of 1 keys, and batch has 2"):
        single.transform(SCREEN.profiles, batch=both)


@pytest.mark.parametrize("named", [lambda table: table["run"], lambda table: table[["run"]]])
def test_a_column_that_is_given_as_labels_is_no_feature(named):
    table = pd.DataFrame(SCREEN.profiles).add_prefix("f")
    table["run"] = pd.factorize(SCREEN.batch)[0]
    expected = correct_batches(table, batch="run")
    found = correct_batches(table, batch=named(table))
    pd.testing.assert_frame_equal(found, expected)
    assert (found["run"] == table["run"]).all()
