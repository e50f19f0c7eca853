"""``balans evaluate`` from the command line: what it refuses, prints and writes."""

import csv
import json
import sys
from types import ModuleType

import numpy as np
import pytest

from balans_dask.evaluate import table
from balans_dask.evaluate.scoring import totals
from balans_dask.evaluate.table import BLOCKS, SPREAD, cautions
from tests.support.commands import run, streams
from tests.support.screens import gaussian_screen
from tests.support.stores import write_anndata

GIVEN = ["--batch-key", "plate", "--label-key", "drug"]
QUALITY = {"raw": 0.5, "smooth": 0.7, "null: shuffled labels": 0.2, "null: over-smoothed": 0.6}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("command")
    profiles, batch, label = gaussian_screen(600, 6)
    drug = label.astype(str).astype(object)
    drug[:40] = None
    columns = {
        "plate": batch,
        "drug": drug,
        "lone": np.arange(600).astype(str),
        "site": ["one"] * 600,
        "empty": np.full(600, np.nan),
    }
    write_anndata(place / "in.zarr", profiles, **columns)
    options = ["--batch-key", "plate", "--operator", "smooth", "--quiet"]
    run("correct", place / "in.zarr", place / "smooth.zarr", *options)
    return place


@pytest.fixture
def scored(monkeypatch):
    """Scores that need no library, by the name of the row, and what they were asked of."""
    asked = []
    for name in ("scib_metrics", "copairs", "copairs.map"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setattr(table, "version", lambda name: "9.9")

    def scores(rows, embedding, before):
        quality = [*QUALITY.values(), 0.4, 0.3][len(asked)]
        asked.append((rows, embedding, before))
        names = {score for block in BLOCKS.values() for score in block} | set(SPREAD.values())
        found = dict.fromkeys(names, quality) | {"kbet": float("nan")}
        return found | vars(totals(found))

    monkeypatch.setattr(table, "all_scores", scores)
    # Raw, the corrections, and then both null models are scored.
    return asked


def evaluate(*arguments, code=0):
    return streams("evaluate", *arguments, code=code)


def test_the_table_ranks_raw_corrections_and_null_models(folder, scored, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    said, _ = evaluate(folder / "smooth.zarr", *GIVEN)
    for block in BLOCKS:
        lines = said[said.index(f" {block} ") :].splitlines()
        assert [line[: len(" null: shuffled labels")].strip() for line in lines[1:5]] == [
            "smooth",
            "null: over-smoothed",
            "raw",
            "null: shuffled labels",
        ]
    assert max(map(len, said.splitlines())) <= 100
    assert "560 of 600 rows, 40 without a label left out" in said
    assert "kBET: share of rows" in said
    assert "'-': no label has 10 rows in two batches" in " ".join(said.split())


@pytest.mark.parametrize("control", [False, True])
def test_a_terminal_of_80_columns_has_room_for_names_and_breaks_no_figure(
    folder, scored, monkeypatch, control
):
    monkeypatch.setenv("COLUMNS", "80")
    named = ["--control", "drug == '1'"] if control else []
    long_name = "their embedding with a name that no terminal has room for"
    np.save(folder / "theirs.npy", np.ones((600, 2)))
    files = [f"{long_name}={folder / 'theirs.npy'}"]
    said, _ = evaluate(folder / "smooth.zarr", *files, *GIVEN, *named)
    assert max(map(len, said.splitlines())) <= 80
    # Only where controls are named their scores take room.
    assert ("control mAP: " in said) == control
    for block, names in BLOCKS.items():
        lines = said[said.index(f" {block} ") :].split("\n\n")[0].splitlines()
        n_scores = len(names) - 2 * (block == "retrieval" and not control)
        (oversmoothed,) = [line for line in lines if line.startswith(" null: over-smoothed ")]
        # A standard deviation stands behind its score.
        cells = oversmoothed.replace(" (", "(").split()[2:]
        assert len(cells) == n_scores
        assert " ".join(line[:20].strip() for line in lines).count("their embedding") == 1


def test_what_others_made_stands_beside_ours(folder, scored, tmp_path):
    """Of three components, made of no raw that is known; sphering by scikit-learn."""
    theirs = np.random.default_rng(0).normal(size=(600, 3)) + 7
    np.save(tmp_path / "theirs.npy", theirs)
    source, corrected = folder / "in.zarr", folder / "smooth.zarr"
    given = [source, f"theirs={tmp_path / 'theirs.npy'}", corrected, *GIVEN]
    sphering = ["--peers", "sphering", "--control", "drug == '1'"]
    _, err = evaluate(*given, *sphering, "--json", tmp_path / "t.json")
    record = json.loads((tmp_path / "t.json").read_text())
    rows = {row["name"]: row for row in record["rows"]}
    assert {"raw", "smooth", "theirs", "sphering"} <= rows.keys()
    (_, raw, _), (_, smooth, _), (_, found, before), (_, sphered, _), *_ = scored
    assert before is raw
    kept = np.setdiff1d(np.arange(600), np.arange(40))
    np.testing.assert_allclose(found, (theirs - theirs.mean(axis=0))[kept])
    assert sphered.shape == raw.shape == smooth.shape
    assert rows["theirs"]["variance_kept"] is rows["sphering"]["variance_kept"] is None
    assert rows["theirs"]["pcr"] is not None
    assert "an embedding is not in their unit" in record["definitions"]["variance_kept"]
    assert record["facts"]["versions"].keys() == {"scib-metrics", "copairs", "scikit-learn"}
    told = [line.split("  ")[-1] for line in err.splitlines()]
    assert "correcting by sphering" in told
    assert [f"scoring {name}" for name in ("raw", "smooth", "theirs")] == told[3:6]


def test_quiet_says_nothing_but_the_result(folder, scored):
    _, err = evaluate(folder / "smooth.zarr", *GIVEN, "--quiet")
    assert err == ""


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ({"total": 0.7, "biology": 0.5, "map": 0.19}, []),
        (
            {"total": 0.6, "biology": 0.5, "map": 0.19},
            ["mine scores no better than over-smoothing: do not use it"],
        ),
        (
            {"total": 0.7, "biology": 0.4, "map": 0.19},
            ["mine keeps no more biology than over-smoothing: do not use it"],
        ),
        (
            {"total": 0.7, "biology": 0.5, "map": 0.15},
            ["mine keeps 75% of raw's mAP: replicates were lost"],
        ),
    ],
)
def test_a_total_that_misleads_is_said(scores, said):
    raw = {"name": "raw", "total": 0.5, "biology": 0.5, "map": 0.2}
    null = {"name": "null: over-smoothed", "total": 0.6, "biology": 0.4, "map": 0.02}
    assert cautions([{"name": "mine", **scores}, null, raw]) == said


