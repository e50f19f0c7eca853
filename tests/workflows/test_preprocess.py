"""What people do just before a correction, out of core, as pycytominer does it in memory."""

import re
import signal

import anndata
import numpy as np
import pandas as pd
import pytest
import zarr
from scipy.stats import norm, rankdata

from balans_dask.cli.app import run
from balans_dask.errors import InsufficientMemoryError, InvalidInputError, StoreExistsError
from balans_dask.io.sources import StoredRows
from balans_dask.passes.dask_engine import DaskEngine
from balans_dask.passes.workers import Workers
from balans_dask.tiling import TILE_ROWS
from balans_dask.workflows.preprocess import Preprocessing
from balans_dask.workflows.preprocess import store as preprocess
from balans_dask.workflows.preprocess.store import preprocess_store
from tests.support.commands import Command
from tests.support.screens import gaussian_screen
from tests.support.stores import files, write_anndata

N_ROWS = 2 * TILE_ROWS + 700
SCREEN = gaussian_screen(N_ROWS, n_features=6, n_batches=5)
CONTROLS = "Metadata_pert_type == 'negcon'"
KIND = np.where(SCREEN.label == 0, "negcon", "trt")


def profiles():
    """Six plain features, and some that each rule is about."""
    values = SCREEN.profiles
    rng = np.random.default_rng(1)
    return np.column_stack(
        [
            values,
            values[:, 0] + 0.1 * rng.normal(size=N_ROWS),
            values[:, 0] * 2 + values[:, 1] * 0.1,
            np.zeros(N_ROWS),
            np.arange(N_ROWS) % 4,
            np.where(np.arange(N_ROWS) % 60 == 0, rng.normal(size=N_ROWS), 0.0),
            np.where(np.arange(N_ROWS) == 7, 900.0, values[:, 2]),
        ]
    ).astype(np.float32)


PROFILES = profiles()


@pytest.fixture
def store(tmp_path):
    return write_anndata(
        tmp_path / "in.zarr",
        PROFILES,
        chunks=(1000, 12),
        Metadata_Plate=SCREEN.batch,
        Metadata_pert_type=KIND,
    )


@pytest.fixture(autouse=True)
def _few_columns_a_task(monkeypatch):
    monkeypatch.setattr(preprocess, "COLUMNS_AT_ONCE", 5)


def made(engine, store, tmp_path, **steps):
    out = tmp_path / "out.zarr"
    preprocess_store(engine, store, str(out), Preprocessing(**steps), overwrite=True)
    return anndata.read_zarr(out)


def table():
    frame = pd.DataFrame(PROFILES.astype(np.float64), columns=[f"Cells_{i}" for i in range(12)])
    return frame.assign(Metadata_Plate=SCREEN.batch, Metadata_pert_type=KIND)


def by_pycytominer(frame, features, **options):
    """Every plate normalised by itself, in the order of the rows."""
    normalize = pytest.importorskip("pycytominer").normalize
    plates = [
        normalize(plate, features=features, meta_features=["Metadata_Plate"], **options)
        for _, plate in frame.groupby("Metadata_Plate", observed=True)
    ]
    return pd.concat(plates).loc[frame.index, features].to_numpy()


PLAIN = [f"Cells_{i}" for i in (0, 1, 2, 3, 4, 5, 6, 7, 9, 11)]
"""Features that vary among the controls of every plate."""


@pytest.mark.parametrize(
    ("method", "theirs"), [("mad", "mad_robustize"), ("standardize", "standardize")]
)
@pytest.mark.parametrize("controls", [CONTROLS, None])
@pytest.mark.filterwarnings("ignore:.*do not vary among the controls")
def test_plates_are_normalised_by_their_controls_as_by_pycytominer(
    engine, store, tmp_path, method, theirs, controls
):
    data = made(
        engine, store, tmp_path, normalize=method, plate_keys=("Metadata_Plate",),
        controls=controls,
    )  # fmt: skip
    assert list(data.var_names) == [f"Cells_{i}" for i in range(12)]
    expected = by_pycytominer(table(), PLAIN, samples=controls or "all", method=theirs)
    np.testing.assert_allclose(data[:, PLAIN].X, expected, rtol=1e-5, atol=1e-5)


