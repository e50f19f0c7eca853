"""The default beside no correction, other operators and other methods, where it may do harm.

    python -m benchmarks.quality.align_quality --json FILE --data FOLDER --peers PYTHON

Real profiles, twelve small mixtures, and some of these with 16,000 and 200,000 rows. FILE keeps
every run, so that the command goes on where it broke off; the tables go beside it. Needs
`pip install "balans-dask[evaluate]"`; `make peers` makes the environment of other methods.
"""

import argparse
import json
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
from sklearn.neighbors import NearestNeighbors

from balans_dask import Balans
from balans_dask.evaluate.neighbours import batch_purity, nearest_label_elsewhere, profile_means
from balans_dask.evaluate.peers.processes import Peers
from balans_dask.evaluate.retrieval import cross_batch_precision
from benchmarks.harness.arrays import Bools, Floats
from benchmarks.harness.cases import SMALL, Case, Clusters, Compounds, grown
from benchmarks.harness.embedded import components, real
from benchmarks.harness.findings import LIBRARIES, commit, made_by, processor, versions
from benchmarks.harness.real_sets import SETS, RealSet, command
from benchmarks.harness.scoring import N_SCORED, rows_of_every_label, scores
from benchmarks.harness.tables import lines

RAW, SHARED = "raw", "align, declared shared"
CONTROLS = "Metadata_pert_type == 'negcon'"
TWICE = {"operator": "displace", "n_passes": 2}
OURS: dict[str, dict[str, Any]] = {
    "align": {},
    SHARED: {"shared_populations": True},
    "align, sphering": {"sphering": CONTROLS},
    "smooth": {"operator": "smooth"},
    "displace": TWICE,
    "displace, anchors": {**TWICE, "anchor": CONTROLS},
}
"""Parameters, the rest their defaults."""
ANEW = {"align": "align, features", "align, sphering": "align, sphering, features"}
"""Of these the corrected features of real sets are embedded anew, too."""
OTHERS = ("harmonypy", "combat", "sphering")
ON_CONTROLS = ("align, sphering", "displace, anchors", "sphering")
METHODS = (RAW, *OURS, *OTHERS)
COLUMNS = tuple(name for one in METHODS for name in (one, ANEW.get(one)) if name)
DETERMINISTIC = (RAW, "combat", "sphering")
"""One seed tells all of a real set."""
REAL = dict(
    zip(("cpjump1", "bbbc021 by week", "bbbc021 by plate", "bbbc021 cells"), SETS, strict=True)
)
GROUPS: dict[str, tuple[str, Mapping[str, Any]]] = {
    "real": ("Real profiles", REAL),
    "small": ("Mixtures of 600 to 1,000 rows", SMALL),
    "16000": ("Mixtures of 16,000 rows", grown(16_000)),
    "200000": ("Mixtures of 200,000 rows", grown(200_000)),
}
N_NEIGHBORS = 30
MORE = {
    "one_batch_same_label": "Same-label share of labels that lie in one batch",
    "control_purity": "Week purity of DMSO wells",
    "nscb": "NSCB",
}
MEASURED_BY = ("scikit-learn", "scib-metrics", "copairs", "jax")
METHOD = Path(__file__).parent / "methods" / "align_quality.md"


