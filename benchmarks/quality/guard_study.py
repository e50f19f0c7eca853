"""Guards against forced matching: what each protects, and what it costs in mixing.

    python benchmarks/guard_study.py FOLDER [--rows 3000] [--seeds 3] [--data FOLDER] [--json FILE]

Mixtures of 20 clusters in 5 batches, 0, 4, 10 or 20 of the clusters in one batch only; separated
(typical distance of clusters 3 times that of batches) and overlapping, of equal and unequal sizes;
and the real sets where ``--data`` names their folder. Scores: same-label share of the 30 nearest
neighbours of the affected clusters; mixing, the inverse Simpson index of batches among neighbours
of the same label, from 0 to 1, of rows whose cluster is in every batch; total = 0.6 biology + 0.4
mixing, biology the mean of same-label share and silhouette of all rows. FOLDER takes a Markdown
table and a picture.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.metrics import silhouette_score
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from balans_dask import Balans
from balans_dask.kernels._blas import single_threaded_blas
from balans_dask.passes.workers import embedded_client
from balans_dask.workflows.mixture import Mixture
from benchmarks.quality import guard_candidates as dense
from benchmarks.quality.guard_picture import draw

OPERATORS = {"smooth": dense.smooth, "nystrom": dense.nystrom, "displace": dense.displace}
SHAPES = {
    "separated": {"cluster_spread": 1.5, "batch_offset": 0.5},
    "separated, sizes 1:10": {"cluster_spread": 1.5, "batch_offset": 0.5, "size_ratio": 10.0},
    "overlapping": {"cluster_spread": 0.8, "batch_offset": 0.27},
    "overlapping, sizes 1:10": {"cluster_spread": 0.8, "batch_offset": 0.27, "size_ratio": 10.0},
}
SPECIFIC = (0, 4, 10, 20)
REAL = {
    "CPJUMP1 by plate": ("cpjump1_compound_csn", "Metadata_Plate", "Metadata_pert_iname"),
    "BBBC021 by week (confounded)": ("bbbc021_well", "Metadata_week", "Metadata_moa"),
    "BBBC021 cells by plate": ("bbbc021_singlecell", "Metadata_Plate", "Metadata_treatment"),
}
SCORED = 1000
Case = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Scores, batch, label, and whether a row's cluster is in one batch only."""


def in_components(X: np.ndarray) -> np.ndarray:
    """Standardised, in at most 50 principal components."""
    X = StandardScaler().fit_transform(X[:, X.std(axis=0) > 0])
    return PCA(min(50, *X.shape)).fit_transform(X).astype(np.float64)


def mixture_case(shape: str, n_specific: int, n_rows: int, seed: int) -> Case:
    """One generated screen."""
    mixture = Mixture(n_rows, n_batch_specific=n_specific, seed=seed, **SHAPES[shape])
    X = np.concatenate([rows for _, rows in mixture.slabs(n_rows)])
    obs = mixture.annotations()
    label = obs["Metadata_treatment"].cat.codes.to_numpy()
    batch = obs["Metadata_batch"].cat.codes.to_numpy().astype(np.intp)
    return in_components(X), batch, label, label < n_specific


def real_case(folder: Path, name: str) -> Case:
    """One real set."""
    file, batch, label = REAL[name]
    data = pd.read_parquet(folder / f"{file}.parquet")
    features = [column for column in data if not column.startswith("Metadata_")]
    codes = [pd.factorize(data[column].astype(str))[0] for column in (batch, label)]
    P = in_components(data[features].to_numpy(np.float64))
    return P, codes[0], codes[1], np.zeros(len(data), dtype=bool)


