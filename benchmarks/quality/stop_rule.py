"""What each rule that stops the draws costs and loses: mixtures, rare clusters, real profiles.

    python -m benchmarks.quality.stop_rule --data FOLDER --json FILE --markdown FILE [--million]

Needs `pip install "balans-dask[evaluate]"`. Rules of one data set draw the same rows and stop at
different ones, so figures of one table differ by the rule alone.
"""

import argparse
import json
import os
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from balans_dask import Balans
from balans_dask.evaluate.scib import batch_scores, biology_scores
from balans_dask.evaluate.scoring import totals
from balans_dask.workflows.mixture import Mixture
from benchmarks.harness.machine import processor
from benchmarks.harness.mixtures import N_RARE, SPREADS
from benchmarks.harness.real_sets import SETS, RealSet
from benchmarks.harness.tables import lines
from benchmarks.quality.real_profiles import LIBRARIES

N_SCORED = 3000
N_NEIGHBORS = 30
RULES: dict[str, dict[str, Any]] = {
    "patience": {"stopping": "patience"},
    "auto": {"stopping": "auto"},
    "tolerance 1e-4": {"stopping": "patience", "coverage_tol": 1e-4},
}
"""The last one is a candidate: the quiet rows of `auto` without its count of hits."""
OPERATORS: dict[str, dict[str, Any]] = {
    "smooth": {"operator": "smooth"},
    "displace": {"operator": "displace"},
}
HEAD = """# Rules that stop the draws

Times are single runs beside other work on the machine: read those of the million rows, and roughly.
Totals move by about .005 with the clusterings of the biology side. *Rare covered*: of at least half
of the rows.

"""
COLUMNS = ("operator", "rule", "stopped by", "rows drawn", "of patience", "uncovered",
           "rare covered", "biology", "batch", "total", "minus patience", "30-NN share",
           "time of patience")  # fmt: skip


@dataclass(frozen=True)
class Profiles:
    """One data set; ``rare`` numbers the rare clusters of its rows, -1 elsewhere."""

    name: str
    values: NDArray[np.floating]
    batch: NDArray[np.str_]
    label: NDArray[np.str_]
    rare: NDArray[np.int64]
    scored: NDArray[np.int64]
    options: dict[str, Any]


def data_sets(folder: Path, million: bool, only: str) -> Iterator[Profiles]:
    """Generate and read the data sets, one at a time."""
    for n_rows in (200_000, 1_000_000) if million else (200_000,):
        for kind, spread in SPREADS.items():
            name = f"mixture, {kind}, {n_rows:,} rows"
            if only in name:
                mixture = Mixture(n_rows, cluster_spread=spread, n_rare=N_RARE)
                yield generated_profiles(name, mixture)
    for real in SETS[:3]:
        if only in real.name:
            yield read_profiles(real, folder)


def read_profiles(real: RealSet, folder: Path) -> Profiles:
    """Read a real set."""
    table = pd.read_parquet(folder / f"{real.file}.parquet")
    rows = real.annotations(folder)
    return Profiles(
        name=real.name,
        values=table[[name for name in table if name not in rows]].to_numpy(),
        batch=rows[real.batch].to_numpy(dtype=str),
        label=rows[real.label].to_numpy(dtype=str),
        rare=np.full(len(rows), -1),
        scored=np.flatnonzero(real.scored(rows)),
        options={},
    )


def generated_profiles(name: str, mixture: Mixture, n_scored: int = N_SCORED) -> Profiles:
    """Generate a mixture, of which rows of the common clusters are scored."""
    rows = mixture.annotations()
    cluster = rows["Metadata_treatment"].cat.codes.to_numpy().astype(np.int64)
    rare = np.where(cluster < mixture.n_clusters, -1, cluster - mixture.n_clusters)
    # A few rows of rare clusters would be labels of their own: coverage tells of them.
    common = np.flatnonzero(rare < 0)
    scored = np.random.default_rng(0).choice(common, min(n_scored, len(common)), replace=False)
    return Profiles(
        name=name,
        values=np.concatenate([values for _, values in mixture.slabs(65_536)]),
        batch=rows["Metadata_batch"].to_numpy(dtype=str),
        label=rows["Metadata_treatment"].to_numpy(dtype=str),
        rare=rare,
        scored=np.sort(scored),
        options={"n_components": None},
    )


def measure(data: Profiles) -> list[dict[str, Any]]:
    """Correct a data set by every operator and rule; the first rule is what others stand beside."""
    found = []
    for operator, chosen in OPERATORS.items():
        scores: dict[int, dict[str, float]] = {}
        for rule, stopping in RULES.items():
            model = Balans(**data.options, **chosen, **stopping)
            began = time.perf_counter()
            corrected = model.fit_transform(data.values, batch=data.batch)
            seconds = time.perf_counter() - began
            record = {"operator": operator, "rule": rule, "seconds": round(seconds, 2)}
            # Rules draw the same rows in the same order: as many rows are the same rows.
            n_sampled = len(model.sampled_rows_)
            if n_sampled not in scores:
                scores[n_sampled] = _scores(model, corrected, data)
            found.append(record | reach(model, data) | scores[n_sampled])
            print(data.name, found[-1], file=sys.stderr)
    return found