def test_features_flat_among_the_controls_are_named_or_dropped(engine, store, tmp_path):
    steps = {"normalize": "mad", "plate_keys": ("Metadata_Plate",), "controls": CONTROLS}
    with pytest.warns(UserWarning, match=r"2 of 12 features do not vary .*\(Cells_8, Cells_10\)"):
        made(engine, store, tmp_path, **steps)
    data = made(engine, store, tmp_path, **steps, select=("flat",))
    assert list(data.var_names) == PLAIN
    assert list(data.uns["balans_preprocess"]["dropped"]["flat"]) == ["Cells_8", "Cells_10"]


def test_ranks_become_normal_quantiles_of_all_rows_or_of_every_plate(engine, store, tmp_path):
    def expected(values):
        return norm.ppf(
            (rankdata(values.astype(np.float64), axis=0) - 0.375) / (len(values) + 0.25)
        )

    data = made(engine, store, tmp_path, transform="rank-int")
    np.testing.assert_allclose(data.X, expected(PROFILES), rtol=1e-6, atol=1e-6)
    plates = ("Metadata_Plate",)
    data = made(engine, store, tmp_path, transform="rank-int-by-plate", plate_keys=plates)
    for plate in np.unique(SCREEN.batch):
        mine = SCREEN.batch == plate
        np.testing.assert_allclose(data.X[mine], expected(PROFILES[mine]), rtol=1e-6, atol=1e-6)


def test_ranks_are_near_the_quantiles_of_pycytominer(engine, store, tmp_path):
    plates = ("Metadata_Plate",)
    data = made(engine, store, tmp_path, transform="rank-int-by-plate", plate_keys=plates)
    theirs = by_pycytominer(table(), PLAIN[:8], method="inverse_normal")
    # Theirs interpolates quantiles, and sends the smallest and the largest value to -5.2 and 5.2.
    inner = np.abs(theirs) < 2
    assert inner.mean() > 0.9
    np.testing.assert_allclose(data[:, PLAIN[:8]].X[inner], theirs[inner], atol=0.02)


@pytest.mark.parametrize(
    ("rules", "operations"),
    [
        (("variance",), ["variance_threshold"]),
        (("frequency",), ["frequency_threshold"]),
        (("outliers",), ["drop_outliers"]),
        (("correlation",), ["correlation_threshold"]),
        (
            ("correlation", "frequency", "outliers", "variance"),
            ["variance_threshold", "frequency_threshold", "drop_outliers", "correlation_threshold"],
        ),
    ],
)
def test_features_are_selected_as_by_pycytominer(engine, store, tmp_path, rules, operations):
    feature_select = pytest.importorskip("pycytominer").feature_select
    features = [f"Cells_{i}" for i in range(12)]
    # numpy warns of constant features, of which pycytominer takes the correlation all the same.
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = feature_select(table(), features=features, operation=operations)
    data = made(engine, store, tmp_path, select=rules)
    assert list(data.var_names) == [name for name in expected.columns if name in features]
    assert 0 < data.n_vars < 12
    places = [features.index(name) for name in data.var_names]
    np.testing.assert_array_equal(data.X, PROFILES[:, places])


def test_steps_are_recorded_and_go_on_with_the_correction(store, tmp_path, capsys):
    out, corrected = tmp_path / "out.zarr", tmp_path / "corrected.zarr"
    options = ["--by", "Metadata_Plate", "--controls", CONTROLS, "--normalize", "mad"]
    select = ["--select", "flat,variance", "--min-variance", "0.5"]
    assert run(["preprocess", store, str(out), *options, *select]) == 0
    said = capsys.readouterr()
    assert "5 plates of Metadata_Plate by Metadata_pert_type == 'negcon'" in said.err
    assert "flat: 2 features dropped" in said.err
    assert f"{N_ROWS:,} rows x 10 features" in said.out
    before = anndata.read_zarr(out).uns["balans_preprocess"]
    assert before["parameters"]["normalize"] == "mad"
    assert before["parameters"]["min_variance"] == 0.5
    assert before["n_controls"] == (KIND == "negcon").sum()
    assert before["input"] == "in.zarr"
    options = ["--batch-key", "Metadata_Plate", "--operator", "smooth", "--max-rows", "64"]
    assert run(["correct", str(out), str(corrected), *options, "--quiet"]) == 0
    assert "not copied" not in capsys.readouterr().err
    after = anndata.read_zarr(corrected).uns["balans_preprocess"]
    assert after["parameters"]["controls"] == CONTROLS
    again = tmp_path / "again.zarr"
    assert run(["preprocess", str(out), str(again), "--transform", "rank-int", "--quiet"]) == 0
    assert run(["inspect", str(again)]) == 0
    assert "transform=rank-int" in capsys.readouterr().out.replace("\n", "")
    chained = anndata.read_zarr(again).uns["balans_preprocess"]
    assert chained["parameters"]["transform"] == "rank-int"
    assert chained["earlier"]["parameters"]["normalize"] == "mad"


