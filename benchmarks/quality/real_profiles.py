"""Corrections of real profiles by every operator, beside harmonypy and null models.

    python -m benchmarks.quality.real_profiles --data FOLDER --json FILE --markdown FILE

Needs `pip install "balans-dask[evaluate]"`. harmonypy is looked for in this Python, or in that of
--harmony-python; it runs as a process of its own (`peers/run_peer.py`).
"""

import argparse
import json
import math
import os
import sys
import tempfile
import warnings
from collections.abc import Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from balans_dask.evaluate.null_models import oversmoothed, shuffled
from benchmarks.harness.machine import processor
from benchmarks.harness.peer_methods import Peers
from benchmarks.harness.real_sets import SETS, RealSet
from benchmarks.quality.real_acceptance import acceptance
from benchmarks.quality.real_corrections import balans_scores
from benchmarks.quality.real_scores import Scored, average, differences, score
from benchmarks.quality.real_tables import markdown

SEED = 0
HARMONY_SEEDS = (0, 1, 2, 3, 4)
COMPARED = ("harmonypy", "harmonypy, best seed", "raw")
EMBEDDING = "principal components of the standardised features (at most 50), as obsm/X_pca_balans"
LIBRARIES = ("balans-dask", "numpy", "scipy", "scikit-learn", "scib-metrics", "copairs", "jax")


def measure(real: RealSet, folder: Path, work: Path, python: str | None) -> dict[str, Any]:
    """Correct and score one set by all methods."""
    rows = real.annotations(folder)
    label = rows[real.label].to_numpy(dtype=str)
    batch = rows[real.batch].to_numpy(dtype=str)
    embeddings = balans_scores(folder, work, real)
    raw = embeddings["raw"]
    scored = {"raw": score(real, rows, raw, raw, label)}
    if python:
        harmony = partial(Peers(python).correct, "harmonypy", raw, batch)
        answers = (harmony(seed) for seed in HARMONY_SEEDS)
        found = [score(real, rows, raw, Z, label) for Z in answers]
        scored["harmonypy"] = average(found)
        scored["harmonypy, best seed"] = max(found, key=lambda one: one.scores["cross_batch_map"])
    scored |= {
        name: score(real, rows, embeddings[real.raw_of(name)], Z, label)
        for name, Z in embeddings.items()
        if name != "raw"
    }
    scored["null: shuffled labels"] = score(real, rows, raw, raw, _shuffled(real, rows, label))
    scored["null: over-smoothed"] = score(real, rows, raw, oversmoothed(raw), label)
    return {name: _record(name, found, scored, real, rows) for name, found in scored.items()}


def _shuffled(real: RealSet, rows: Any, label: Any) -> Any:
    kept, given = real.scored(rows), label.copy()
    given[kept] = shuffled(label[kept], SEED)
    return given


def _record(
    name: str, found: Scored, scored: Mapping[str, Scored], real: RealSet, rows: Any
) -> dict[str, Any]:
    others = [other for other in COMPARED if other in scored and other != name]
    return {
        "scores": {key: _plain(value) for key, value in found.scores.items()},
        "differences": {
            other: differences(real, rows, found, scored[other])
            for other in others
            if not name.startswith("null")
        },
    }


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else round(float(value), 5)


def earlier_sets(path: Path, versions: Mapping[str, str]) -> dict[str, Any]:
    """Read the sets of an earlier run, which must be of the same versions."""
    if not path.exists():
        return {}
    record = json.loads(path.read_text())
    if record["versions"] != versions:
        sys.exit(f"{path} was measured by other versions: measure all sets again")
    return dict(record["sets"])


def main() -> None:
    """Measure all sets, write JSON and Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the parquet files")
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--markdown", type=Path, help="write the tables here")
    parser.add_argument(
        "--only", default="", help="sets whose name contains this; the others of --json stay"
    )
    parser.add_argument("--harmony-python", default=sys.executable)
    given = parser.parse_args()
    # The commands warn of the few rows no landmark covers; the table says what became of them.
    warnings.simplefilter("ignore")
    peer = Peers(given.harmony_python).versions().get("harmonypy")
    if peer is None:
        print("harmonypy is not installed there: it is left out", file=sys.stderr)
    versions = {name: version(name) for name in LIBRARIES} | {"harmonypy": peer or "none"}
    earlier = earlier_sets(given.json, versions) if given.json and given.only else {}
    machine = {"cpus": os.cpu_count(), "processor": processor()}
    record: dict[str, Any] = {
        "seed": SEED,
        "harmony_seeds": HARMONY_SEEDS,
        "embedding": EMBEDDING,
        "machine": machine,
        "versions": versions,
        "sets": {},
    }
    with tempfile.TemporaryDirectory() as work:
        for real in (one for one in SETS if given.only in one.name):
            python = given.harmony_python if peer else None
            record["sets"][real.name] = measure(real, given.data, Path(work), python)
            print(f"{real.name}: {len(record['sets'][real.name])} methods", file=sys.stderr)
    found = earlier | record["sets"]
    record["sets"] = {real.name: found[real.name] for real in SETS if real.name in found}
    text = markdown(record) + acceptance(record["sets"])
    print(text)
    if given.markdown:
        given.markdown.write_text(text)
    if given.json:
        given.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
