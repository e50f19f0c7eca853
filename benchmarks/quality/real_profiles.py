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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from balans_dask.evaluate.neighbours import batch_purity, nearest_label_elsewhere, profile_means
from balans_dask.evaluate.null_models import (
    oversmoothed,
    paired_bootstrap,
    shift_followed,
    shuffled,
)
from balans_dask.evaluate.retrieval import (
    control_precision,
    cross_batch_precision,
    replicate_precision,
    significant_share,
)
from balans_dask.evaluate.scib import batch_scores, biology_scores, variance_kept
from balans_dask.evaluate.scoring import totals
from benchmarks.harness.arrays import Floats
from benchmarks.harness.findings import processor
from benchmarks.harness.peer_methods import Peers
from benchmarks.harness.real_sets import SETS, RealSet, command
from benchmarks.harness.tables import interval, lines

SEED = 0
HARMONY_SEEDS = (0, 1, 2, 3, 4)
COMPARED = ("harmonypy", "harmonypy, best seed", "raw")
EMBEDDING = "principal components of the standardised features (at most 50), as obsm/X_pca_balans"
LIBRARIES = ("balans-dask", "numpy", "scipy", "scikit-learn", "scib-metrics", "copairs", "jax")
PRECISIONS = ("map", "cross_batch_map", "cross_batch_map_own_negatives")
COLUMNS = {
    "total": "total",
    "batch": "batch side",
    "biology": "biology side",
    "ilisi": "iLISI",
    "kbet": "kBET",
    "silhouette_batch": "batch silhouette",
    "pcr": "PCR",
    "graph_connectivity": "graph conn.",
    "clisi": "cLISI",
    "nmi": "NMI",
    "ari": "ARI",
    "silhouette_label": "label silhouette",
}
RETRIEVAL = {
    "map": "mAP",
    "map_significant": "significant",
    "cross_batch_map": "cross-batch mAP",
    "cross_batch_map_significant": "significant",
    "cross_batch_map_own_negatives": "with own batch's negatives",
    "nscb": "NSCB",
    "control_purity": "DMSO week purity",
    "shift_followed": "shift followed",
    "control_map": "mAP against DMSO",
    "control_map_significant": "significant",
    "variance_kept": "variance kept",
}
INTERVALS = {
    "map": "mAP",
    "cross_batch_map": "cross-batch mAP",
    "cross_batch_map_own_negatives": "with own batch's negatives",
}
METHOD = Path(__file__).parent / "methods" / "real_profiles.md"


@dataclass(frozen=True)
class Scored:
    """Scores of one method, and the average precision of every row behind them."""

    scores: dict[str, float]
    precision: dict[str, Floats]


def balans_scores(folder: Path, work: Path, real: RealSet) -> dict[str, Floats]:
    """Correct a set by every method of the table; scores as `obsm/X_pca_balans` holds them."""
    given = work / f"{real.file}.zarr"
    if not given.exists():
        command("convert", str(folder / f"{real.file}.parquet"), str(given))
    found = {}
    for name, options in real.methods().items():
        out = work / "out.zarr"
        arguments = ("--batch-key", real.batch, "--overwrite", "--quiet", *options)
        command("correct", str(given), str(out), *arguments)
        scores = anndata.read_zarr(out).obsm["X_pca_balans"]
        found[name] = np.asarray(scores, dtype=np.float64)
    return found


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
    text = markdown(record)
    print(text)
    if given.markdown:
        given.markdown.write_text(text)
    if given.json:
        given.json.write_text(json.dumps(record, indent=1) + "\n")


