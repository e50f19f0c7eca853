"""A model whose checksum is right and whose numbers are not is refused before it corrects."""

import warnings

import numpy as np
import pytest
import zarr

from balans_dask import Balans
from balans_dask.errors import InvalidInputError
from balans_dask.io.model_store import model_fingerprint, read_model, write_model
from balans_dask.model.saved import load_model
from tests.support.commands import run
from tests.support.screens import gaussian_screen
from tests.support.stores import write_anndata

SCREEN = gaussian_screen(300)
ALIGN_TARGETS = (
    "own_batch", "batch_units", "shares", "own_shares", "places", "scale_places", "common",
    "centre", "mean_logs",
)  # fmt: skip
LANDMARKS = ("block_sizes", "rows", "scores", "scales", "thresholds", "limits", "capped", "curve")
OF_OPERATOR = {
    "displace": ["used", "mean", "weights", "constant"]
    + [f"pass_1/{name}" for name in (*LANDMARKS, "moves", "targets")],
    "nystrom": ["pass_0/spread", "pass_0/sums"],
    "smooth": ["pass_0/sums"],
    "align": ["pass_0/factor", "pass_0/shift"]
    + [f"pass_1/{name}" for name in ALIGN_TARGETS]
    + ["pass_2/moves", "pass_2/offsets"],
}
FINITE = {"scores", "scales", "limits", "mean", "weights", "moves", "targets", "spread", "sums"}
FINITE |= {"factor", "shift", "offsets", *ALIGN_TARGETS} - {"own_batch"}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Attributes and arrays of a model of every operator."""
    folder, found = tmp_path_factory.mktemp("models"), {}
    for operator in OF_OPERATOR:
        model = Balans(operator=operator, n_components=4, n_passes=2, block_rows=32)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(SCREEN.profiles, batch=SCREEN.batch)
        model.save(folder / f"{operator}.zarr")
        found[operator] = read_model(str(folder / f"{operator}.zarr"))
    return found


def load(attributes, arrays, monkeypatch):
    """Load a model of these parts, as if a store with their checksum held them."""
    monkeypatch.setattr("balans_dask.model.saved.read_model", lambda path: (attributes, arrays))
    return load_model("model.zarr")


def put(values, place, value):
    changed = values.copy()
    changed[place] = value
    return changed


def twice(values):
    return put(values, 1, values[0])


EVERY = {
    "missing": lambda values: None,
    "shorter": lambda values: values[:-1],
    "an axis more": lambda values: values[None],
    "none": lambda values: values[:0],
    "of another type": lambda values: values.astype("f2" if values.dtype.kind == "f" else "f8"),
    "of objects": lambda values: values.astype(object),
}
FLOATS = {
    "NaN": lambda values: put(values, (0,) * values.ndim, np.nan),
    "minus infinity": lambda values: put(values, (-1,) * values.ndim, -np.inf),
}
VALUES = {
    "block_sizes": [
        lambda sizes: put(sizes, 0, 0),
        lambda sizes: put(sizes, 0, -1),
        lambda sizes: put(sizes, 0, 2**40),
        lambda sizes: np.array([sizes.sum()]),
        lambda sizes: np.roll(sizes, 1),
    ],
    "rows": [
        lambda rows: put(rows, 0, -1),
        lambda rows: put(rows, 0, 300),
        lambda rows: put(rows, 0, 10**6),
        twice,
    ],
    "scales": [
        lambda scales: put(scales, (0, 1), 0.0),
        lambda scales: put(scales, (0, 1), -1.0),
        lambda scales: put(scales, (0, 1), np.inf),
        lambda scales: scales * 1e9,
    ],
    "thresholds": [
        lambda bins: put(bins, 0, 10**12),
        lambda bins: put(bins, 0, 2049),
        lambda bins: put(bins, 0, -1),
    ],
    "limits": [lambda limits: put(limits, 0, 0.0)],
    "curve": [
        lambda curve: curve + 1,
        lambda curve: put(curve, (0, 1), 301),
        lambda curve: put(curve, (0, 1), -1),
        lambda curve: put(curve, (-1, 1), 0),
        lambda curve: put(curve, (0, 0), 1),
        lambda curve: put(curve, (0, 2), 299),
    ],
    "used": [
        lambda used: put(used, 0, -1),
        lambda used: put(used, -1, 10**6),
        lambda used: put(used, -1, 8),
        lambda used: used[::-1],
        twice,
    ],
    "constant": [lambda constant: put(constant, 0, True)],
    "own_batch": [lambda codes: put(codes, 0, -1), lambda codes: put(codes, 0, 3)],
    "batch_units": [lambda units: put(units, 0, 0.0)],
    "shares": [lambda shares: put(shares, 0, 1.5), lambda shares: put(shares, 1, -0.5)],
    "own_shares": [lambda shares: put(shares, 0, 1.5)],
    "common": [lambda variances: put(variances, (0, 0), -1.0)],
}


def damages(table):
    name = table.rpartition("/")[2]
    yield from EVERY.items()
    if name in FINITE:
        yield from FLOATS.items()
    for number, change in enumerate(VALUES.get(name, [])):
        yield f"value {number}", change


CASES = [
    pytest.param(operator, table, change, id=f"{operator}-{table}-{how}")
    for operator, tables in OF_OPERATOR.items()
    for table in tables
    for how, change in damages(table)
]


@pytest.mark.parametrize("operator", OF_OPERATOR)
def test_a_model_as_it_was_written_is_loaded(saved, operator, monkeypatch):
    assert load(*saved[operator], monkeypatch).parameters.operator == operator


@pytest.mark.parametrize(("operator", "table", "change"), CASES)
def test_a_table_of_impossible_shape_type_or_values_is_named(
    saved, operator, table, change, monkeypatch
):
    attributes, arrays = saved[operator]
    changed = change(arrays[table])
    arrays = {name: values for name, values in arrays.items() if name != table}
    if changed is not None:
        arrays[table] = changed
    with pytest.raises(InvalidInputError, match=r"model\.zarr is damaged") as refused:
        load(attributes, arrays, monkeypatch)
    said = str(refused.value)
    assert said.endswith(": restore it")
    assert "\n" not in said
    # A curve or a size that changed may show in the tables that must fit it.
    named = {table.rpartition("/")[2]}
    fitting = {"block_sizes": {"curve", "rows"}, "curve": {"rows"}, "used": {"mean", "constant"}}
    assert any(name in said for name in named | fitting.get(*named, set())), said


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batches", []),
        ("batches", ["plate0", "plate1"]),
        ("batches", ["plate0", "plate1", "plate1"]),
        ("batches", ["plate0", "plate1", 2]),
        ("batches", "abc"),
        ("feature_names", ["one"]),
        ("feature_names", {}),
        ("feature_names", [None] * 8),
        ("n_embedding", 8),
        ("n_embedding", True),
        ("n_embedding", -1),
        ("total_variance", 0.0),
        ("total_variance", float("nan")),
        ("total_variance", "much"),
        ("unit", 0.0),
        ("unit", 3.0),
        ("unit", float("inf")),
        ("passes", []),
        ("passes", [{"stop_reason": "patience", "risk": 0.0}]),
        ("passes", [{"stop_reason": "patience", "risk": float("nan")}] * 2),
        ("passes", [{"stop_reason": "patience", "risk": 2.0}] * 2),
        ("passes", [{"stop_reason": 5, "risk": 0.0}] * 2),
        ("passes", 7),
        ("record", {}),
        ("record", []),
    ],
)
def test_facts_that_contradict_the_tables_are_refused(saved, name, value, monkeypatch):
    attributes, arrays = saved["displace"]
    with pytest.raises(InvalidInputError, match=r"model\.zarr is damaged.*: restore it"):
        load(attributes | {name: value}, arrays, monkeypatch)


@pytest.mark.parametrize(
    ("name", "value"),
    [("block_rows", 1), ("block_rows", 10**9), ("n_components", None), ("n_passes", 3),
     ("operator", "smooth"), ("operator", "none"), ("seed", -1), ("surprise", 1)],
)  # fmt: skip
def test_parameters_of_another_fit_are_refused(saved, name, value, monkeypatch):
    attributes, arrays = saved["displace"]
    changed = attributes["parameters"] | {name: value}
    with pytest.raises(InvalidInputError, match=r"model\.zarr is damaged.*: restore it"):
        load(attributes | {"parameters": changed}, arrays, monkeypatch)


def test_keys_that_are_no_names_are_refused(saved, monkeypatch):
    attributes, arrays = saved["displace"]
    record = attributes["record"] | {"batch_key": [["plate"]]}
    with pytest.raises(InvalidInputError, match="batch_key of the record is of another type"):
        load(attributes | {"record": record}, arrays, monkeypatch)


@pytest.mark.parametrize("facts", [{"record": []}, {"record": None}, {"record": "x"}, {}])
def test_a_model_whose_record_is_none_has_no_fingerprint(tmp_path, facts):
    write_model(str(tmp_path / "model.zarr"), facts, {}, overwrite=False)
    assert model_fingerprint(str(tmp_path / "model.zarr")) is None


@pytest.mark.parametrize(
    ("table", "value", "rule"),
    [
        ("pass_0/thresholds", 10**12, "from 0 to 2048"),
        ("pass_0/rows", 10**6, "different rows below 300"),
        ("pass_0/scales", np.nan, "above 0, finite and within the limits"),
    ],
)
def test_a_transform_by_such_a_model_ends_in_one_line(saved, table, value, rule, tmp_path):
    attributes, arrays = saved["displace"]
    values = arrays[table]
    changed = arrays | {table: put(values, (0,) * values.ndim, value)}
    write_model(str(tmp_path / "model.zarr"), attributes, changed, overwrite=False)
    store = write_anndata(tmp_path / "in.zarr", SCREEN.profiles, plate=SCREEN.batch)
    names = [tmp_path / "model.zarr", store, tmp_path / "out.zarr"]
    err = run("transform", *names, "--batch-key", "plate", code=2)
    said = f"1 of {values.size} values of {table[7:]} are not {rule} in pass_0): restore it\n"
    assert err.endswith(said)
    assert not (tmp_path / "out.zarr").exists()


def test_the_checksum_holds_shapes_and_types(tmp_path):
    """The very bytes, cut or read in another way, are another model."""
    values = np.arange(6, dtype=np.int64)
    ways = [values, values.reshape(2, 3), values.reshape(3, 2), values.view(np.float64)]
    sums = set()
    for number, array in enumerate(ways):
        write_model(str(tmp_path / f"{number}.zarr"), {}, {"table": array}, overwrite=False)
        sums.add(zarr.open_group(tmp_path / f"{number}.zarr", mode="r").attrs["checksum"])
    assert len(sums) == len(ways)
