"""Runs of experiments at the tiny size, on what every machine has."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.harness import experiment, scoring
from benchmarks.harness.experiment import Experiment, Reading
from benchmarks.harness.findings import Findings

MACHINE = {"cpus", "processor", "memory_bytes", "system", "blas"}
LIBRARIES = {"python", "numpy", "zarr", "dask", "balans-dask"}


def tiny(ran: Experiment, folder: Path, *arguments: str) -> tuple[dict[str, Any], str]:
    """Run an experiment at its tiny size; return its JSON record and its Markdown.

    Whatever this machine has besides, the run knows no other methods, no real profiles and no
    scib-metrics, unless ``arguments`` give the first two.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("BALANS_PEERS", raising=False)
        patch.setattr(experiment, "DATA", folder / "no real profiles")
        patch.setattr(scoring, "find_spec", lambda name: None)
        ran.main(["--size", "tiny", "--results", str(folder), *arguments])
    stem = folder / "tiny" / ran.name
    record = json.loads(stem.with_suffix(".json").read_text())
    text = stem.with_suffix(".md").read_text()
    _is_sound(ran, record, text)
    assert stem.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    return record, text


def _is_sound(ran: Experiment, record: dict[str, Any], text: str) -> None:
    assert record["machine"].keys() >= MACHINE
    assert record["versions"].keys() >= LIBRARIES
    assert record["options"] == {"size": "tiny", "sizes": _as_json(ran.sizes["tiny"])}
    assert len(set(record["options"]["sizes"]["seeds"])) == len(ran.sizes["tiny"]["seeds"]) > 0
    assert record["runs"]
    assert record["date"][:2] == "20"
    title = Reading.of(ran.name).title
    assert record["title"] == title
    for part in (f"# {title}\n", "| --- |", "Machine: "):
        assert part in text


def _as_json(sizes: Any) -> Any:
    return json.loads(json.dumps(dict(sizes)))


def made_up(runs: list[dict[str, Any]]) -> Findings:
    """Findings of runs that were made up."""
    found = Findings.__new__(Findings)
    found.record = {"runs": runs}
    return found
