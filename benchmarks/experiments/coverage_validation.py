"""Experiment 2: how fast landmarks of several samplers cover rows and clusters."""

import math
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from balans_dask import Balans
from balans_dask.workflows.mixture import Mixture
from benchmarks.experiments.coverage_figures import BALANS, LEAST_DRAWS
from benchmarks.experiments.coverage_reading import reading
from benchmarks.experiments.coverage_sets import (
    FAR,
    RATIOS,
    SIZE_RATIO,
    UNEQUAL,
    many_clusters,
    mixtures_of,
)
from benchmarks.experiments.coverage_tables import picture, tables
from benchmarks.experiments.samplers import SAMPLERS
from benchmarks.harness.covering import (
    NEVER,
    draws_of_clusters,
    first_to_cover,
    nth_landmark,
    shares_after,
)
from benchmarks.harness.embedded import REAL, Embedded, generated, real
from benchmarks.harness.experiment import Experiment, Setting
from benchmarks.harness.findings import Findings
from benchmarks.harness.mixtures import SPREADS
from benchmarks.harness.plain_affinities import landmarks_at, landmarks_of
from benchmarks.harness.scoring import rows_of_every_label

SHARES = (0.5, 0.9, 0.99)
N_LOOKED_AT = 20
WELLS = REAL["cpjump1"]
LANDMARKS_EACH = (1, 3)
ABOUT = f"""Do BALANS' draws, by low coverage, cover rows and clusters sooner than other ways to
draw landmarks, where do its rules stop, and are t K log K rows enough for t landmarks in each of K
clusters, as the theory says? Default settings; every seed is another mixture and other draws (of
the real set: other draws). Medians (range) of the seeds.

*Samplers.* Landmarks drawn by BALANS until the paper's rule stops, and as many drawn uniformly, as
farthest points (each the row farthest from those before) and by k-means++ (scikit-learn's). All get
the same affinities: scales and elbow by the definition, with the package's default guard, in plain
numpy and for each sampler alike. A row is *covered* if a landmark keeps an affinity to it; a
cluster if half of its rows are. *Rows to 50, 90, 99 %*: rows drawn until that share of all rows is
covered. Mixtures: noise 1 in 50 columns, 5 batches 0.5 apart, 20 clusters whose means have a
deviation of {SPREADS["separated"]} (*separated*) or {SPREADS["overlapping"]} (*overlapping*);
*unequal* is separated with the largest cluster {SIZE_RATIO:.0f} times the smallest.
*cpjump1_compound_csn*: real wells of four plates, standardised, 50 principal components by
scikit-learn; its clusters are the compounds.

*Clusters.* K clusters in 2 batches, as far apart as a block matrix wants it (means of deviation
{FAR}), of equal expected sizes or geometric ones, the largest {UNEQUAL:.0f} times the smallest.
BALANS draws without a stop, up to a bound (`draws_per_cluster` K rows, at least {LEAST_DRAWS}; at
the full size 25 K, 10 K of 3,000 and 2 K of 10,000 clusters, with one seed): the row after which
every cluster has t landmarks, and after which at least half of each is covered (of at most
{N_LOOKED_AT} rows of each that are looked at, drawn at random); *not reached* is beyond the bound;
a run whose bound is below t K log K says nothing of t K log K. Small clusters can have fewer rows
in a batch than there are neighbours that set its scale (5): their scales reach other clusters. The
rules stop in runs of their own, which draw the same rows.
*Uniform* counts rows of one random order of all rows. Marks: t K log K, natural logarithm.

BALANS draws 64 rows at a time, the first 64 uniformly: below that many it cannot be better."""


def fitted(data: Embedded, seed: int, **options: Any) -> Balans:
    """Draw landmarks by the package."""
    model = Balans(n_components=None, random_state=seed, **options)
    return model.fit(data.rows, batch=data.batch)


def cluster_of(data: Embedded) -> NDArray[np.int64]:
    """Return the number of every row's cluster."""
    return np.unique(data.label, return_inverse=True)[1]


def by_samplers(data: Embedded, seed: int) -> dict[str, Any]:
    """Cover rows and clusters by every sampler, with as many landmarks as the paper wants."""
    rows = fitted(data, seed).sampled_rows_
    drawn = {BALANS: rows}
    drawn |= {name: draw(data.rows, len(rows), seed) for name, draw in SAMPLERS.items()}
    every, cluster = np.arange(len(data.rows)), cluster_of(data)
    found: dict[str, Any] = {
        "n_rows": len(every),
        "n_clusters": int(cluster.max()) + 1,
        "stops": {"patience": len(rows), "auto": _stop(data, seed, "auto")},
        "drawn": _places(len(rows)),
        "samplers": {},
    }
    for name, chosen in drawn.items():
        landmarks = landmarks_at(data.rows, data.batch, chosen)
        draws = first_to_cover(data.rows, data.batch, landmarks, every)
        clusters = draws_of_clusters(draws, cluster, 0.5)
        found["samplers"][name] = {
            "rows": shares_after(draws, found["drawn"]),
            "clusters": shares_after(clusters, found["drawn"]),
            "needed": {f"{share}": _needed(np.quantile(draws, share, method="higher"))
                       for share in SHARES},
            "all_clusters": _needed(clusters.max()),
        }  # fmt: skip
    return found


