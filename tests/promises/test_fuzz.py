"""Hostile stores, values, labels, tables and options: a correct result, or one line.

Every test is one family of inputs. ``make fuzz`` tries many more of each, and others every time.
"""

import gzip
import itertools
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.sparse
import zarr
from anndata.io import write_elem
from hypothesis import Phase, assume, core, given, settings
from hypothesis import strategies as st

from balans_dask.labels import spelled
from tests.support import reference
from tests.support.hostile import Judge, Truth
from tests.support.hostile_inputs import (
    ARROW_COLUMNS,
    CHUNK_DAMAGE,
    METADATA_DAMAGE,
    Layout,
    arrow_tables,
    as_kind,
    chunk_files,
    csv_bytes,
    csv_damages,
    hostile_text,
    invalid_options,
    label_columns,
    layouts,
    metadata_files,
    names,
    plate_obs,
    plates,
    tables,
    valid_options,
    values,
    write_store,
)
from tests.support.screens import gaussian_screen

pytestmark = pytest.mark.filterwarnings("ignore")

SCREEN = gaussian_screen(24, n_features=3).profiles
SMOOTH = ("--operator=smooth", "--quiet")
KEY = ("--batch-key=p", *SMOOTH)
HARMLESS = ("none", "bom", "all quoted", "blank lines", "old mac")
OTHER_SEPARATORS = ("semicolons", "decimal commas", "tabs")
"""Harmless too where no name holds one: of two that make as many columns, the first is taken."""
operators = st.sampled_from(["align", "smooth"])