@dataclass(frozen=True)
class Bench:
    """What corrections are run with."""

    data: Path | None
    peers: Peers
    work: Path

    def case(self, one: RealSet | Clusters | Compounds, seed: int) -> Case:
        """Draw a mixture, or read a real set, which is the same for every seed."""
        if not isinstance(one, RealSet):
            return one.make(seed)
        assert self.data is not None
        found, rows = real(one, self.data), one.annotations(self.data)
        across = rows[one.across].to_numpy(dtype=str)
        wells = rows if one.mechanism else None
        return Case(found.rows, found.batch, found.label, across, ~one.scored(rows), wells)

    def corrected(
        self, one: RealSet | Clusters | Compounds, case: Case, method: str, seed: int
    ) -> dict[str, Floats]:
        """Correct a case; of real sets by ``align`` also the features, embedded anew."""
        if method == RAW:
            return {method: case.rows}
        if method in OTHERS:
            found = self.peers.answer(method, case.rows, case.batch, seed, case.control)
            return {method: found.embedding}
        if isinstance(one, RealSet):
            return self._of_store(one, method, seed)
        parameters, of_rows = dict(OURS[method]), {"sphering": "controls", "anchor": "anchor"}
        queries = {of_rows[key]: case.control for key in of_rows if parameters.pop(key, None)}
        balans = Balans(n_components=None, random_state=seed, **parameters)
        return {method: balans.fit_transform(case.rows, batch=case.batch, **queries)}

    def _of_store(self, one: RealSet, method: str, seed: int) -> dict[str, Floats]:
        given, out = self.work / f"{one.file}.zarr", self.work / "out.zarr"
        if not given.exists():
            command("convert", str(self.data / f"{one.file}.parquet"), str(given))
        options = [f"--{key.replace('_', '-')}={'yes' if value is True else value}"
                   for key, value in OURS[method].items()]  # fmt: skip
        always = ("--batch-key", one.batch, "--seed", str(seed), "--overwrite", "--quiet")
        command("correct", str(given), str(out), *always, *options)
        table = anndata.read_zarr(out)
        found = {method: np.asarray(table.obsm["X_pca_balans"], dtype=np.float64)}
        if method in ANEW:
            found[ANEW[method]] = components(np.asarray(table.X, dtype=np.float64))
        return found


def applies(case: Case, method: str, there: Iterable[str]) -> bool:
    """Tell whether a method can be measured: it is installed, and what it asks for is true."""
    if method == SHARED:
        return bool(
            (pd.crosstab(case.label[~case.control], case.batch[~case.control]) > 0).all(None)
        )
    if method in ON_CONTROLS and not case.control.any():
        return False
    return method not in OTHERS or method in there


def figures(case: Case, embedding: Floats, seed: int) -> dict[str, float]:
    """Score the rows that are no controls; as many of every label where there are many."""
    kept = np.flatnonzero(~case.control)
    if len(kept) > N_SCORED:
        n_each = N_SCORED // len(np.unique(case.label[kept]))
        kept = kept[rows_of_every_label(case.label[kept], n_each, seed)]
    shown, batch, label = embedding[kept], case.batch[kept], case.label[kept]
    found = scores(shown, case.rows[kept], batch, label)
    chosen = {name: found[name] for name in ("total", "batch", "biology")}
    # Cosines are of the origin, and methods leave it elsewhere.
    centred = shown - shown.mean(axis=0)
    precision = cross_batch_precision(centred, label, case.across[kept])["average_precision"]
    if precision.notna().any():
        chosen["cross_batch_map"] = float(precision.mean())
    alone = in_one_batch(label, batch)
    if alone.any() and not np.isin(case.label, label[alone]).all():
        chosen["one_batch_same_label"] = same_label(shown, label, alone)
    if case.wells is not None:
        chosen |= of_wells(case, case.wells, embedding)
    return {name: round(value, 4) for name, value in chosen.items()}


def of_wells(case: Case, wells: pd.DataFrame, embedding: Floats) -> dict[str, float]:
    """Batch purity of the controls, and transfer of mechanisms to other compounds and batches."""
    treated = wells[~case.control]
    means, columns = profile_means(
        embedding[~case.control],
        treated["Metadata_treatment"],
        case.label[~case.control],
        treated["Metadata_compound"],
        case.across[~case.control],
    )
    return {
        "control_purity": batch_purity(embedding[case.control], case.across[case.control]),
        "nscb": nearest_label_elsewhere(means, *columns),
    }


def in_one_batch(label: Any, batch: Any) -> Bools:
    """Rows of labels that one batch alone has."""
    n_batches = pd.Series(batch).groupby(label).nunique()
    return np.asarray(n_batches[label] == 1)


def same_label(embedding: Floats, label: Any, rows: Bools) -> float:
    """Share of the 30 nearest neighbours of some rows that have the row's own label."""
    index = NearestNeighbors(n_neighbors=N_NEIGHBORS, algorithm="brute").fit(embedding)
    near = index.kneighbors(return_distance=False)[rows]
    return float((label[near] == label[rows, None]).mean())


