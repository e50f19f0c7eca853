"""The measurements of the default: what is drawn, what is measured once, what the tables say."""

import json

import numpy as np
import pytest

from benchmarks.harness.cases import SMALL, Case, Clusters, Compounds, grown
from benchmarks.quality import align_quality
from benchmarks.quality.align_quality import applies, in_one_batch, same_label


def batches_of(case: Case) -> list[int]:
    treated = ~case.control
    names = np.unique(case.label[treated])
    return [len(np.unique(case.batch[treated & (case.label == name)])) for name in names]


def test_clusters_lie_in_the_batches_that_they_are_given():
    assert batches_of(Clusters(2000).make(0)) == [5] * 20
    assert batches_of(Clusters(2000, n_specific=10).make(0)) == [1] * 10 + [5] * 10
    assert batches_of(Clusters(2000, n_homes=2).make(0)) == [2] * 20
    assert batches_of(Compounds().make(0)) == [4] * 150


def test_controls_lie_about_the_origin_of_every_batch():
    case = SMALL["confounded, with controls"].make(1)
    assert case.control.mean() == pytest.approx(0.5, abs=0.05)
    assert len(np.unique(case.batch[case.control])) == 8
    assert batches_of(case) == [1] * 20
    assert len(np.unique(case.label[case.control])) == 1


def test_effects_and_rows_are_what_is_asked_for():
    one = Clusters(4000, spread=0.0, offset=2.0, stretch=0.0).make(0)
    centres = np.stack([one.rows[one.batch == name].mean(axis=0) for name in np.unique(one.batch)])
    assert centres.std() == pytest.approx(2.0, rel=0.15)
    np.testing.assert_allclose(one.rows.mean(axis=0), 0.0, atol=1e-9)
    still, moved = (Clusters(stretch=0.0, offset=0.0, local=local).make(0) for local in (0.0, 0.6))
    assert moved.rows.var() > 1.2 * still.rows.var()
    assert [len(one.make(0).rows) for one in grown(3000).values()] == [3000] * 5
    assert not np.array_equal(SMALL["separated"].make(0).rows, SMALL["separated"].make(1).rows)


def test_a_method_is_asked_only_what_is_true():
    everywhere, some = Clusters(2000).make(0), Clusters(2000, n_specific=2).make(0)
    assert applies(everywhere, align_quality.SHARED, [])
    assert not applies(some, align_quality.SHARED, [])
    assert not applies(everywhere, "sphering", ["sphering"])
    assert applies(SMALL["confounded, with controls"].make(0), "displace, anchors", [])
    assert [applies(some, "harmonypy", there) for there in ([], ["harmonypy"])] == [False, True]


def test_the_share_is_that_of_the_labels_of_one_batch():
    label = np.repeat(["a", "b"], 40)
    batch = np.where(np.arange(80) % 2, "p", "q")
    batch[label == "a"] = "p"
    alone = in_one_batch(label, batch)
    np.testing.assert_array_equal(alone, label == "a")
    line = np.where(label == "a", 0.0, 100.0)[:, None] + np.arange(80.0)[:, None] / 1000
    assert same_label(line, label, alone) == 1.0


def test_a_run_goes_on_and_its_tables_say_what_was_measured(tmp_path, monkeypatch, capsys):
    asked = []

    def figures(case, embedding, seed):
        asked.append(seed)
        np.testing.assert_array_equal(embedding, case.rows)
        return {"total": 0.25 + seed / 2, "cross_batch_map": 0.125}

    monkeypatch.setattr(align_quality, "figures", figures)
    path = tmp_path / "found.json"
    for seeds in ("1", "2"):
        monkeypatch.setattr(
            "sys.argv",
            ["", "--json", str(path), "--sets", "compounds", "--methods", "raw", "--seeds", seeds],
        )
        align_quality.main()
    assert asked == [0, 1]
    assert list(json.loads(path.read_text())["runs"]["compounds"]["raw"]) == ["0", "1"]
    assert "| compounds (2) | .500 / .125 |" in path.with_suffix(".md").read_text()
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"processor": "Z80"}))
    with pytest.raises(SystemExit, match="another processor"):
        align_quality.main()