def reach(model: Balans, data: Profiles) -> dict[str, Any]:
    """Say where the draws stopped, and what they cover."""
    covered = model.coverage_ > 0
    shares = [covered[data.rare == number].mean() for number in range(data.rare.max() + 1)]
    return {
        "stopped_by": model.stop_reason_,
        "n_rows": len(covered),
        "n_sampled": len(model.sampled_rows_),
        "n_uncovered": int(np.count_nonzero(~covered)),
        "rare_covered": [round(float(share), 3) for share in shares],
    }


def embeddings(
    model: Balans, corrected: NDArray[np.floating], data: Profiles
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Embed the scored rows, before and after; of a mixture that is what was corrected."""
    before, after = (data.values[data.scored], corrected[data.scored])
    if data.options.get("n_components", 0) is not None:
        project = model.model_.projection.scores
        before, after = project(before), project(after)
    return before.astype(np.float64), after.astype(np.float64)


def _scores(model: Balans, corrected: NDArray[np.floating], data: Profiles) -> dict[str, float]:
    before, after = embeddings(model, corrected, data)
    batch, label = data.batch[data.scored], data.label[data.scored]
    scores = batch_scores(after, before, batch, label) | biology_scores(after, label)
    index = NearestNeighbors(n_neighbors=N_NEIGHBORS + 1).fit(after)
    neighbours = index.kneighbors(after, return_distance=False)[:, 1:]
    share = float((label[neighbours] == label[:, None]).mean())
    return {name: round(value, 5) for name, value in vars(totals(scores)).items()} | {
        "same_label_share": round(share, 5)
    }


def missed(n_seeds: int) -> list[dict[str, Any]]:
    """Count rare clusters of 20 rows in 200,000 of which less than half is covered."""
    found = []
    for spread in (1.0, 1.5):
        for rule, stopping in RULES.items():
            lost, drawn = 0, []
            for seed in range(1, n_seeds + 1):
                mixture = Mixture(200_000, cluster_spread=spread, n_rare=N_RARE, seed=seed)
                data = generated_profiles("", mixture)
                model = Balans(**data.options, **stopping, random_state=seed)
                model.fit(data.values, batch=data.batch)
                reached = reach(model, data)
                lost += sum(share < 0.5 for share in reached["rare_covered"])
                drawn.append(reached["n_sampled"])
            record = {"spread": spread, "rule": rule, "missed": lost, "of": n_seeds * N_RARE}
            found.append(record | {"mean_rows": round(float(np.mean(drawn)))})
            print(found[-1], file=sys.stderr)
    return found


def _missed_table(found: list[dict[str, Any]]) -> str:
    head = ["spread of clusters", "rule", "rows drawn, mean", "rare clusters missed"]
    return lines(head, [[f"{one['spread']}", one["rule"], f"{one['mean_rows']:,}",
                         f"{one['missed']} of {one['of']}"] for one in found])  # fmt: skip


def table(found: list[dict[str, Any]]) -> str:
    """Write one data set's figures."""
    beside = {one["operator"]: one for one in found if one["rule"] == "patience"}
    return lines(list(COLUMNS), [_row(one, beside[one["operator"]]) for one in found])


def _row(one: Mapping[str, Any], beside: Mapping[str, Any]) -> list[str]:
    rare = one["rare_covered"]
    return [
        one["operator"],
        one["rule"],
        one["stopped_by"],
        f"{one['n_sampled']:,}",
        f"{one['n_sampled'] / beside['n_sampled']:.2f}",
        f"{one['n_uncovered'] / one['n_rows']:.2%}",
        f"{sum(share >= 0.5 for share in rare)} of {len(rare)}" if rare else "-",
        f"{one['biology']:.3f}",
        f"{one['batch']:.3f}",
        f"{one['total']:.3f}",
        f"{one['total'] - beside['total']:+.4f}",
        f"{one['same_label_share']:.3f}",
        f"{one['seconds'] / beside['seconds']:.2f}",
    ]


def main() -> None:
    """Measure all sets, write JSON and Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the parquet files")
    parser.add_argument("--json", type=Path, required=True, help="write all figures here")
    parser.add_argument("--markdown", type=Path, required=True, help="write the tables here")
    parser.add_argument("--million", action="store_true", help="mixtures of a million rows too")
    parser.add_argument("--seeds", type=int, default=6, help="mixtures for the clusters missed")
    parser.add_argument("--only", default="", help="sets whose name contains this; others stay")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    record: dict[str, Any] = {"sets": {}}
    if given.only and given.json.exists():
        record = json.loads(given.json.read_text())
    record["versions"] = {name: version(name) for name in LIBRARIES}
    record["machine"] = {"cpus": os.cpu_count(), "processor": processor()}
    for data in data_sets(given.data, given.million, given.only):
        record["sets"][data.name] = measure(data)
        given.json.write_text(json.dumps(record, indent=1) + "\n")
    if given.seeds:
        record["missed"] = missed(given.seeds)
        given.json.write_text(json.dumps(record, indent=1) + "\n")
    tables = [f"## {name}\n\n{table(found)}" for name, found in record["sets"].items()]
    if "missed" in record:
        tables.append("## Rare clusters missed\n\n" + _missed_table(record["missed"]))
    given.markdown.write_text(HEAD + "\n".join(tables))


if __name__ == "__main__":
    main()