def scores(Y: np.ndarray, case: Case) -> dict[str, float]:
    """Protection, mixing and total."""
    _, batch, label, affected = case
    chosen = np.random.default_rng(0).permutation(len(Y))[:SCORED]
    index = NearestNeighbors(n_neighbors=31, algorithm="brute").fit(Y)
    found = index.kneighbors(Y[chosen], return_distance=False)[:, 1:]
    same = label[found] == label[chosen][:, None]
    n_batches = batch.max() + 1
    counts = np.stack([(same & (batch[found] == b)).sum(axis=1) for b in range(n_batches)], axis=1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    index_of_batches = 1 / np.maximum((shares**2).sum(axis=1), 1 / n_batches)
    mixing = np.where(same.any(axis=1), (index_of_batches - 1) / (n_batches - 1), 0.0)
    shared = ~affected[chosen]
    silhouette = (silhouette_score(Y[chosen], label[chosen]) + 1) / 2
    biology = (same.mean() + silhouette) / 2
    mixed = float(mixing[shared].mean()) if shared.any() else np.nan
    return {
        "affected": float(same[~shared].mean()) if not shared.all() else float(same.mean()),
        "mixing": mixed,
        "total": 0.6 * biology + 0.4 * mixed,
    }


def candidates(case: Case, seed: int) -> Iterator[tuple[str, dict[str, np.ndarray], float]]:
    """Name, corrected scores by operator and share of guarded landmarks of every guard."""
    P, batch = case[0] - case[0].mean(axis=0), case[1]
    variance = float((P**2).sum(axis=1).mean())
    sizes = np.bincount(batch)
    rules: dict[str, dict] = {
        "none": {"rule": dense.no_guard},
        **{f"cap {c:g}": {"rule": dense.cap(c)} for c in (1.2, 1.35, 1.5, 2.0)},
        **{f"drop {c:g}": {"rule": dense.drop(c)} for c in (1.35, 1.5, 2.0)},
        "drop 1.3 x batch's typical": {"rule": dense.drop_outliers(1.3)},
        "mutual 0.5": {"rule": dense.no_guard, "mutual": 0.5},
        "mutual 1": {"rule": dense.no_guard, "mutual": 1.0},
        "k by batch size": {
            "rule": dense.no_guard,
            "k": np.minimum(dense.K * sizes // sizes.min(), sizes - 1),
        },
        **{f"limit {c:g}": {"rule": dense.limit(variance, c, 7)} for c in (1.2, 1.25, 1.3, 1.4)},
        "limit 1.3, as a cap": {"rule": dense.limit(variance, 1.3, 0)},
        "limit 1.3, power 3": {"rule": dense.limit(variance, 1.3, 3)},
    }
    for name, how in rules.items():
        sampled = dense.sample(P, batch, seed=seed, **how)
        corrected = {op: correct(sampled, P, batch) for op, correct in OPERATORS.items()}
        yield name, corrected, sampled.share_guarded
        if name == "none":
            moved: dict[str, Callable] = {
                "shrinkage 5": partial(dense.displace, shrinkage=5.0),
                "shrinkage 15": partial(dense.displace, shrinkage=15.0),
                "towards the batch's typical move": partial(dense.displace, typical=True),
            }
            for title, move in moved.items():
                yield title, {"displace": move(sampled, P, batch)}, 0.0
    corrected, share = {}, 0.0
    for operator in OPERATORS:
        model = Balans(n_components=None, operator=operator, random_state=seed)
        corrected[operator] = model.fit_transform(P.astype(np.float32), batch=batch)
        share = model.n_capped_ / len(model.sampled_rows_)
    yield "the package's default", corrected, share


def study(title: str, cases: list[Case]) -> list[dict]:
    """Scores of every guard on a case, one row a guard and operator: mean and range of seeds."""
    found: dict[tuple[str, str], list[dict[str, float]]] = {}
    for seed, case in enumerate(cases):
        found.setdefault(("raw", ""), []).append(scores(case[0], case) | {"guarded": 0.0})
        for name, corrected, share in candidates(case, seed):
            for operator, Y in corrected.items():
                row = scores(Y, case) | {"guarded": share}
                found.setdefault((name, operator), []).append(row)
    rows = []
    for (name, operator), values in found.items():
        row: dict = {"case": title, "guard": name, "operator": operator}
        for score in values[0]:
            each = np.array([value[score] for value in values])
            if not np.isnan(each).any():
                row[score] = round(float(each.mean()), 3)
                row[f"{score}_range"] = round(float(np.ptp(each)), 3)
        rows.append(row)
    return rows


def markdown(rows: list[dict]) -> str:
    """Make a table a case: guards below each other, operators side by side."""
    lines = []
    for title in dict.fromkeys(row["case"] for row in rows):
        lines += [f"\n### {title}\n", "Affected share / mixing / total.\n"]
        lines += ["| guard | guarded | smooth | nystrom | displace |", "|---|---|---|---|---|"]
        of_case = [row for row in rows if row["case"] == title]
        for guard in dict.fromkeys(row["guard"] for row in of_case):
            cells = {row["operator"]: row for row in of_case if row["guard"] == guard}
            first = next(iter(cells.values()))
            texts = [
                " / ".join(f"{cells[op].get(s, '-')}" for s in ("affected", "mixing", "total"))
                if op in cells
                else "-"
                for op in (("", "", "") if guard == "raw" else OPERATORS)
            ]
            lines.append(f"| {guard} | {first['guarded']} | " + " | ".join(texts) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the table and the picture go")
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data", type=Path, help="folder of real profiles")
    parser.add_argument("--json", type=Path, help="write the figures here")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    rows = []
    with single_threaded_blas(), embedded_client(1) as client, client.as_current():
        for shape in SHAPES:
            for n_specific in SPECIFIC:
                seeds = range(given.seeds)
                cases = [mixture_case(shape, n_specific, given.rows, seed) for seed in seeds]
                rows += study(f"{shape}, {n_specific} of 20", cases)
                print(rows[-1]["case"], flush=True)
        for name in REAL if given.data else ():
            rows += study(name, [real_case(given.data, name)] * given.seeds)
    (given.folder / "guard_study.md").write_text(markdown(rows))
    settings = {"rows": given.rows, "seeds": given.seeds, "clusters": 20}
    figures = as_json(rows, settings)
    draw(json.loads(figures)["figures"], given.folder / "guard_study.png")
    if given.json:
        given.json.write_text(figures)


def as_json(rows: list[dict], settings: dict) -> str:
    """Nest figures by case and guard, a line each; a figure is its mean and its range of seeds."""
    lines = []
    for title in dict.fromkeys(row["case"] for row in rows):
        of_case = [row for row in rows if row["case"] == title]
        for guard in dict.fromkeys(row["guard"] for row in of_case):
            figures = {
                row["operator"] or "raw": {
                    score: [row[score], row[f"{score}_range"]]
                    for score in ("affected", "mixing", "total", "guarded")
                    if score in row
                }
                for row in of_case
                if row["guard"] == guard
            }
            lines.append(json.dumps({"case": title, "guard": guard} | figures))
    return f'{{"settings": {json.dumps(settings)},\n"figures": [\n' + ",\n".join(lines) + "\n]}\n"


if __name__ == "__main__":
    main()
