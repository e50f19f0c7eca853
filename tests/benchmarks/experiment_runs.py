"""Runs of experiments at the tiny size, on what every machine has."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks.harness import experiment, scoring
from benchmarks.harness.experiment import Experiment

MACHINE = {"cpus", "processor", "memory_bytes", "system", "blas"}
MOST_WORDS = 60
"""Of an answer."""
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
    picture = stem.with_suffix(".svg").read_text()
    assert picture.startswith("<?xml")
    assert "<text" in picture
    return record, text


def _is_sound(ran: Experiment, record: dict[str, Any], text: str) -> None:
    assert record["machine"].keys() >= MACHINE
    assert record["versions"].keys() >= LIBRARIES
    assert record["options"] == {"size": "tiny", "sizes": _as_json(ran.sizes["tiny"])}
    assert len(set(record["options"]["sizes"]["seeds"])) == len(ran.sizes["tiny"]["seeds"]) > 0
    assert record["runs"]
    assert record["date"][:2] == "20"
    assert record["title"] == ran.title
    _is_readable(record["reading"])
    answer, *others = record["reading"]
    for part in (ran.title, f"**{answer}**\n\n", *others, "| --- |", "Machine: "):
        assert part in text


def _is_readable(reading: list[str]) -> None:
    answer, *others = reading
    assert 8 <= len(answer.split()) <= MOST_WORDS
    assert answer.endswith(".")
    assert others
    for part in reading:
        assert not {"nan", "inf"} & set(re.findall(r"\w+", part.lower()))
        # One idea each: what is longer is a list, of items that are short enough.
        assert max(len(item.split()) for item in part.split("\n")) <= 100


def _as_json(sizes: Any) -> Any:
    return json.loads(json.dumps(dict(sizes)))


class MadeUp:
    """Findings of runs that were made up."""

    def __init__(self, runs: list[dict[str, Any]], sizes: dict[str, Any] | None = None) -> None:
        self.runs = runs
        self.record = {"options": {"sizes": sizes}}

    def of(self, **case: Any) -> list[dict[str, Any]]:
        """Runs that have these values."""
        return [run for run in self.runs if case.items() <= run.items()]

    def values(self, figure: str, **case: Any) -> list[Any]:
        """One figure of them."""
        return [run[figure] for run in self.of(**case)]