class Record:
    """Figures by set, method and seed, in a file that a later call goes on with."""

    def __init__(self, path: Path, facts: Mapping[str, Any]) -> None:
        self.path = path
        self.all: dict[str, Any] = {**facts, "runs": {}}
        if path.exists():
            earlier = json.loads(path.read_text())
            if any(earlier[key] != value for key, value in facts.items()):
                sys.exit(f"{path} is of other versions, or another processor: remove it")
            self.all = earlier

    def of(self, name: str, method: str) -> dict[str, dict[str, float]]:
        """Figures by seed."""
        return dict(self.all["runs"].get(name, {}).get(method, {}))

    def keep(self, name: str, method: str, seed: int, found: Mapping[str, float]) -> None:
        """Add a run to the file."""
        of_set = self.all["runs"].setdefault(name, {})
        of_set.setdefault(method, {})[str(seed)] = dict(found)
        self.all |= {"date": str(date.today()), "commit": commit()}
        beside = self.path.with_name(f"{self.path.name}.partial")
        beside.write_text(json.dumps(self.all, indent=0) + "\n")
        beside.replace(self.path)
        print(name, method, seed, found, file=sys.stderr, flush=True)

    def mean(self, name: str, method: str, figure: str) -> float:
        """Mean of the seeds; NaN where it was not measured."""
        values = [run[figure] for run in self.of(name, method).values() if figure in run]
        return float(np.mean(values)) if values else float("nan")


def measure(
    bench: Bench, record: Record, name: str, one: Any, methods: Iterable[str], seed: int
) -> None:
    """Measure what the record does not have of a set and a seed."""
    case: Case | None = None
    for method in methods:
        fixed = isinstance(one, RealSet) and method in DETERMINISTIC
        if (fixed and seed) or str(seed) in record.of(name, method):
            continue
        case = case or bench.case(one, seed)
        if applies(case, method, bench.peers.versions()):
            for shown, embedding in bench.corrected(one, case, method, seed).items():
                record.keep(name, shown, seed, figures(case, embedding, seed))


def markdown(record: Record) -> str:
    """Write all tables."""
    parts = [METHOD.read_text(), f"{made_by(record.all)}\n"]
    for title, sets in GROUPS.values():
        if any(record.of(name, RAW) for name in sets):
            parts += [f"## {title}\n", _table(record, sets, pair)]
        for figure, words in MORE.items():
            kept = [name for name in sets if not np.isnan(record.mean(name, RAW, figure))]
            if kept:
                parts += [f"{words}:\n", _table(record, kept, partial(plain, figure=figure))]
    return "\n".join(parts)


def _table(record: Record, sets: Iterable[str], cell: Callable[[Record, str, str], str]) -> str:
    there = [c for c in COLUMNS if any(record.of(name, c) for name in sets)]
    rows = []
    for name in (name for name in sets if record.of(name, RAW)):
        n_seeds = max(len(record.of(name, c)) for c in there)
        rows.append([f"{name} ({n_seeds})", *(cell(record, name, c) for c in there)])
    return lines(["set (seeds)", *there], rows)


def pair(record: Record, name: str, method: str) -> str:
    """Write total and precision of a method on a set."""
    total = plain(record, name, method, "total")
    precision = plain(record, name, method, "cross_batch_map")
    return total if total == "-" else f"{total} / {precision}"


def plain(record: Record, name: str, method: str, figure: str) -> str:
    """Write one figure of a method on a set."""
    value = record.mean(name, method, figure)
    return "-" if np.isnan(value) else f"{value:.3f}".replace("0.", ".", 1)


def main() -> None:
    """Measure, write JSON and Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, required=True, help="all figures; .md goes beside it")
    parser.add_argument("--sets", nargs="+", default=list(GROUPS), help="groups, or single sets")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--data", type=Path, default=os.environ.get("BALANS_DATA"))
    peers = os.environ.get("BALANS_PEERS")
    parser.add_argument("--peers", default=peers, help="Python of other methods")
    given = parser.parse_args()
    # The commands warn of what the table shows.
    warnings.simplefilter("ignore")
    peers = Peers(given.peers)
    used = versions((*LIBRARIES, *MEASURED_BY)) | peers.versions()
    record = Record(given.json, {"processor": processor(), "versions": used})
    with tempfile.TemporaryDirectory() as work:
        bench = Bench(given.data and Path(given.data), peers, Path(work))
        for seed in range(given.seeds):
            for group, (_, sets) in GROUPS.items():
                for name, one in sets.items():
                    if {group, name} & set(given.sets) and (group != "real" or given.data):
                        measure(bench, record, name, one, given.methods, seed)
    text = markdown(record)
    given.json.with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