def tries(n: int) -> settings:
    """So many examples in the default run, and in proportion in any other profile.

    A run takes half a second, so the default run shows a failure as it was drawn.
    """
    profile = settings.default
    shrinks = settings.get_current_profile_name() != "default"
    phases = [phase for phase in profile.phases if shrinks or phase is not Phase.shrink]
    return settings(max_examples=-(-n * profile.max_examples // 25), phases=phases)


def test_every_run_draws_examples_of_its_own_by_a_seed_that_it_prints(pytestconfig):
    assert not settings.default.derandomize
    assert str(core.global_force_seed) == str(pytestconfig.option.hypothesis_seed)


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as path:
        yield Path(path)


@pytest.fixture
def judge(capfd, request) -> Judge:
    return Judge(capfd, request.node.get_closest_marker("family").args[0])


def truth_of(profiles: np.ndarray, obs: pd.DataFrame) -> Truth:
    return Truth(profiles, obs, list(names(profiles.shape[1], "Cells_")))


# -------------------------------------------------------------------------- values


@pytest.mark.family("values")
@tries(10)
@given(case=values(), layout=layouts, operator=operators)
def test_any_values_are_corrected_or_refused(judge, case, layout, operator):
    obs = plate_obs(len(case.profiles))
    with folder() as path:
        store = write_store(path / "in.zarr", case.profiles, obs, layout)
        truth = truth_of(case.profiles, obs)
        data = judge.correct(store, truth, *KEY, f"--operator={operator}")
    if case.fate != "either":
        assert (data is not None) == (case.fate == "corrected"), case.fate


@pytest.mark.family("values")
@tries(6)
@given(
    bad=st.sampled_from([np.nan, np.inf, -np.inf]),
    row=st.integers(0, 23),
    column=st.integers(0, 2),
    kind=st.sampled_from(["f2", "f4", "f8"]),
    layout=layouts,
)
def test_one_value_that_is_no_number_is_refused(judge, bad, row, column, kind, layout):
    profiles = SCREEN.astype(kind)
    profiles[row, column] = bad
    with folder() as path:
        store = write_store(path / "in.zarr", profiles, plate_obs(24), layout)
        assert judge.correct(store, None, *KEY) is None
    assert f"(Cells_{column})" in judge.last.reason


@pytest.mark.family("values beside a basis")
@tries(4)
@given(case=values(), features=values(), operator=operators)
def test_any_values_of_an_embedding_and_of_features_beside_it(judge, case, features, operator):
    n_rows = min(len(case.profiles), len(features.profiles))
    profiles, basis = features.profiles[:n_rows], case.profiles[:n_rows]
    obs = plate_obs(n_rows)
    with folder() as path:
        store = write_store(path / "in.zarr", profiles, obs, Layout(), obsm={"B": basis})
        options = (*KEY, f"--operator={operator}", "--basis=B")
        judge.correct(store, truth_of(profiles, obs), *options)


@st.composite
def whole_numbers(draw):
    """Profiles of mean zero whose distances are exact, with many duplicates and ties."""
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    half = rng.integers(-9, 10, size=(draw(st.integers(1, 24)), draw(st.integers(1, 4))))
    kind = np.dtype(draw(st.sampled_from(["i1", "i8", "f2", "f4", "f8"])))
    # Odd, so that no chunk is all zeros, which Zarr would leave out and we would miss.
    half = 2 * half + 1
    profiles = np.concatenate([half, -half]).astype(kind)
    assume(not (profiles == profiles[:1]).all())
    return profiles, rng.integers(draw(st.integers(1, 6)), size=len(profiles))


@pytest.mark.family("small inputs against the reference")
@tries(6)
@given(
    case=whole_numbers(), layout=layouts, seed=st.integers(0, 9), k=st.integers(1, 6),
    patience=st.integers(1, 9),
)  # fmt: skip
def test_small_inputs_equal_the_dense_reference(judge, case, layout, seed, k, patience):
    profiles, batch = case
    obs = plate_obs(len(profiles)).assign(p=batch)
    options = ["--n-components=0", "--block-rows=1", f"--seed={seed}", f"--n-neighbors={k}"]
    options += ["--max-scale-ratio=none"]
    with folder() as path:
        store = write_store(path / "in.zarr", profiles, obs, layout)
        data = judge.correct(
            store, truth_of(profiles, obs), *KEY, *options, f"--patience={patience}"
        )
    wide = profiles.astype(np.float64)
    expected = reference.balans(
        wide, batch, n_neighbors=k, patience=patience, exponentials=exponentials(seed)
    )
    assert sorted(data.uns["balans"]["sampled_rows"]) == sorted(expected.rows)
    covered = expected.coverage > 0
    np.testing.assert_array_equal(data.obs["balans_covered"], covered)
    # Rows of a single batch stay as they are.
    several = len(np.unique(batch)) > 1
    smoothed = reference.smooth(expected, wide, wide, batch) if several else wide
    np.testing.assert_allclose(data.X[covered], smoothed[covered], rtol=0, atol=1e-5)


def exponentials(seed):
    def draw(n_round, n):
        philox = np.random.Philox(key=np.array([seed, n_round], dtype=np.uint64))
        return -np.log1p(-np.random.Generator(philox).random(n))

    return draw


# --------------------------------------------------------------------- odd matrices


def replace_features(root, element):
    del root["X"]
    write_elem(root, "X", element)


def shorter_obs(root):
    write_elem(root, "obs", plate_obs(len(SCREEN) - 1))


def no_index(root):
    del root["obs/_index"]


def lost_column(root):
    del root["obs/p"]


def features_as_group(root):
    del root["X"]
    root.create_group("X")


ODD_STORES = {
    "text": lambda root: replace_features(root, SCREEN.astype("U9").astype(object)),
    "complex": lambda root: replace_features(root, SCREEN.astype("c8")),
    "bool": lambda root: replace_features(root, SCREEN > 0),
    "dates": lambda root: replace_features(root, SCREEN.astype("M8[s]").astype("i8") > 0),
    "sparse": lambda root: replace_features(root, scipy.sparse.csr_matrix(SCREEN)),
    "table": lambda root: replace_features(root, plate_obs(24)),
    "one dimension": lambda root: replace_features(root, SCREEN[:, 0]),
    "three dimensions": lambda root: replace_features(root, SCREEN[:, :, None]),
    "a scalar": lambda root: replace_features(root, np.float32(3)),
    "no rows": lambda root: replace_features(root, SCREEN[:0]),
    "fewer features": lambda root: replace_features(root, SCREEN[:, :2]),
    "group": features_as_group,
    "short obs": shorter_obs,
    "no index": no_index,
    "lost column": lost_column,
    "obs as array": lambda root: write_elem(root, "obs", SCREEN),
    "obs as dict": lambda root: write_elem(root, "obs", {"p": np.arange(24)}),
    "var as array": lambda root: write_elem(root, "var", SCREEN),
    "no X": lambda root: root.__delitem__("X"),
    "no obs": lambda root: root.__delitem__("obs"),
    "no var": lambda root: root.__delitem__("var"),
}


@pytest.mark.family("odd stores")
@pytest.mark.parametrize("odd", ODD_STORES)
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_store_of_other_things_than_profiles_is_refused(
    judge, intact, tmp_path, odd, zarr_format
):
    store = str(shutil.copytree(intact[zarr_format, False], tmp_path / "in.zarr"))
    ODD_STORES[odd](zarr.open_group(store, mode="r+", use_consolidated=False))
    assert judge.correct(store, None, *KEY) is None
    assert judge.show("check", store, "--batch-key=p").refused


@pytest.mark.family("odd stores")
@pytest.mark.parametrize("n_rows", [0, 1])
def test_too_few_rows_are_refused(judge, tmp_path, n_rows):
    store = write_store(tmp_path / "in.zarr", SCREEN[:n_rows], plate_obs(n_rows), Layout())
    assert judge.correct(store, None, *KEY) is None


@pytest.mark.family("odd stores")
@tries(4)
@given(
    features=st.lists(hostile_text, min_size=3, max_size=3),
    rows=st.lists(hostile_text, min_size=24, max_size=24),
    repeated=st.booleans(),
)
def test_any_names_of_rows_and_features(judge, features, rows, repeated):
    """Names may repeat and hold anything but a NUL: they are carried, never read as another."""
    rows = rows[:3] * 8 if repeated else rows
    features = features[:1] * 3 if repeated else features
    obs = plate_obs(24).set_axis(pd.Index(rows, dtype=object))
    var = pd.DataFrame(index=pd.Index(features, dtype=object))
    with folder() as path:
        store = write_store(path / "in.zarr", SCREEN, obs, Layout(), var=var)
        has_nul = any("\0" in name for name in rows)
        assert (judge.correct(store, Truth(SCREEN, obs, features), *KEY) is None) == has_nul
        assert judge.show("inspect", store).refused == has_nul


@pytest.mark.family("odd stores")
def test_a_corrected_store_can_be_corrected_again(judge, tmp_path):
    obs = plate_obs(24).assign(balans_covered="mine", balans_displacement=np.nan)
    store = write_store(tmp_path / "in.zarr", SCREEN, obs, Layout())
    assert judge.correct(store, truth_of(SCREEN, obs), *KEY) is not None


# -------------------------------------------------------------------------- damage


class Hidden(dict):
    """Too long to be shown beside a failing example."""

    def __repr__(self) -> str:
        return "..."


@pytest.fixture(scope="module")
def intact(tmp_path_factory) -> dict[tuple[int, bool], str]:
    """Whole stores of both formats, with and without consolidated metadata."""
    place = tmp_path_factory.mktemp("intact")
    obs = plate_obs(24).assign(text=[f"t{i}" for i in range(24)], number=np.arange(24) % 3)
    intact = Hidden()
    for zarr_format, consolidated in itertools.product((2, 3), (True, False)):
        path = place / f"{zarr_format}{consolidated}.zarr"
        layout = Layout(zarr_format, consolidated=consolidated)
        intact[zarr_format, consolidated] = write_store(path, SCREEN, obs, layout)
    return intact


@pytest.fixture(scope="module")
def corrected(intact, tmp_path_factory) -> dict[str, np.ndarray]:
    """What the intact stores become, by batch key."""
    from balans_dask.cli.app import run

    place = tmp_path_factory.mktemp("corrected")
    result = Hidden()
    for key in ("p", "text", "number"):
        target = str(place / f"{key}.zarr")
        assert run(["correct", intact[3, True], target, f"--batch-key={key}", *SMOOTH]) == 0
        result[key] = anndata.read_zarr(target).X
    return result


stores = st.tuples(st.sampled_from([2, 3]), st.booleans())
keys = st.sampled_from(["p", "text", "number"])


@pytest.mark.family("damaged chunks")
@pytest.mark.parametrize("damage", CHUNK_DAMAGE)
@tries(6)
@given(which=stores, key=keys, number=st.integers(0, 999), seed=st.integers(0, 999))
def test_a_damaged_chunk_never_becomes_a_result(
    judge, intact, corrected, damage, which, key, number, seed
):
    """A lost chunk may be an empty one, so it may be warned about instead of refused.

    Of numbers in ``obs`` it often is: Zarr does not write a chunk of zeros, such as the codes of a
    single plate.
    """
    with folder() as path:
        store = Path(shutil.copytree(intact[which], path / "in.zarr"))
        chunks = chunk_files(store)
        file = chunks[number % len(chunks)]
        assume(damage != "deleted" or not {"codes", "number"} & set(file.parts))
        CHUNK_DAMAGE[damage](file, random.Random(seed))
        data = judge.correct(str(store), None, f"--batch-key={key}", *SMOOTH)
    if data is not None and not (damage == "deleted" and judge.last.warnings):
        assert_unharmed(data, corrected[key], file.relative_to(store))


@pytest.mark.family("damaged metadata")
@pytest.mark.parametrize("damage", METADATA_DAMAGE)
@tries(4)
@given(which=stores, key=keys, number=st.integers(0, 999), seed=st.integers(0, 999))
def test_damaged_metadata_never_becomes_a_wrong_result(
    judge, intact, corrected, damage, which, key, number, seed
):
    with folder() as path:
        store = Path(shutil.copytree(intact[which], path / "in.zarr"))
        documents = metadata_files(store)
        file = documents[number % len(documents)]
        METADATA_DAMAGE[damage](file, random.Random(seed))
        data = judge.correct(str(store), None, f"--batch-key={key}", *SMOOTH)
    if data is not None:
        assert_unharmed(data, corrected[key], file.relative_to(store))


def assert_unharmed(data: anndata.AnnData, expected: np.ndarray, file: Path) -> None:
    """The damage hit something that a correction does not need."""
    assert data.X.shape == expected.shape, f"damaged {file} changed the shape"
    assert (expected == data.X).all(), f"damaged {file} changed the result"
    assert list(data.obs_names) == list(names(24, "well")), f"damaged {file} changed the rows"
    assert list(data.var_names) == list(names(3, "Cells_")), f"damaged {file} changed the features"
    columns = [list(data.obs[name]) for name in ("p", "text", "number")]
    intended = [plates(24), [f"t{i}" for i in range(24)], [i % 3 for i in range(24)]]
    assert columns == intended, f"damaged {file} changed the labels"


# -------------------------------------------------------------------------- labels


@pytest.mark.family("labels")
@tries(12)
@given(labels=label_columns(), layout=layouts, command=st.sampled_from(["correct", "check"]))
def test_any_labels_make_their_batches(judge, labels, layout, command):
    # Zarr writes no chunk of empty text, and nobody can tell it from a lost one.
    assume(not labels.isin([""]).all())
    obs = pd.DataFrame({"p": labels})
    wrong = labels.isna().any() or any("\0" in str(label) for label in labels)
    with folder() as path:
        store = write_store(path / "in.zarr", SCREEN, obs, layout)
        if command == "check":
            assert judge.show("check", store, "--batch-key=p").refused == wrong
            return
        data = judge.correct(store, truth_of(SCREEN, obs), *KEY[:2])
    assert (data is None) == wrong
    if data is not None:
        batches = dict(
            zip(data.uns["balans"]["batches"], data.uns["balans"]["batch_sizes"], strict=True)
        )
        assert batches == Counter(map(spelled, np.asarray(labels)))


@pytest.mark.family("labels")
@tries(6)
@given(name=hostile_text, other=hostile_text)
def test_any_name_of_a_label_column(judge, name, other):
    assume(name != other)
    obs = plate_obs(24).rename(columns={"p": name}).assign(**{other: np.arange(24) % 2})
    with folder() as path:
        try:
            store = write_store(path / "in.zarr", SCREEN, obs, Layout())
        except Exception:  # noqa: BLE001  (AnnData cannot write every name)
            assume(False)
        keys = [f"--batch-key={name}", f"--batch-key={other}"]
        if not name or not other:
            # AnnData then writes the column in the place of the table.
            assert judge.correct(store, None, *keys) is None
            return
        assert judge.correct(store, truth_of(SCREEN, obs), *keys, SMOOTH[0]) is not None
        assert judge.show("check", store, *keys).code == 0
        assert judge.show("check", store, f"--batch-key={name}-").refused


@pytest.mark.family("labels")
@pytest.mark.parametrize("n_rows", [5_000, pytest.param(10_000, marks=pytest.mark.long)])
def test_five_thousand_batches(judge, tmp_path, n_rows):
    profiles = gaussian_screen(n_rows, n_features=2).profiles
    obs = plate_obs(n_rows).assign(p=np.arange(n_rows) % 5_000)
    store = write_store(tmp_path / "in.zarr", profiles, obs, Layout(chunks=(999, 2)))
    data = judge.correct(store, truth_of(profiles, obs), *KEY, "--max-rows=64")
    assert len(data.uns["balans"]["batches"]) == 5_000


@pytest.mark.family("labels")
@pytest.mark.parametrize("text", ["[red]x[/red]", "[/]", "<b>&amp;</b>", ":smile:", "\\[x]"])
def test_markup_in_labels_is_shown_as_it_is(judge, tmp_path, text):
    obs, var = plate_obs(24).assign(p=text), pd.DataFrame(index=[text, "b", "c"])
    store = write_store(tmp_path / "in.zarr", SCREEN, obs, Layout(), var=var)
    assert text in judge.show("check", store, "--batch-key=p").out
    assert text in judge.show("inspect", store).out
    assert text in judge.show("check", store, f"--batch-key=no {text}").reason


# -------------------------------------------------------------------------- tables


@pytest.mark.family("tables")
@tries(10)
@given(table=tables(), damage=csv_damages, packed=st.booleans())
def test_any_csv(judge, table, damage, packed):
    content = csv_bytes(table, damage)
    with folder() as path:
        source = path / ("t.csv.gz" if packed else "t.csv")
        source.write_bytes(gzip.compress(content) if packed else content)
        converted = judge.convert(source)
        if converted is not None:
            plain = not any(mark in name for name in table.columns for mark in ",;\t")
            if damage in HARMLESS or (damage in OTHER_SEPARATORS and plain):
                assert_holds_table(converted[0], table)
            correct_converted(judge, *converted)


@pytest.mark.family("tables")
@tries(6)
@given(table=tables(), cut=st.floats(0, 1), kind=st.sampled_from(["csv.gz", "parquet"]))
def test_a_table_cut_short_is_refused(judge, table, cut, kind):
    frame = pd.DataFrame(table.columns)
    with folder() as path:
        source = path / f"t.{kind}"
        if kind == "parquet":
            frame.to_parquet(source)
        else:
            source.write_bytes(gzip.compress(csv_bytes(table, "none")))
        whole = source.read_bytes()
        source.write_bytes(whole[: int(cut * (len(whole) - 1))])
        assert judge.convert(source) is None


@pytest.mark.family("tables")
@tries(8)
@given(table=arrow_tables())
def test_parquet_of_mixed_types(judge, table):
    with folder() as path:
        converted = convert_parquet(judge, table, path / "t.parquet")
        if converted is not None:
            correct_converted(judge, *converted)


@pytest.mark.family("tables")
@pytest.mark.parametrize("kind", ARROW_COLUMNS)
@pytest.mark.parametrize("name", ["a", "Metadata_a"])
def test_parquet_of_every_type(judge, tmp_path, kind, name):
    columns = {"Cells_a": pa.array([0.5, 1.5, 2.5]), name: ARROW_COLUMNS[kind](3)}
    convert_parquet(judge, pa.table(columns), tmp_path / "t.parquet")


def convert_parquet(judge: Judge, table: pa.Table, path: Path) -> tuple | None:
    """Convert a table of any types; what became a feature holds its numbers."""
    pq.write_table(table, path)
    converted = judge.convert(path)
    if converted is not None:
        assert converted[0].n_obs == table.num_rows
        for name in converted[0].var_names:
            assert_same_numbers(converted[0][:, name].X, table[name])
    return converted


def assert_same_numbers(column: np.ndarray, source: pa.ChunkedArray) -> None:
    numbers = np.array([np.nan if v is None else float(v) for v in source.to_pylist()])
    np.testing.assert_array_equal(np.ravel(column), as_kind(numbers, np.dtype("f4")))


def assert_holds_table(data: anndata.AnnData, table) -> None:
    """Numbers are features and text describes rows, under their own names.

    ``_index`` is the name that AnnData gives the names of rows, which are no feature.
    """
    features = {name: column for name, column in table.features.items() if name != "_index"}
    assert list(data.var_names) == list(features)
    expected = np.array(list(features.values()), dtype=np.float32).T
    np.testing.assert_allclose(data.X, expected, rtol=1e-6)
    for name, column in table.labels.items():
        stored = name.replace("/", "_")
        assert data.obs[stored].astype(str).tolist() == column, f"column {name!r}"


def correct_converted(judge: Judge, data: anndata.AnnData, place: str) -> None:
    """What was converted can be corrected, or is refused."""
    if len(data.obs.columns):
        truth = Truth(data.X, data.obs, list(data.var_names))
        judge.correct(place, truth, f"--batch-key={data.obs.columns[0]}", SMOOTH[0])


@pytest.mark.family("tables")
@pytest.mark.parametrize("name", ["a", "Metadata_a"])
def test_repeated_headers_are_refused(judge, tmp_path, name):
    (tmp_path / "t.csv").write_text(f"{name},{name},b\n1,2,3\n4,5,6\n")
    assert judge.convert(tmp_path / "t.csv") is None
    column = pa.array([1.0, 2.0])
    table = pa.Table.from_arrays([column] * 3, [name, name, "b"])
    pq.write_table(table, tmp_path / "t.parquet")
    assert judge.convert(tmp_path / "t.parquet") is None


# ------------------------------------------------------------------------- options


@pytest.fixture(scope="module")
def with_basis(tmp_path_factory) -> str:
    place = tmp_path_factory.mktemp("options") / "in.zarr"
    return write_store(place, SCREEN, plate_obs(24), Layout(), obsm={"B": SCREEN[:, :2]})


@pytest.mark.family("options")
@tries(9)
@given(options=valid_options())
def test_any_valid_options_are_taken(judge, with_basis, options):
    truth = truth_of(SCREEN, plate_obs(24))
    assert judge.correct(with_basis, truth, *KEY, *options) is not None


@pytest.mark.family("options")
@tries(60)
@given(options=invalid_options())
def test_any_invalid_option_is_refused(judge, with_basis, options):
    assert judge.correct(with_basis, None, "--batch-key=p", *options) is None


@pytest.mark.family("options")
@tries(20)
@given(
    command=st.sampled_from(["correct", "check", "convert", "inspect", "frobnicate", ""]),
    arguments=st.lists(st.one_of(hostile_text, st.just("--batch-key")), max_size=4),
)
def test_any_arguments_are_refused(judge, command, arguments):
    safe = [text for text in arguments if not text.startswith(("-h", "--h"))]
    assert judge.show(command, *safe).refused


@pytest.mark.family("options")
@tries(4)
@given(name=hostile_text)
def test_any_path(judge, with_basis, name):
    """Paths hold what labels hold, and reach the terminal as well."""
    assume("/" not in name and "\x00" not in name and 0 < len(name.encode()) < 200)
    assume(name not in (".", ".."))
    with folder() as path:
        store = shutil.copytree(with_basis, path / name)
        assert judge.show("inspect", "--", store).code == 0
        assert judge.show("check", "--batch-key=p", "--", store).code == 0
        assert judge.show("correct", "--batch-key=p", "--", store, store).refused
