"""What a store says about its landmarks, against a dense count."""

import json
import shutil
from importlib.util import find_spec
from itertools import groupby

import anndata
import numpy as np
import pytest
import zarr
from anndata.io import write_elem

from balans_dask.io.store import open_store
from balans_dask.model.bounds import record_fault
from balans_dask.workflows.records import correction_record
from tests.support import reference
from tests.support.commands import run, streams
from tests.support.screens import integer_screen
from tests.support.stores import write_anndata

OPTIONS = ["--batch-key", "Metadata_Plate", "--operator", "smooth", "--n-components", 0,
           "--max-scale-ratio", "none"]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("record")
    screen = integer_screen(300, seed=3)
    write_anndata(place / "in.zarr", screen.profiles, Metadata_Plate=screen.batch)
    streams("correct", place / "in.zarr", place / "out.zarr", *OPTIONS, "--block-rows", 16,
            "--patience", 20, "--n-passes", 2)  # fmt: skip
    return place


def test_neighbours_new_rows_and_scales_are_those_of_a_dense_count(folder):
    before = anndata.read_zarr(folder / "in.zarr")
    whole = anndata.read_zarr(folder / "out.zarr").uns["balans"]
    first = whole["earlier_passes"]["pass_1"]
    P, batch = before.X, before.obs["Metadata_Plate"].to_numpy(dtype=str)
    d2 = reference.squared_distances(P)
    floor = 2.0**-40 * float(P.astype(np.float64).var(axis=0).sum())
    number = np.unique(batch, return_inverse=True)[1]
    covered, n_kept, n_new, scales = np.zeros(len(P), bool), [], [], []
    for i in first["sampled_rows"]:
        squared = reference.squared_scales(d2[i], i, batch, 5, floor, np.ones(len(P), bool))
        u = d2[i] / squared[number]
        kept = u < reference.elbow(u)
        n_kept.append(kept.sum())
        n_new.append((kept & ~covered).sum())
        covered |= kept
        scales.append(np.sqrt(squared))
    drawn = number[first["sampled_rows"]]
    np.testing.assert_array_equal(first["n_kept"], n_kept)
    np.testing.assert_array_equal(first["n_new"], n_new)
    np.testing.assert_array_equal(first["drawn_by_batch"], np.bincount(drawn, minlength=3))
    np.testing.assert_array_equal(first["new_by_batch"], np.bincount(drawn, n_new, minlength=3))
    expected = np.quantile(scales, [0, 0.25, 0.5, 0.75, 1], axis=0).T
    np.testing.assert_allclose(first["scale_quantiles"], expected, rtol=1e-12)
    for facts in (whole, first):
        assert facts["n_new"].sum() == facts["coverage_curve"]["n_covered"][-1]


def test_every_stage_and_round_is_noted_beside_the_store(folder):
    lines = (folder / "out.zarr.events.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    record = anndata.read_zarr(folder / "out.zarr").uns["balans"]
    stages = ["preparing scores", "sampling rows", "summing rows", "writing"]
    begun = [key for key, _ in groupby((e["pass"], e["stage"]) for e in events)]
    assert begun == [
        (1, "examining the input"),
        *((number, stage) for number in (1, 2) for stage in stages),
        (1, "finishing"),
        (1, "done"),
    ]
    rounds = [e for e in events if e["n_sampled"] is not None and e["pass"] == 2]
    assert [e["n_sampled"] for e in rounds] == record["coverage_curve"]["n_sampled"].tolist()
    assert [e["done"] for e in events] == [False] * (len(events) - 1) + [True]
    assert (np.diff([e["seconds"] for e in events]) >= 0).all()
    assert min(e["peak_bytes"] for e in events) > 2**20


def test_a_complete_output_keeps_its_events_and_a_replaced_one_gets_new_ones(folder, tmp_path):
    target, events = tmp_path / "out.zarr", tmp_path / "out.zarr.events.jsonl"
    command = ["correct", folder / "in.zarr", target, *OPTIONS]
    streams(*command)
    noted = events.read_text()
    streams(*command, "--resume")
    assert events.read_text() == noted
    streams(*command, code=2)
    assert events.read_text() == noted
    streams(*command, "--overwrite")
    assert events.read_text() != noted
    assert len({json.loads(line)["attempt"] for line in events.read_text().splitlines()}) == 1


WRONG = {
    "n_uncovered": ["x", -1, 0.5, np.arange(2)],
    "n_sampled": [{}, np.arange(3), 10**6],
    "n_kept": [np.zeros(2, dtype="i8"), "x"],
    "batch_sizes": [np.zeros(2, dtype="i8")],
    "scale_quantiles": [np.zeros(7), np.full((3, 5), np.nan)],
    "rho": ["x", np.zeros(2), np.nan, 1.5],
    "kappa": [None, -0.25],
    "stop_reason": [3],
    "fingerprint": [np.arange(2)],
    "input": [4],
    "batches": [np.arange(3), "x", np.array([], dtype=object)],
    "clamped_batches": [0],
    "parameters": [5, {}, {"batch_key": "p", "basis": "X", "anchor": 5}],
    "versions": ["x"],
    "coverage_curve": [{}, 1, {"n_sampled": np.array([]), "n_covered": np.array([])}],
    "preprocessor": [{}, {"used": np.array([10**9])}],
    "earlier_passes": [5, {"pass_x": {}}, {"pass_1": {}}],
}


def test_a_record_of_other_types_or_shapes_than_a_run_leaves_is_refused(folder):
    record = correction_record(open_store(str(folder / "out.zarr")))
    assert record_fault(record, None) == ""
    # Facts that earlier versions did not note may be missing.
    early = {name: record[name] for name in record if name not in ("n_capped", "input", "n_kept")}
    assert record_fault(early, None) == ""
    assert record_fault(record | {"rho": 0.5, "kappa": np.float64(1.0)}, None) == ""
    passed = [
        (name, value)
        for name, values in WRONG.items()
        for value in values
        if record_fault(record | {name: value}, None) == ""
    ]
    assert passed == []
    assert "of used are not" in record_fault(record, 1)


def test_every_command_refuses_a_damaged_record_in_one_line(folder, tmp_path):
    path = shutil.copytree(folder / "out.zarr", tmp_path / "out.zarr")
    root = zarr.open_group(path, use_consolidated=False)
    write_elem(root["uns/balans"], "n_uncovered", "x")
    zarr.consolidate_metadata(root.store)
    keys = ["--batch-key", "Metadata_Plate", "--label-key", "Metadata_Plate"]
    commands = [["inspect", path], ["export", path, tmp_path / "tables"]]
    if find_spec("matplotlib"):
        commands.append(["report", path, "--html", tmp_path / "r.html"])
    if find_spec("sklearn"):
        commands.append(["evaluate", folder / "in.zarr", path, *keys])
    for command in commands:
        said = run(*command, code=2)
        assert "n_uncovered has shape () and type" in said
        assert said.count("\n") == 1
    assert not (tmp_path / "tables").exists()
