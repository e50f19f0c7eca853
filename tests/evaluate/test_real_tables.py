"""The table of real profiles ranks corrections above what destroys them; made by the libraries."""

import os
import subprocess
import sys

import numpy as np
import pytest

from tests.support.commands import run
from tests.support.screens import gaussian_screen
from tests.support.stores import write_anndata

scib = pytest.importorskip("scib_metrics", reason='needs pip install "balans-dask[evaluate]"')
pytest.importorskip("copairs", reason='needs pip install "balans-dask[evaluate]"')

from balans_dask.evaluate.retrieval import control_precision  # noqa: E402
from balans_dask.evaluate.rows import read_embeddings  # noqa: E402
from balans_dask.evaluate.scib import batch_scores  # noqa: E402
from balans_dask.evaluate.stores import open_stores  # noqa: E402
from balans_dask.evaluate.table import evaluate_stores  # noqa: E402

PLATE = ["--batch-key", "Metadata_Plate", "--quiet"]
OPERATORS = {
    "smooth": ["--operator", "smooth"],
    "nystrom": ["--operator", "nystrom"],
    "displace": ["--operator", "displace", "--n-passes", 2],
}


def test_corrections_of_cpjump1_rank_above_both_null_models(real_data, tmp_path):
    run("convert", real_data / "cpjump1_compound_csn.parquet", tmp_path / "in.zarr")
    for name, options in OPERATORS.items():
        run("correct", tmp_path / "in.zarr", tmp_path / f"{name}.zarr", *PLATE, *options)
    paths = [str(tmp_path / f"{name}.zarr") for name in OPERATORS]
    found = evaluate_stores(paths, ["Metadata_Plate"], "Metadata_pert_iname")
    ranks = [row["name"] for row in found.rows]
    assert ranks[0] == "displace"
    assert set(ranks[:3]) == set(OPERATORS)
    by_name = {row["name"]: row for row in found.rows}
    # As measured by benchmarks/quality/real_profiles.py, to which `--strength 0` is raw.
    assert by_name["raw"]["total"] == pytest.approx(0.492, abs=0.002)
    assert by_name["displace"]["total"] == pytest.approx(0.598, abs=0.002)
    assert by_name["displace"]["cross_batch_map"] == pytest.approx(0.149, abs=0.002)


def test_negative_controls_are_ranked_against_and_scored_nowhere_else(tmp_path):
    profiles, batch, label = gaussian_screen(400, 8, n_clusters=5)
    drug = np.where(label == 0, "DMSO", label.astype(str))
    write_anndata(tmp_path / "in.zarr", profiles, plate=batch, drug=drug)
    smooth = ["--batch-key", "plate", "--operator", "smooth", "--quiet"]
    run("correct", tmp_path / "in.zarr", tmp_path / "out.zarr", *smooth)
    paths = [str(tmp_path / "out.zarr")]
    found = evaluate_stores(paths, ["plate"], "drug", control="drug == 'DMSO'", nulls=False)
    raw, corrected = read_embeddings(open_stores(paths, ["plate"]), np.arange(400))
    row = next(row for row in found.rows if row["name"] == "out")
    kept = drug != "DMSO"
    alone = batch_scores(corrected.scores[kept], raw.scores[kept], batch[kept], drug[kept])
    assert {name: row[name] for name in alone} == pytest.approx(alone)
    against = control_precision(corrected.scores, drug, batch, ~kept)["average_precision"]
    assert row["control_map"] == pytest.approx(against.mean())


def test_confounded_labels_leave_cross_batch_scores_undefined_with_the_reason(tmp_path):
    profiles, batch, _ = gaussian_screen(300, 6)
    drug = np.char.add(batch, np.where(np.arange(300) % 2, "a", "b"))
    write_anndata(tmp_path / "in.zarr", profiles, plate=batch, drug=drug)
    found = evaluate_stores([str(tmp_path / "in.zarr")], ["plate"], "drug", nulls=False)
    (raw,) = found.rows
    for name in ("kbet", "cross_batch_map", "cross_batch_map_significant", "label_transfer"):
        assert np.isnan(raw[name])
        assert "'-': no label" in found.definitions[name]


def test_a_command_that_scored_ends_without_a_word():
    """duckdb, which copairs imports, lists what is left of it where garbage is not looked for."""
    code = "import copairs.map; from balans_dask.cluster.signals import end_with; end_with(0)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.skipif("BALANS_PEERS" not in os.environ, reason="BALANS_PEERS names no interpreter")
def test_other_methods_of_cpjump1_score_as_they_were_measured(real_data, tmp_path):
    run("convert", real_data / "cpjump1_compound_csn.parquet", tmp_path / "in.zarr")
    run("correct", tmp_path / "in.zarr", tmp_path / "balans.zarr", *PLATE)
    found = evaluate_stores(
        [str(tmp_path / "balans.zarr")],
        ["Metadata_Plate"],
        "Metadata_pert_iname",
        nulls=False,
        peers=["harmony", "combat"],
        peers_python=os.environ["BALANS_PEERS"],
    )
    by_name = {row["name"]: row for row in found.rows}
    # As measured by benchmarks/quality/align_quality.py, which runs the same program.
    for name, total, precision in (("harmony", 0.584, 0.146), ("combat", 0.598, 0.148)):
        assert by_name[name]["total"] == pytest.approx(total, abs=0.004)
        assert by_name[name]["cross_batch_map"] == pytest.approx(precision, abs=0.002)
        assert 0.8 < by_name[name]["variance_kept"] < 1.0
