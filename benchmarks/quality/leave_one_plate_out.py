"""Fit on three plates of CPJUMP1, transform the fourth, and compare with refitting on all four.

    python -m benchmarks.quality.leave_one_plate_out --data FOLDER --json FILE --markdown FILE

Everything goes through the commands: `balans convert`, `correct --model`, `transform`. Retrieval is
scored over all four plates: the three as the fit wrote them, the fourth as the model left it.
"""

import argparse
import hashlib
import json
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
from sklearn.neighbors import NearestNeighbors

from balans_dask.evaluate.null_models import paired_bootstrap
from balans_dask.evaluate.retrieval import cross_batch_precision
from balans_dask.kernels._blas import single_threaded_blas
from benchmarks.harness.arrays import Bools, Floats
from benchmarks.harness.findings import commit, made_by, processor
from benchmarks.harness.real_sets import SETS, command
from benchmarks.harness.tables import interval, lines

REAL = SETS[0]
RAW = ("--strength", "0")
FITTED = {
    "align": (),
    "displace, 2 passes": ("--operator", "displace", "--n-passes", "2"),
    "smooth": ("--operator", "smooth"),
}
"""Options of `balans correct`, the rest its defaults."""
LIBRARIES = ("balans-dask", "numpy", "copairs")
KEY = ("--batch-key", REAL.batch)
FRESH = ("--overwrite", "--quiet")
POOLED = "each plate when left out"
METHOD = Path(__file__).parent / "methods" / "leave_one_plate_out.md"
COLUMNS = [
    "plate left out", "queries", "raw", "refitted", "left out", "difference",
    "own plate: raw", "refitted", "left out", "uncovered", "bytes",
]  # fmt: skip
QUERIES = {"left_out_queries": "of that plate", "all_queries": "all"}


@dataclass(frozen=True)
class Corrected:
    """Four plates after one correction."""

    precision: Floats  # (n_rows,), cross-batch average precision
    own: Floats  # (n_rows,), share of the 10 nearest neighbours from the row's own plate


def measured(scores: Floats, rows: pd.DataFrame) -> Corrected:
    """Score the embedding of all plates."""
    plate = rows[REAL.batch].to_numpy(dtype=str)
    table = cross_batch_precision(scores, rows[REAL.label], plate)
    index = NearestNeighbors(n_neighbors=10, algorithm="brute").fit(scores)
    own = (plate[index.kneighbors(return_distance=False)] == plate[:, None]).mean(axis=1)
    return Corrected(table["average_precision"].to_numpy(), own)


def refitted(work: Path, options: tuple[str, ...]) -> Floats:
    """Correct all plates together."""
    command("correct", str(work / "all.zarr"), str(work / "refit.zarr"), *KEY, *FRESH, *options)
    return _scores(work / "refit.zarr")


def left_out(
    work: Path, profiles: pd.DataFrame, last: Bools, options: tuple[str, ...]
) -> tuple[Floats, dict[str, Any]]:
    """Fit without one plate, transform it; scores of all rows, and what became of the stores."""
    for name, chosen in (("old", ~last), ("new", last)):
        profiles[chosen].to_parquet(work / f"{name}.parquet")
        command("convert", str(work / f"{name}.parquet"), str(work / f"{name}.zarr"), "--overwrite")
    old, fit, model = (work / name for name in ("old.zarr", "fit.zarr", "model.zarr"))
    command("correct", str(old), str(fit), *KEY, *FRESH, *options, "--model", str(model))
    before = [digest(store) for store in (old, fit, model)]
    command("transform", str(model), str(work / "new.zarr"), str(work / "out.zarr"), *KEY, *FRESH)
    after = [digest(store) for store in (old, fit, model)]
    fitted = _scores(fit)
    scores = np.empty((len(last), fitted.shape[1]))
    scores[~last], scores[last] = fitted, _scores(work / "out.zarr")
    covered = anndata.read_zarr(work / "out.zarr").obs["balans_covered"].to_numpy(dtype=bool)
    return scores, {"unchanged": before == after, "uncovered": float((~covered).mean())}


