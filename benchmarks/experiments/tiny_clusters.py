"""Experiment 4: ten thousand tiny clusters, and how many of them the landmarks reach."""

import math
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from balans_dask import Balans
from balans_dask.workflows.mixture import Mixture
from benchmarks.experiments.tiny_cluster_results import OWN_LANDMARK, picture, reading, tables
from benchmarks.harness.covering import (
    draws_of_clusters,
    first_to_cover,
    nth_landmark,
    shares_after,
)
from benchmarks.harness.experiment import Experiment, Setting
from benchmarks.harness.findings import Findings
from benchmarks.harness.mixtures import BATCH, TREATMENT
from benchmarks.harness.plain_affinities import landmarks_of
from benchmarks.harness.scoring import rows_of_every_label

RULES = ("patience", "auto")
N_LOOKED_AT = 20
SPREADS = {"far apart": 3.0, "separated": 1.0}
"""Deviation of cluster means; the second as in our other benchmarks."""
OWN = {1: OWN_LANDMARK, 2: "2 landmarks", 3: "3 landmarks"}
ABOUT = f"""Where profiles are nothing but tiny clusters of equal expected size, what share of the
clusters do the landmarks cover when the rules stop, and does t K log K foretell it? The question is
of 10,000 clusters of 0.01 % each in five million rows, which is what the full size has; other sizes
have the same shape with fewer rows and clusters, and say so. Mixtures of 5 batches, 50 columns and
noise 1; means of clusters have a deviation of {SPREADS["far apart"]} (*far apart*) or
{SPREADS["separated"]} (*separated*, as in our other benchmarks; too much work at the full size).
Among so many clusters some lie near each other by chance. Default settings, distances in the given
columns; every seed is another mixture and other draws. Medians (range) of the seeds.

A row is *covered* if a landmark keeps an affinity to it, whatever cluster the landmark is of. A
cluster is *covered* if at least half of its rows are, and *touched* if any is, of at most
{N_LOOKED_AT} rows of each that are looked at, drawn at random. It *has t landmarks* if t of the
rows drawn are its own. Rows covered are counted for the landmarks, scales and thresholds of the
fit, in plain numpy. Both rules draw the same rows and stop at different ones, so shares after any
number of rows are of the rule that drew more. *Bound*: `max_rows`, where a run ends that no rule
has stopped. Marks: t K log K, natural logarithm."""


def reach(mixture: Mixture, max_rows: int) -> dict[str, Any]:
    """Draw by both rules, and count the clusters that are reached after so many rows."""
    values = np.concatenate([rows for _, rows in mixture.slabs(65_536)])
    obs = mixture.annotations()
    batch = obs[BATCH].to_numpy(dtype=str)
    cluster = obs[TREATMENT].cat.codes.to_numpy().astype(np.int64)
    models = {
        rule: Balans(
            n_components=None, stopping=rule, max_rows=max_rows, random_state=mixture.seed
        ).fit(values, batch=batch)
        for rule in RULES
    }
    stops = {rule: len(model.sampled_rows_) for rule, model in models.items()}
    longest = max(models.values(), key=lambda model: len(model.sampled_rows_))
    looked_at = rows_of_every_label(cluster, N_LOOKED_AT, mixture.seed)
    first = first_to_cover(values, batch, landmarks_of(longest), looked_at)
    draws = {
        "covered": draws_of_clusters(first, cluster[looked_at], 0.5),
        "touched": draws_of_clusters(first, cluster[looked_at], 0.0),
    }
    of_landmarks = cluster[longest.sampled_rows_]
    draws |= {name: nth_landmark(of_landmarks, mixture.n_clusters, t) for t, name in OWN.items()}
    drawn = np.unique(np.geomspace(1, max(stops.values()), 40).round().astype(np.int64))
    return {
        "stops": stops,
        "stopped_by": {rule: model.stop_reason_ for rule, model in models.items()},
        "rows_covered": {
            rule: float((model.coverage_ > 0).mean()) for rule, model in models.items()
        },
        "drawn": drawn.tolist(),
        "shares": {name: shares_after(each, drawn) for name, each in draws.items()},
        "at_stop": {rule: _at(draws, n_drawn) for rule, n_drawn in stops.items()},
        "foreign_only": {
            rule: round(float(_foreign_only(draws, n_drawn)), 6) for rule, n_drawn in stops.items()
        },
        "smallest": int(np.bincount(cluster).min()),
    }


def _at(draws: dict[str, NDArray[np.int64]], n_drawn: int) -> dict[str, float]:
    return {name: shares_after(each, np.array([n_drawn]))[0] for name, each in draws.items()}


def _foreign_only(draws: dict[str, NDArray[np.int64]], n_drawn: int) -> float:
    """Share of clusters that are covered without a landmark of their own."""
    covered, own = draws["covered"] <= n_drawn, draws[OWN_LANDMARK] <= n_drawn
    return float((covered & ~own).mean())


def measure(findings: Findings, setting: Setting) -> None:
    """Draw landmarks of both kinds of mixtures, once for each seed."""
    sizes = setting.sizes
    for seed in sizes["seeds"]:
        for kind in sizes["kinds"]:
            mixture = Mixture(
                sizes["rows"],
                n_clusters=sizes["clusters"],
                cluster_spread=SPREADS[kind],
                seed=seed,
            )
            case = {"kind": kind, "n_rows": sizes["rows"], "n_clusters": sizes["clusters"]}
            bound = math.ceil(sizes["draws_per_cluster"] * sizes["clusters"])
            run = partial(reach, mixture, bound)
            findings.measure(case | {"seed": seed, "bound": bound}, run)


EXPERIMENT = Experiment(
    name="tiny_clusters",
    title="Ten thousand tiny clusters",
    about=ABOUT,
    sizes={
        "tiny": {
            "rows": 3000,
            "clusters": 30,
            "kinds": ("far apart",),
            "draws_per_cluster": 8,
            "seeds": (0,),
        },
        "small": {
            "rows": 200_000,
            "clusters": 1000,
            "kinds": tuple(SPREADS),
            "draws_per_cluster": 8,
            "seeds": (0, 1),
        },
        "full": {
            "rows": 5_000_000,
            "clusters": 10_000,
            "kinds": ("far apart",),
            "draws_per_cluster": 1.6,
            "seeds": (0,),
        },
    },
    measure=measure,
    tables=tables,
    picture=picture,
    reading=reading,
)

if __name__ == "__main__":
    EXPERIMENT.main()