def test_the_result_depends_on_neither_chunks_nor_workers(engine, processes, tmp_path, monkeypatch):
    steps = Preprocessing(
        "standardize", "rank-int", ("variance", "correlation"), ("Metadata_Plate",)
    )
    found = []
    for number, (workers, chunks, columns) in enumerate(
        [(engine, (1000, 12), 5), (DaskEngine(processes), (4096, 3), 64)]
    ):
        monkeypatch.setattr(preprocess, "COLUMNS_AT_ONCE", columns)
        source = write_anndata(
            tmp_path / f"{number}/in.zarr", PROFILES, chunks=chunks, Metadata_Plate=SCREEN.batch
        )
        preprocess_store(workers, source, str(tmp_path / f"{number}/out.zarr"), steps)
        found.append(files(tmp_path / f"{number}/out.zarr"))
    assert found[0] == found[1]


def test_missing_values_are_refused_with_the_remedy_or_their_features_dropped(engine, tmp_path):
    values = PROFILES.copy()
    values[[3, 9], [1, 4]] = np.nan, np.inf
    store = write_anndata(tmp_path / "in.zarr", values, Metadata_Plate=SCREEN.batch)
    with pytest.raises(InvalidInputError, match=r"2 of \d+ rows .* in 2 features .*add missing to"):
        made(engine, store, tmp_path, transform="rank-int")
    assert [path.name for path in tmp_path.iterdir()] == ["in.zarr"]
    data = made(engine, store, tmp_path, select=("missing",))
    kept = [i for i in range(12) if i not in (1, 4)]
    np.testing.assert_array_equal(data.X, PROFILES[:, kept])


FLAT_CONTROLS = {"normalize": "mad", "plate_keys": ("Metadata_Plate",), "epsilon": 0.0}
BAD_AFTER = {
    "values": np.array([[1, 1, 9], [2, 1, 8], [3, 4, 7], [4, 1, 7], [5, 2, 7], [7, 3, 7]], "f4"),
    "Metadata_Plate": ["a", "a", "a", "b", "b", "b"],
    "Metadata_control": [True, True, False, True, True, False],
}
"""The second feature does not vary among the controls of plate a, nor the third on plate b."""


def bad_after(tmp_path, **others):
    columns = BAD_AFTER | others
    values = columns.pop("values")
    path = tmp_path / "in.zarr"
    return write_anndata(path, values, **columns)


@pytest.mark.parametrize("rules", [("missing",), ("outliers",), ("outliers", "missing", "flat")])
@pytest.mark.parametrize("transform", [None, "rank-int", "rank-int-by-plate"])
def test_features_that_normalising_makes_nan_or_infinite_are_dropped(
    engine, tmp_path, rules, transform
):
    steps = FLAT_CONTROLS | {"controls": "Metadata_control", "transform": transform}
    data = made(engine, bad_after(tmp_path), tmp_path, **steps, select=rules)
    assert list(data.var_names) == ["Cells_0"]
    rule = "missing" if "missing" in rules else "outliers"
    dropped = data.uns["balans_preprocess"]["dropped"]
    assert list(dropped[rule]) == ["Cells_1", "Cells_2"]
    assert np.isfinite(data.X).all()


@pytest.mark.filterwarnings("ignore:1 of 2 features do not vary")
def test_a_tiny_epsilon_leads_beyond_the_range_of_floats(engine, tmp_path):
    steps = FLAT_CONTROLS | {"controls": "Metadata_control", "epsilon": 1e-50}
    data = made(engine, bad_after(tmp_path), tmp_path, **steps, select=("missing",))
    # 3 over 1e-50 is no float32; 0 over it is 0.
    assert list(data.var_names) == ["Cells_0", "Cells_2"]