def test_batches_are_those_of_the_correction_unless_others_are_named(folder, scored, tmp_path):
    label = ["--label-key", "drug"]
    said, _ = evaluate(folder / "smooth.zarr", *label, "--json", tmp_path / "a.json")
    assert "batch plate, label drug" in " ".join(said.split())
    asked = [rows.batch for rows, *_ in scored]
    scored.clear()
    evaluate(folder / "in.zarr", folder / "smooth.zarr", *GIVEN, "--json", tmp_path / "b.json")
    assert all((one == rows.batch).all() for one, (rows, *_) in zip(asked, scored, strict=True))
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_batches_that_no_store_or_two_stores_name_are_asked_for(folder, scored, tmp_path):
    _, err = evaluate(folder / "in.zarr", "--label-key", "drug", code=2)
    assert err.count("\n") == 1
    assert "in.zarr says nothing of a correction, and so of batches: give --batch-key" in err
    joint = ["--batch-key", "plate", "--batch-key", "site", "--quiet"]
    run("correct", folder / "in.zarr", tmp_path / "joint.zarr", *joint)
    both = [folder / "smooth.zarr", tmp_path / "joint.zarr", "--label-key", "drug"]
    _, err = evaluate(*both, code=2)
    assert err.count("\n") == 1
    assert "smooth.zarr by plate and" in err
    assert "joint.zarr by plate+site): say by --batch-key which are scored" in err
    assert scored == []
    evaluate(*both, "--batch-key", "plate")


