"""The default, which learns from some rows, beside `--fit-rows all`: what the other rows lose.

    python -m benchmarks.quality.fit_rows --json FILE --data FOLDER

FILE keeps every run, so that the command goes on where it broke off; the tables go beside it. Needs
`pip install "balans-dask[evaluate]"`.
"""

import argparse
import os
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.neighbors import NearestNeighbors

from balans_dask import Balans
from benchmarks.harness.arrays import Bools, Floats
from benchmarks.harness.cases import SMALL, Case, Clusters, grown
from benchmarks.harness.embedded import real
from benchmarks.harness.findings import LIBRARIES, made_by, processor, versions
from benchmarks.harness.real_sets import RealSet
from benchmarks.harness.tables import lines
from benchmarks.quality.align_quality import MEASURED_BY, REAL, Record, figures, pair, plain

MILLION, RESAMPLED_ROWS = 1_000_000, 500_000
SOME, ALL_ROWS, RAW = "some rows", "all rows", "raw"
METHODS: dict[str, dict[str, Any]] = {SOME: {}, ALL_ROWS: {"fit_rows": "all"}}
N_NEIGHBORS, N_RARE = 10, 10
RARE = "ten rare clusters"
METHOD = Path(__file__).parent / "methods" / "fit_rows.md"


@dataclass(frozen=True)
class Resampled:
    """Rows between real wells of one treatment and batch."""

    one: RealSet
    data: Path

    def make(self, seed: int) -> Case:
        """Draw the rows."""
        rng = np.random.default_rng([seed, 23])
        found, described = real(self.one, self.data), self.one.annotations(self.data)
        groups = pd.DataFrame({"batch": found.batch, "label": found.label}).groupby(
            ["batch", "label"]
        )
        place, number = groups.ngroup().to_numpy(), groups.cumcount().to_numpy()
        order = np.lexsort((number, place))
        sizes = np.bincount(place)
        starts = np.cumsum(sizes) - sizes
        first = rng.integers(len(place), size=RESAMPLED_ROWS)
        group = place[first]
        second = order[starts[group] + rng.integers(sizes[group])]
        share = rng.random((RESAMPLED_ROWS, 1))
        rows = (1.0 - share) * found.rows[first] + share * found.rows[second]
        across = described[self.one.across].to_numpy(dtype=str)[first]
        control = ~self.one.scored(described)[first]
        return Case(
            rows - rows.mean(axis=0), found.batch[first], found.label[first], across, control
        )


def cases(data: Path | None) -> dict[str, Clusters | Resampled]:
    """Return all that are measured; real wells only where their folder is named."""
    rare = SMALL["overlapping"]
    assert isinstance(rare, Clusters)
    found: dict[str, Clusters | Resampled] = dict(grown(MILLION))
    found[RARE] = replace(rare, n_rows=MILLION, n_rare=N_RARE)
    if data is not None:
        sets = ("cpjump1", "bbbc021 by week")
        found |= {f"{name}, resampled": Resampled(REAL[name], data) for name in sets}
    return found


def rare_share(rows: Floats, label: Any, chosen: Bools) -> float:
    """Share of the nearest neighbours of some rows, among all, that have the row's own label."""
    index = NearestNeighbors(n_neighbors=N_NEIGHBORS + 1, algorithm="brute").fit(rows)
    near = index.kneighbors(rows[chosen], return_distance=False)[:, 1:]
    return float((label[near] == label[chosen][:, None]).mean())


def measured(name: str, case: Case, embedding: Floats, seed: int) -> dict[str, float]:
    """Score a corrected case."""
    found = figures(case, embedding, seed)
    if name == RARE:
        sizes = pd.Series(case.label).map(pd.Series(case.label).value_counts()).to_numpy()
        found["rare_share"] = round(rare_share(embedding, case.label, sizes <= 100), 4)
    return found


def markdown(record: Record, names: list[str]) -> str:
    """Write both tables."""
    header = ["set (seeds)", RAW, SOME, ALL_ROWS]
    rows = []
    for name in names:
        if record.of(name, RAW):
            cells = [pair(record, name, method) for method in header[1:]]
            rows.append([f"{name} ({len(record.of(name, SOME))})", *cells])
    rare = [f"{plain(record, RARE, method, 'rare_share')}" for method in header[1:]]
    return "\n".join(
        [
            METHOD.read_text(),
            f"{made_by(record.all)}\n",
            lines(header, rows),
            "Same-label share of the rows of rare clusters:\n",
            lines(header[1:], [rare]),
        ]
    )


def main() -> None:
    """Measure, write JSON and Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, required=True, help="all figures; .md goes beside it")
    parser.add_argument("--sets", nargs="+", help="some of the sets")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--data", type=Path, default=os.environ.get("BALANS_DATA"))
    given = parser.parse_args()
    # Uncovered rows, and batches that share little, are what the tables are about.
    warnings.simplefilter("ignore")
    facts = {"processor": processor(), "versions": versions((*LIBRARIES, *MEASURED_BY))}
    record = Record(given.json, facts)
    all_cases = cases(given.data and Path(given.data))
    for seed in range(given.seeds):
        for name in given.sets or all_cases:
            wanted = [m for m in (RAW, *METHODS) if str(seed) not in record.of(name, m)]
            if not wanted:
                continue
            case = all_cases[name].make(seed)
            for method in wanted:
                embedding = case.rows
                if method != RAW:
                    balans = Balans(n_components=None, random_state=seed, **METHODS[method])
                    embedding = balans.fit_transform(case.rows, batch=case.batch)
                record.keep(name, method, seed, measured(name, case, embedding, seed))
    text = markdown(record, list(all_cases))
    given.json.with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