def test_without_a_rule_values_that_are_not_finite_are_counted_and_ranks_are_of_the_others(
    engine, tmp_path
):
    steps = FLAT_CONTROLS | {"controls": "Metadata_control"}
    reason = (
        r"2 of 3 features hold 5 NaN and 1 infinite values after normalising \(Cells_1, Cells_2\): "
        "add missing to --select to drop them, or raise --epsilon"
    )
    store = bad_after(tmp_path)
    with pytest.warns(UserWarning, match=reason) as said:
        plain = made(engine, store, tmp_path, **steps).X
    assert not any("do not vary" in str(warning.message) for warning in said)
    np.testing.assert_array_equal(np.isnan(plain).sum(axis=0), [0, 2, 3])
    assert np.isinf(plain[2, 1])
    with pytest.warns(UserWarning, match=reason):
        ranked = made(engine, store, tmp_path, **steps, transform="rank-int").X
    for column in range(3):
        known = ~np.isnan(plain[:, column])
        ranks = rankdata(plain[known, column].astype(np.float64))
        expected = norm.ppf((ranks - 0.375) / (known.sum() + 0.25))
        np.testing.assert_allclose(ranked[known, column], expected, rtol=1e-6)
        assert np.isnan(ranked[~known, column]).all()


def test_correlations_are_of_the_finite_features(engine, tmp_path):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(60, 4)).astype("f4")
    values[:, 2] = values[:, 0] * 2
    plates, controls = np.repeat(["a", "b"], 30), np.arange(60) % 3 == 0
    values[controls, 3] = 1
    store = bad_after(tmp_path, values=values, Metadata_Plate=plates, Metadata_control=controls)
    steps = FLAT_CONTROLS | {"controls": "Metadata_control"}
    with pytest.warns(UserWarning, match="1 of 4 features hold 20 NaN and 40 infinite"):
        data = made(engine, store, tmp_path, **steps, select=("correlation",))
    assert list(data.var_names) == ["Cells_0", "Cells_1", "Cells_3"]


MAD = ["--normalize", "mad", "--by", "Metadata_Plate"]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ([], "nothing to do: give at least one of --normalize"),
        (["--normalize", "mad"], "name the column that tells them apart, as in --by"),
        (["--select", "varience"], "select 'varience' is unknown: choose of missing, flat"),
        (["--select", "flat"], "select flat means nothing without --normalize"),
        (["--select", "variance", "--freq-cut", "2"], "freq_cut must be a number from 0 to 1"),
        (
            ["--select", "variance", "--min-variance", "1e9"],
            "no feature of 12 is left .*variance 12",
        ),
        (["--normalize", "mad", "--by", "Metadata_Day"], "no column 'Metadata_Day' in obs"),
        (
            [*MAD, "--controls", "Metadata_Plate == 'plate0'"],
            r"4 of 5 plates .* have no control by .*\(plate1, plate2",
        ),
        ([*MAD, "--controls", "Metadata_Plate == 'plat2'"], "names no row: did you mean 'plate2'"),
    ],
)
def test_nonsense_is_refused_in_a_line_and_nothing_is_left(
    store, tmp_path, capsys, options, reason
):
    assert run(["preprocess", store, str(tmp_path / "out.zarr"), *options]) == 2
    [line] = capsys.readouterr().err.splitlines()[-1:]
    assert line.startswith("balans: error: ")
    assert re.search(reason, line)
    assert [path.name for path in tmp_path.iterdir()] == ["in.zarr"]


def test_an_existing_store_is_kept(engine, store, tmp_path):
    steps = Preprocessing(transform="rank-int")
    out = str(tmp_path / "out.zarr")
    preprocess_store(engine, store, out, steps)
    before = files(out)
    with pytest.raises(StoreExistsError, match="--overwrite"):
        preprocess_store(engine, store, out, Preprocessing(select=("variance",)))
    assert files(out) == before
    assert "scratch" not in zarr.open_group(out, mode="r")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.zarr", "out.zarr"]