def test_null_models_are_made_of_raw(folder, scored):
    evaluate(folder / "smooth.zarr", *GIVEN)
    (rows, raw, _), _, (shuffled, same, _), (_, oversmoothed, before) = scored
    assert same is before is raw
    assert sorted(shuffled.label) == sorted(rows.label)
    assert (shuffled.label != rows.label).any()
    assert oversmoothed.var() < 0.5 * raw.var()


def test_files_hold_what_the_terminal_shows(folder, scored, tmp_path):
    files = ["--json", tmp_path / "t.json", "--csv", tmp_path / "t.csv"]
    evaluate(folder / "smooth.zarr", *GIVEN, *files, "--max-rows", 100, "--seed", 3)
    record = json.loads((tmp_path / "t.json").read_text())
    assert record["rows"][0]["name"] == "smooth"
    assert record["rows"][0]["kbet"] is None
    assert record["facts"]["n_sampled"] == 100
    assert (record["facts"]["n_rows"], record["facts"]["seed"]) == (600, 3)
    assert set(record["definitions"]) <= set(record["rows"][0])
    with (tmp_path / "t.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [line["name"] for line in lines] == [row["name"] for row in record["rows"]]
    assert (lines[0]["kbet"], float(lines[0]["ilisi"])) == ("", 0.7)


def test_a_file_that_is_there_is_replaced_only_on_request(folder, scored, tmp_path):
    old = tmp_path / "t.json"
    old.write_text("mine")
    _, err = evaluate(folder / "smooth.zarr", *GIVEN, "--json", old, code=2)
    assert "t.json exists: choose another file, or add --overwrite" in err
    assert (old.read_text(), scored) == ("mine", [])
    evaluate(folder / "smooth.zarr", *GIVEN, "--json", old, "--overwrite")
    assert "facts" in json.loads(old.read_text())


def test_markdown_holds_every_score_and_its_meaning(folder, scored):
    found = table.evaluate_stores([str(folder / "smooth.zarr")], ["plate"], "drug")
    text = found.markdown()
    assert "| smooth | 0.700 | 0.700 | 0.700 | - |" in text
    assert "- iLISI: inverse Simpson index" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--label-key", "nothing"], "no column 'nothing' in obs"),
        (["--label-key", "lone"], "lone differs in all 600 rows to score"),
        (["--label-key", "site"], "site has 1 values in 600 rows to score"),
        (["--label-key", "drug", "--control", "drug ~ 3"], "query 'drug ~ 3' cannot be"),
        (["--label-key", "plate"], "plate is the batch and the label"),
        (["--label-key", "drug", "--control", "site == 'two'"], "did you mean 'one'"),
        (["--label-key", "empty"], "'empty' is missing in all 600 rows"),
        (["--label-key", "drug", "--control", "site == 'one'"], "0 rows are there to score"),
        (["--label-key", "drug", "--compound-key", "smiles"], "no column 'smiles' in obs"),
        (["--label-key", "drug", "--csv", "/nowhere/t.csv"], "the folder of /nowhere/t.csv"),
        (["--label-key", "drug", "--max-rows", 3], "3 is not in the range x>=10"),
        (["--label-key", "drug", "--obsm", "X_umap"], "has no 'X_umap' in obsm"),
        (["--label-key", "drug", "--peers", "mnn"], "'mnn' is none of the other methods"),
        (["--label-key", "drug", "--peers", "sphering"], "name them by --control"),
        (["--label-key", "drug", "smooth=FOLDER/t.npy"], "smooth is the name of something else"),
        (["--label-key", "drug", "raw=FOLDER/t.npy"], "raw is the name of something else"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_in_one_line(folder, arguments, said):
    np.save(folder / "t.npy", np.ones((600, 2)))
    arguments = [str(given).replace("FOLDER", str(folder)) for given in arguments]
    _, err = evaluate(folder / "smooth.zarr", "--batch-key", "plate", *arguments, code=2)
    assert said in err
    assert err.count("\n") == 1


def test_a_missing_library_is_one_line_with_the_remedy(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "scib_metrics", None)
    _, err = evaluate(folder / "smooth.zarr", *GIVEN, code=2)
    assert err.count("\n") == 1
    assert 'pip install "balans-dask[evaluate]"' in err