def score(
    real: RealSet, rows: pd.DataFrame, raw: Floats, embedding: Floats, label: NDArray[Any]
) -> Scored:
    """Score an embedding of all rows; labels are the set's own, or shuffled ones."""
    kept = real.scored(rows)
    used, shown, known = rows[kept], embedding[kept], label[kept]
    across = used[real.across]
    tables = {
        "map": replicate_precision(shown, known),
        "cross_batch_map": cross_batch_precision(shown, known, across),
        "cross_batch_map_own_negatives": cross_batch_precision(
            shown, known, across, own_batch_negatives=True
        ),
    }
    scores = batch_scores(shown, raw[kept], used[real.batch], known)
    scores |= biology_scores(shown, known)
    scores |= vars(totals(scores))
    precision = {name: table["average_precision"].to_numpy() for name, table in tables.items()}
    scores |= {name: float(np.nanmean(values)) for name, values in precision.items()}
    scores["map_significant"] = significant_share(tables["map"])
    scores["cross_batch_map_significant"] = significant_share(tables["cross_batch_map"])
    scores["variance_kept"] = variance_kept(raw, embedding)
    if real.mechanism:
        scores |= _of_controls(real, rows, raw, embedding, label)
    return Scored(scores, precision)


def _of_controls(
    real: RealSet, rows: pd.DataFrame, raw: Floats, embedding: Floats, label: NDArray[Any]
) -> dict[str, float]:
    controls = (rows["Metadata_pert_type"] == "negcon").to_numpy()
    treated = rows[~controls]
    means, columns = profile_means(
        embedding[~controls],
        treated["Metadata_treatment"],
        label[~controls],
        treated["Metadata_compound"],
        treated[real.across],
    )
    against = control_precision(
        embedding, rows["Metadata_treatment"], rows["Metadata_Plate"], controls
    )
    return {
        "nscb": nearest_label_elsewhere(means, *columns),
        "control_purity": batch_purity(embedding[controls], rows[real.across][controls]),
        "shift_followed": shift_followed(raw, embedding, rows["Metadata_Plate"], controls),
        "control_map": float(against["average_precision"].mean()),
        "control_map_significant": significant_share(against),
    }


def average(found: Sequence[Scored]) -> Scored:
    """Average the scores of one method over its seeds, with the deviation of its total."""
    scores = {name: float(np.mean([one.scores[name] for one in found])) for name in found[0].scores}
    scores["total_sd"] = float(np.std([one.scores["total"] for one in found]))
    precision = {
        name: np.mean([one.precision[name] for one in found], axis=0) for name in PRECISIONS
    }
    return Scored(scores, precision)


def differences(
    real: RealSet, rows: pd.DataFrame, first: Scored, second: Scored
) -> dict[str, tuple[float, float, float]]:
    """Bootstrap the differences of the mean average precisions of two methods."""
    groups = real.groups(rows)[real.scored(rows)]
    return {
        name: paired_bootstrap(first.precision[name], second.precision[name], groups)
        for name in PRECISIONS
    }


def markdown(record: Mapping[str, Any]) -> str:
    """Write all tables."""
    parts = [METHOD.read_text()]
    machine, versions = record["machine"], record["versions"]
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    parts.append(f"Machine: {machine['cpus']} x {machine['processor']}. Versions: {listed}.\n")
    for name, methods in record["sets"].items():
        parts.append(f"## {name}\n")
        parts.append(_table(COLUMNS, methods))
        parts.append(_table(RETRIEVAL, methods))
        parts.extend(
            _intervals(other, methods) for other in ("harmonypy", "raw") if other in methods
        )
    return "\n".join(parts)


def _table(columns: Mapping[str, str], methods: Mapping[str, Any]) -> str:
    present = [c for c in columns if any(c in m["scores"] for m in methods.values())]
    head = ["method", *(columns[c] for c in present)]
    rows = [[name, *(_cell(m["scores"], c) for c in present)] for name, m in methods.items()]
    return lines(head, rows)


def _cell(scores: Mapping[str, float | None], name: str) -> str:
    value, spread = scores.get(name), scores.get(f"{name}_sd")
    if value is None:
        return "-"
    return f"{value:.3f}" if spread is None else f"{value:.3f} ({spread:.3f})"


def _intervals(other: str, methods: Mapping[str, Any]) -> str:
    rows = [
        [name, *(interval(m["differences"][other][c]) for c in INTERVALS)]
        for name, m in methods.items()
        if other in m["differences"]
    ]
    return lines([f"minus {other}", *INTERVALS.values()], rows)


if __name__ == "__main__":
    main()