@pytest.mark.long
def test_a_preprocessing_killed_half_way_leaves_nothing_in_its_place(engine, store, tmp_path):
    out = tmp_path / "out.zarr"
    command = Command("preprocess", store, out, "--transform", "rank-int")
    growing = tmp_path / "out.zarr.partial/store/scratch/after"
    assert command.wait_for(lambda: growing.exists())
    command.kill_all()
    assert not out.exists()
    preprocess_store(engine, store, str(out), Preprocessing(transform="rank-int"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.zarr", "out.zarr"]
    assert np.isfinite(anndata.read_zarr(out).X).all()


def test_columns_of_a_task_fit_its_memory_or_are_refused(monkeypatch):
    monkeypatch.setattr(preprocess, "COLUMNS_AT_ONCE", 64)
    worker = Workers(n_workers=1, threads_per_worker=2, limit_bytes=2**31, embedded=False)
    assert preprocess._columns_at_once(1000, worker) == 64
    assert 1 <= preprocess._columns_at_once(1_000_000, worker) < 64
    with pytest.raises(InsufficientMemoryError, match="a column of 100000000 rows"):
        preprocess._columns_at_once(100_000_000, worker)


@pytest.mark.parametrize(("n_threads", "n_partitions"), [(1, 2), (4, 8), (16, 32)])
def test_rows_of_a_task_are_fewer_where_more_tasks_share_the_memory(n_threads, n_partitions):
    worker = Workers(1, n_threads, limit_bytes=2**31, embedded=False)
    rows = StoredRows(np.broadcast_to(np.float32(0), (2**18, 256)))
    tiling = preprocess._tiling(rows, preprocess._rows_at_once(worker))
    assert tiling.n_partitions == n_partitions
    held = n_threads * preprocess.ROW_COPIES * tiling.rows_per_partition * 256 * 4
    assert held <= worker.usable_share * worker.limit_bytes


def test_real_wells_are_normalised_and_selected_as_by_pycytominer(real_data, tmp_path):
    pycytominer = pytest.importorskip("pycytominer")
    source = real_data / "bbbc021_well.parquet"
    store, scaled, out = (str(tmp_path / f"{name}.zarr") for name in "ABC")
    preset = ["--preset", "cellprofiler"]
    assert run(["convert", str(source), store, *preset]) == 0
    options = ["--normalize", "mad", "--select", "flat"]
    assert run(["preprocess", store, scaled, *preset, *options]) == 0
    data = anndata.read_zarr(scaled)
    features = list(data.var_names)
    frame = pd.read_parquet(source)
    frame = frame.astype(dict.fromkeys(features, np.float64))
    expected = by_pycytominer(frame, features, samples=CONTROLS, method="mad_robustize")
    np.testing.assert_allclose(data.X, expected, rtol=1e-4, atol=1e-4)

    # From what is stored, in which rounding decides between sums that are nearly equal.
    assert run(["preprocess", scaled, out, "--select", "variance,outliers,correlation"]) == 0
    selected = pycytominer.feature_select(
        pd.DataFrame(data.X.astype(np.float64), columns=features),
        features=features,
        operation=["variance_threshold", "drop_outliers", "correlation_threshold"],
    )
    found = anndata.read_zarr(out)
    # Some features are copies of others, of which an unstable sort keeps any, and we the first.
    ours, theirs = found.to_df().T.drop_duplicates(), selected.astype(np.float32).T
    assert len(ours) == found.n_vars
    assert {tuple(row) for row in ours.to_numpy()} == {tuple(row) for row in theirs.to_numpy()}
    assert 50 < found.n_vars < len(features) < 459


@pytest.mark.long
@pytest.mark.parametrize("name", ["convert", "preprocess"])
def test_a_signal_ends_what_cannot_be_continued_and_it_can_be_run_again(tmp_path, name):
    rows = np.tile(PROFILES, (12, 1))
    steps = []
    if name == "convert":
        store = tmp_path / "in.h5ad"
        anndata.AnnData(rows).write_h5ad(store)
    else:
        plates = np.arange(len(rows)) % 3
        store = write_anndata(tmp_path / "in.zarr", rows, Metadata_Plate=plates)
        steps = ["--normalize", "standardize", "--by", "Metadata_Plate", "--quiet"]
    out = tmp_path / "out.zarr"
    command = Command(name, store, out, *steps)
    assert command.wait_for((tmp_path / "out.zarr.partial/store/X").exists)
    command.send(signal.SIGTERM)
    code, _, said = command.finish()
    assert code == 1
    assert "stopped by SIGTERM; nothing was put out: run it again" in said
    assert not out.exists()
    assert run([name, str(store), str(out), *steps]) == 0
    assert anndata.read_zarr(out).shape == rows.shape
    assert not (tmp_path / "out.zarr.partial").exists()