def digest(store: Path) -> str:
    """Hash the names and bytes of all files of a store."""
    found = hashlib.sha256()
    for path in sorted(path for path in store.rglob("*") if path.is_file()):
        found.update(str(path.relative_to(store)).encode() + b"\0")
        found.update(hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


def compare(
    frozen: Corrected, refit: Corrected, raw: Corrected, queries: Bools, groups: Any
) -> dict[str, Any]:
    """Means over some queries, and the bootstrapped difference from refitting."""
    difference = paired_bootstrap(
        frozen.precision[queries], refit.precision[queries], groups[queries]
    )
    return {
        name: {
            "cross_batch_map": float(np.nanmean(one.precision[queries])),
            "own_plate": float(one.own[queries].mean()),
        }
        for name, one in (("raw", raw), ("refitted", refit), ("left_out", frozen))
    } | {"difference": difference}


def measure(work: Path, profiles: pd.DataFrame) -> dict[str, Any]:
    """Leave out every plate, by every method."""
    rows = profiles[[name for name in profiles if name.startswith("Metadata_")]]
    plate, groups = rows[REAL.batch].to_numpy(dtype=str), REAL.groups(rows)
    everything = np.ones(len(rows), dtype=bool)
    raw = measured(refitted(work, RAW), rows)
    record: dict[str, Any] = {}
    for method, options in FITTED.items():
        refit = measured(refitted(work, options), rows)
        record[method] = {}
        # Every row once as a query, from the run that left its plate out.
        pooled = Corrected(np.full(len(rows), np.nan), np.full(len(rows), np.nan))
        for name in np.unique(plate):
            last = plate == name
            scores, stores = left_out(work, profiles, last, options)
            frozen = measured(scores, rows)
            pooled.precision[last], pooled.own[last] = frozen.precision[last], frozen.own[last]
            record[method][str(name)] = stores | {
                "left_out_queries": compare(frozen, refit, raw, last, groups),
                "all_queries": compare(frozen, refit, raw, everything, groups),
            }
        record[method][POOLED] = {
            "left_out_queries": compare(pooled, refit, raw, everything, groups)
        } | _together(record[method])
    return record


def _together(plates: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "unchanged": all(one["unchanged"] for one in plates.values()),
        "uncovered": float(np.mean([one["uncovered"] for one in plates.values()])),
    }


def _scores(store: Path) -> Floats:
    return np.asarray(anndata.read_zarr(store).obsm["X_pca_balans"], dtype=np.float64)


def main() -> None:
    """Measure, write JSON and Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the parquet files")
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--markdown", type=Path, help="write the tables here")
    given = parser.parse_args()
    # Few rows are covered by no landmark: the table holds their share.
    warnings.simplefilter("ignore")
    source = given.data / f"{REAL.file}.parquet"
    with tempfile.TemporaryDirectory() as work, single_threaded_blas():
        command("convert", str(source), str(Path(work) / "all.zarr"))
        methods = measure(Path(work), pd.read_parquet(source).reset_index(drop=True))
    record = {
        "processor": processor(),
        "versions": {name: version(name) for name in LIBRARIES},
        "date": str(date.today()),
        "commit": commit(),
        "methods": methods,
    }
    text = markdown(record)
    print(text)
    if given.markdown:
        given.markdown.write_text(text)
    if given.json:
        given.json.write_text(json.dumps(record, indent=1) + "\n")


def markdown(record: Mapping[str, Any]) -> str:
    """Write a table for every method."""
    parts = [METHOD.read_text(), f"{made_by(record)}\n"]
    for method, plates in record["methods"].items():
        parts.append(f"## {method}\n")
        rows = [
            _row(plate, words, found[kind], found)
            for plate, found in plates.items()
            for kind, words in QUERIES.items()
            if kind in found
        ]
        parts.append(lines(COLUMNS, rows))
    return "\n".join(parts)


def _row(plate: str, words: str, means: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    kinds = ("raw", "refitted", "left_out")
    return [
        plate,
        words,
        *(f"{means[kind]['cross_batch_map']:.4f}" for kind in kinds),
        interval(means["difference"]),
        *(f"{means[kind]['own_plate']:.3f}" for kind in kinds),
        f"{found['uncovered']:.3f}",
        "unchanged" if found["unchanged"] else "CHANGED",
    ]


if __name__ == "__main__":
    main()