def _places(n_drawn: int) -> list[int]:
    """About thirty numbers of rows drawn, evenly in logarithms."""
    return sorted({round(n) for n in np.geomspace(1, n_drawn, 30)})


def _stop(data: Embedded, seed: int, rule: str) -> int:
    return len(fitted(data, seed, stopping=rule).sampled_rows_)


def _needed(draws: Any) -> int | None:
    return None if draws == NEVER else int(draws)


def by_clusters(mixture: Mixture, draws_per_cluster: int) -> dict[str, Any]:
    """Count the rows until every cluster has t landmarks, and is covered."""
    data, seed, n_clusters = generated(mixture), mixture.seed, mixture.n_clusters
    cluster = cluster_of(data)
    bound = max(draws_per_cluster * n_clusters, LEAST_DRAWS)
    model = fitted(data, seed, patience=len(data.rows), max_rows=bound)
    of_landmarks = cluster[model.sampled_rows_]
    looked_at = rows_of_every_label(cluster, N_LOOKED_AT, seed)
    draws = first_to_cover(data.rows, data.batch, landmarks_of(model), looked_at)
    at_random = cluster[np.random.default_rng([seed, 97]).permutation(len(data.rows))]
    return {
        "n_rows": len(data.rows),
        "smallest": int(np.bincount(cluster, minlength=n_clusters).min()),
        "stops": {rule: _stop(data, seed, rule) for rule in ("patience", "auto")},
        "covered": _needed(draws_of_clusters(draws, cluster[looked_at], 0.5).max()),
        "landmarks": _landmarks(of_landmarks, n_clusters),
        "uniform": _landmarks(at_random, n_clusters),
        "bound": {f"{t}": round(t * n_clusters * math.log(n_clusters)) for t in LANDMARKS_EACH},
    }


def _landmarks(of_landmarks: NDArray[np.int64], n_clusters: int) -> dict[str, int | None]:
    return {
        f"{t}": _needed(nth_landmark(of_landmarks, n_clusters, t).max()) for t in LANDMARKS_EACH
    }


def measure(findings: Findings, setting: Setting) -> None:
    """Compare the samplers on every set, then count rows for more and more clusters."""
    sizes = setting.sizes
    for seed in sizes["seeds"]:
        for name, mixture in mixtures_of(sizes).items():
            case = {"part": "samplers", "set": name, "seed": seed}
            seeded = Mixture(**(vars(mixture) | {"seed": seed}))
            findings.measure(case, lambda m=seeded, s=seed: by_samplers(generated(m), s))
        if setting.data is not None:
            case = {"part": "samplers", "set": WELLS.file, "seed": seed}
            findings.measure(case, lambda s=seed: by_samplers(real(WELLS, setting.data), s))
    for case, mixture in many_clusters(sizes):
        few = sizes["draws_beyond"].get(str(mixture.n_clusters))
        draws = few or sizes["draws_per_cluster"]
        findings.measure(case, partial(by_clusters, mixture, draws))


EXPERIMENT = Experiment(
    name="coverage_validation",
    title="How fast landmarks cover rows and clusters",
    about=ABOUT,
    sizes={
        "tiny": {
            "kinds": ("separated",),
            "rows": 1000,
            "clusters": (10,),
            "cluster_sizes": ("equal",),
            "rows_per_cluster": 60,
            "draws_per_cluster": 20,
            "draws_beyond": {},
            "seeds": (0,),
            "seeds_beyond": {},
        },
        "small": {
            "kinds": ("separated", "overlapping", "unequal"),
            "rows": 10_000,
            "clusters": (10, 100, 300, 600),
            "cluster_sizes": tuple(RATIOS),
            "rows_per_cluster": 100,
            "draws_per_cluster": 12,
            "draws_beyond": {},
            "seeds": (0, 1, 2),
            "seeds_beyond": {"300": 1, "600": 1},
        },
        "full": {
            "kinds": ("separated", "overlapping", "unequal"),
            "rows": 50_000,
            "clusters": (10, 100, 1000, 3000, 10_000),
            "cluster_sizes": tuple(RATIOS),
            "rows_per_cluster": 60,
            "draws_per_cluster": 25,
            "draws_beyond": {"3000": 10, "10000": 2},
            "seeds": (0, 1, 2),
            "seeds_beyond": {"3000": 1, "10000": 1},
        },
    },
    measure=measure,
    tables=tables,
    picture=picture,
    reading=reading,
)

if __name__ == "__main__":
    EXPERIMENT.main()
