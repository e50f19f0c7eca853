"""The table of the pages: every set by every figure, and how it was made."""

from pathlib import Path
from types import SimpleNamespace

from benchmarks.quality import comparison


def test_a_set_has_a_line_for_every_figure_and_a_method_that_did_not_run_a_dash():
    scores = {"cross_batch_map": 0.1449, "batch": 0.4, "total": 0.5}
    named = {name: scores for name in comparison.METHODS if name != "sphering"}
    text = comparison.markdown(
        {
            "processor": "Z80",
            "versions": {"numpy": "9.9"},
            "date": "2026-01-01",
            "commit": "abc",
            "sets": {"wells by plate": {"scores": named}},
        }
    )
    assert (
        "| wells by plate | mAP across batches | 0.145 | 0.145 | 0.145 | 0.145 | 0.145 | - |"
        in text
    )
    assert "|  | mixing | 0.400 |" in text
    assert "|  | total | 0.500 |" in text
    assert "Z80. numpy 9.9. 2026-01-01, commit abc." in text


def test_only_wells_beside_controls_are_sphered_and_all_methods_are_given_one_seed(monkeypatch):
    asked = []

    def evaluate_stores(paths, batch_keys, label_key, **options):
        asked.append((batch_keys, label_key, options))
        row = {"name": "raw", "total": 0.25, "kbet": float("nan")}
        return SimpleNamespace(facts={"versions": {}}, rows=[row])

    monkeypatch.setattr(comparison, "command", lambda *given: None)
    monkeypatch.setattr(comparison, "evaluate_stores", evaluate_stores)
    cpjump, week, _ = comparison.COMPARED.values()
    assert comparison.compared(cpjump, Path(), "python")["scores"] == {"raw": {"total": 0.25}}
    comparison.compared(week, Path(), "python")
    (batch, label, first), (_, _, second) = asked
    assert (batch, label) == (["Metadata_Plate"], "Metadata_pert_iname")
    assert first["peers"] == ["harmony", "combat"]
    assert first["control"] is None
    assert second["peers"] == ["harmony", "combat", "sphering"]
    assert second["control"] == "Metadata_pert_type == 'negcon'"
    assert first["seed"] == second["seed"] == 0
