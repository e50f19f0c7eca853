"""Experiment 2: how fast landmarks of several samplers cover rows and clusters."""

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from sklearn.cluster import kmeans_plusplus

from balans_dask import Balans
from balans_dask.workflows.mixture import Mixture
from benchmarks.harness.arrays import Floats, Ints
from benchmarks.harness.embedded import REAL, Embedded, generated, real
from benchmarks.harness.experiment import Experiment, Setting
from benchmarks.harness.findings import Findings, median, spread
from benchmarks.harness.mixtures import SPREADS
from benchmarks.harness.pictures import COLOURS, grid, spread_line
from benchmarks.harness.plain_affinities import (
    NEVER,
    draws_of_clusters,
    first_to_cover,
    landmarks_at,
    landmarks_of,
    nth_landmark,
    shares_after,
)
from benchmarks.harness.scoring import rows_of_every_label
from benchmarks.harness.tables import lines

SIZE_RATIO = 100.0
"""Largest over smallest cluster of the unequal mixture that samplers are compared on."""
FAR = 3.0
"""Deviation of cluster means that lie far apart."""
UNEQUAL = 10.0
"""Largest over smallest of many clusters."""
RATIOS = {"equal": 1.0, "unequal": UNEQUAL}
BALANS = "BALANS"
MARKS = {"patience": ":", "auto": "--"}
LEAST_DRAWS = 256
"""Where there are few clusters."""
SHARES = (0.5, 0.9, 0.99)
N_LOOKED_AT = 20
WELLS = REAL["cpjump1"]
LANDMARKS_EACH = (1, 3)


def uniform(values: Floats, n_drawn: int, seed: int) -> Ints:
    """Every row alike, without replacement."""
    return np.random.default_rng([seed, 97]).permutation(len(values))[:n_drawn]


def farthest_point(values: Floats, n_drawn: int, seed: int) -> Ints:
    """Draw a random row, then again and again the row farthest from those drawn (Gonzalez 1985)."""
    rows = [int(np.random.default_rng([seed, 97]).integers(len(values)))]
    nearest = np.full(len(values), np.inf)
    while len(rows) < n_drawn:
        nearest = np.minimum(nearest, ((values - values[rows[-1]]) ** 2).sum(axis=1))
        rows.append(int(np.argmax(nearest)))
    return np.array(rows)


def kmeans_plus_plus(values: Floats, n_drawn: int, seed: int) -> Ints:
    """By the squared distance from those drawn; scikit-learn's, the best of several at a time."""
    rows: Ints = kmeans_plusplus(values, n_drawn, random_state=seed)[1]
    return rows


SAMPLERS: dict[str, Callable[[Floats, int, int], Ints]] = {
    "uniform": uniform,
    "farthest point": farthest_point,
    "k-means++": kmeans_plus_plus,
}


def mixtures_of(sizes: Mapping[str, Any]) -> dict[str, Mixture]:
    """Name the mixtures that samplers are compared on."""
    kinds = {
        "separated": Mixture(sizes["rows"], cluster_spread=SPREADS["separated"]),
        "overlapping": Mixture(sizes["rows"], cluster_spread=SPREADS["overlapping"]),
        "unequal": Mixture(
            sizes["rows"], cluster_spread=SPREADS["separated"], size_ratio=SIZE_RATIO
        ),
    }
    return {name: kinds[name] for name in sizes["kinds"]}


def many_clusters(sizes: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], Mixture]]:
    """Case and mixture of every number of clusters; fewer seeds for the largest."""
    for n_clusters in sizes["clusters"]:
        for name in sizes["cluster_sizes"]:
            for seed in sizes["seeds"][: sizes["seeds_beyond"].get(str(n_clusters))]:
                case = {"part": "clusters", "n_clusters": n_clusters, "clusters": name}
                yield (
                    case | {"seed": seed},
                    Mixture(
                        n_clusters * sizes["rows_per_cluster"],
                        n_clusters=n_clusters,
                        n_batches=2,
                        cluster_spread=FAR,
                        size_ratio=RATIOS[name],
                        seed=seed,
                    ),
                )


def samplers_of(findings: Findings) -> list[str]:
    """Names of the samplers, ours first."""
    return list(findings.of(part="samplers")[0]["samplers"])


def needed(findings: Findings, name: str, sampler: str, share: str) -> list[float]:
    """Rows drawn until that share is covered, by seed; infinity where it never was."""
    runs = findings.of(part="samplers", set=name)
    found = [run["samplers"][sampler]["needed"][share] for run in runs]
    return [np.inf if each is None else each for each in found]


def at_stop(findings: Findings, name: str, sampler: str, figure: str) -> list[float]:
    """Share that is covered at the stop of the paper's rule, by seed."""
    runs = findings.of(part="samplers", set=name)
    return [run["samplers"][sampler][figure][-1] for run in runs]


def stops(findings: Findings, rule: str, **case: Any) -> list[float]:
    """Rows drawn until a rule stops, by seed."""
    return [run["stops"][rule] for run in findings.of(**case)]


def covered_at_auto(findings: Findings, name: str) -> list[float]:
    """Share of rows that BALANS has covered where `auto` stops, at the last place before it."""
    found = []
    for run in findings.of(part="samplers", set=name):
        place = np.searchsorted(run["drawn"], run["stops"]["auto"], side="right") - 1
        found.append(run["samplers"][BALANS]["rows"][int(place)])
    return found


def cluster_cases(findings: Findings) -> list[dict[str, Any]]:
    """Every number and kind of clusters, once; the fewest first, also in a file that went on."""
    found = [
        {"part": "clusters", "n_clusters": run["n_clusters"], "clusters": run["clusters"]}
        for run in findings.of(part="clusters")
    ]
    once = [case for place, case in enumerate(found) if case not in found[:place]]
    return sorted(once, key=lambda case: case["n_clusters"])


def kinds_of(findings: Findings) -> list[str]:
    """Kinds of cluster sizes, in order."""
    return list(dict.fromkeys(case["clusters"] for case in cluster_cases(findings)))


def of_clusters(
    findings: Findings, figure: str, t: str | None, case: dict[str, Any]
) -> list[float]:
    """Rows drawn by seed, infinity where they were not enough."""
    found = [run[figure] if t is None else run[figure][t] for run in findings.of(**case)]
    return [np.inf if each is None else each for each in found]


def each_of(findings: Findings) -> list[str]:
    """Numbers t of landmarks in each cluster."""
    return list(findings.of(part="clusters")[0]["landmarks"])


def bound_of(t: str) -> str:
    """Name t K log K."""
    return f"{t} K log K".removeprefix("1 ")


def fitted(data: Embedded, seed: int, **options: Any) -> Balans:
    """Draw landmarks by the package, as `smooth` takes them: with its guard, by patience."""
    model = Balans(operator="smooth", n_components=None, random_state=seed, **options)
    return model.fit(data.rows, batch=data.batch)


def cluster_of(data: Embedded) -> Ints:
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


def _landmarks(of_landmarks: Ints, n_clusters: int) -> dict[str, int | None]:
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


def tables(findings: Findings) -> list[str]:
    """Write samplers, stops, and numbers of clusters."""
    return [
        "## Samplers\n",
        _samplers(findings),
        "## Where the rules stop\n",
        _stops(findings),
        "## Rows for every cluster\n",
        _clusters(findings),
    ]


def _samplers(findings: Findings) -> str:
    shares = list(findings.of(part="samplers")[0]["samplers"][BALANS]["needed"])
    head = ["set", "sampler", *(f"rows to {float(share):.0%}" for share in shares),
            "covered at the stop, %", "clusters, %"]  # fmt: skip
    rows = []
    for name in findings.each("set", part="samplers"):
        for sampler in samplers_of(findings):
            cells = [_finite(needed(findings, name, sampler, share)) for share in shares]
            for figure in ("rows", "clusters"):
                percent = [100 * value for value in at_stop(findings, name, sampler, figure)]
                cells.append(spread(percent, 2))
            rows.append([name, sampler, *cells])
    return lines(head, rows)


def _finite(values: list[float]) -> str:
    """Write rows drawn; some seeds may not have come there."""
    reached = [value for value in values if np.isfinite(value)]
    if not reached:
        return "not reached"
    missing = len(values) - len(reached)
    return spread(reached, 0) + (f", {missing} of {len(values)} not" if missing else "")


def _stops(findings: Findings) -> str:
    rows = []
    for name in findings.each("set", part="samplers"):
        case = {"part": "samplers", "set": name}
        n_rows, n_clusters = (findings.of(**case)[0][key] for key in ("n_rows", "n_clusters"))
        uncovered = [100 * (1 - at) for at in covered_at_auto(findings, name)]
        rows.append([name, f"{n_rows:,}", f"{n_clusters:,}",
                     *(spread(stops(findings, rule, **case), 0) for rule in MARKS),
                     spread(uncovered, 2)])  # fmt: skip
    head = ["set", "rows", "clusters", "patience", "auto", "uncovered at the stop of auto, %"]
    return lines(head, rows)


def _clusters(findings: Findings) -> str:
    ts = each_of(findings)
    head = ["K", "sizes", "smallest", "every cluster covered", "patience stops", "auto stops"]
    for t in ts:
        head += [f"{t} each: BALANS", "uniform", bound_of(t)]
    rows = []
    for case in cluster_cases(findings):
        cells = [f"{case['n_clusters']:,}", case["clusters"],
                 spread(findings.values("smallest", **case), 0),
                 _finite(of_clusters(findings, "covered", None, case)),
                 *(spread(stops(findings, rule, **case), 0) for rule in MARKS)]  # fmt: skip
        for t in ts:
            cells += [_finite(of_clusters(findings, figure, t, case))
                      for figure in ("landmarks", "uniform", "bound")]  # fmt: skip
        rows.append(cells)
    return lines(head, rows)


def picture(findings: Findings) -> Figure:
    """Draw uncovered rows over rows drawn for each set, and rows over clusters."""
    names = findings.each("set", part="samplers")
    kinds = kinds_of(findings)
    figure, axes = grid(len(names) + len(kinds), 3)
    for axis, name in zip(axes, names, strict=False):
        _of_set(findings, axis, name)
    axes[0].legend(frameon=False, fontsize=7, loc="lower left")
    for axis, kind in zip(axes[len(names) :], kinds, strict=True):
        _of_clusters(findings, axis, kind)
    axes[len(names)].legend(frameon=False, fontsize=7)
    return figure


def _of_set(findings: Findings, axis: Any, name: str) -> None:
    runs = findings.of(part="samplers", set=name)
    n_rows = runs[0]["n_rows"]
    for sampler, colour in zip(samplers_of(findings), COLOURS, strict=False):
        for number, run in enumerate(runs):
            uncovered = [1 - share for share in run["samplers"][sampler]["rows"]]
            label = sampler if number == 0 else None
            width = 1.6 if sampler == BALANS else 0.9
            axis.plot(run["drawn"], uncovered, "-", color=colour, lw=width, label=label)
    for rule, style in MARKS.items():
        stop = median(stops(findings, rule, part="samplers", set=name))
        axis.axvline(stop, color="0.4", ls=style, lw=1, label=f"stop of {rule}")
    axis.set_yscale("symlog", linthresh=10 / n_rows, linscale=0.3)
    axis.set(xscale="log", ylim=(0, 1.1), xlabel="rows drawn", ylabel="share of rows uncovered")
    axis.set_title(f"{name}, {n_rows:,} rows, one line a seed", fontsize=9)


def _of_clusters(findings: Findings, axis: Any, kind: str) -> None:
    cases = [case for case in cluster_cases(findings) if case["clusters"] == kind]
    numbers = [case["n_clusters"] for case in cases]
    drawn = [("all covered, BALANS", "covered", None, "o-")]
    drawn += [(f"{t} each, BALANS", "landmarks", t, "s-") for t in each_of(findings)]
    drawn += [(f"{t} each, uniform", "uniform", t, "^-") for t in each_of(findings)]
    for (label, figure, t, fmt), colour in zip(drawn, COLOURS, strict=False):
        found = [(k, of_clusters(findings, figure, t, case)) for k, case in zip(numbers, cases,
                 strict=True)]  # fmt: skip
        found = [(k, values) for k, values in found if np.isfinite(values).all()]
        if found:
            spread_line(axis, [k for k, _ in found], [values for _, values in found], label,
                        color=colour, fmt=fmt)  # fmt: skip
    for t, style in zip(each_of(findings), ("--", ":"), strict=False):
        bound = [int(t) * k * np.log(k) for k in numbers]
        axis.plot(numbers, bound, style, color="0.4", lw=1, label=bound_of(t))
    axis.set(xscale="log", yscale="log", xlabel="clusters K", ylabel="rows drawn")
    axis.set_title(f"{kind} clusters: rows until all have t landmarks", fontsize=9)


EXPERIMENT = Experiment(
    name="coverage_validation",
    sizes={
        "tiny": {"kinds": ("separated",), "rows": 1000, "clusters": (10,),
                 "cluster_sizes": ("equal",), "rows_per_cluster": 60, "draws_per_cluster": 20,
                 "draws_beyond": {}, "seeds": (0,), "seeds_beyond": {}},
        "small": {"kinds": ("separated", "overlapping", "unequal"), "rows": 10_000,
                  "clusters": (10, 100, 300, 600), "cluster_sizes": tuple(RATIOS),
                  "rows_per_cluster": 100, "draws_per_cluster": 12, "draws_beyond": {},
                  "seeds": (0, 1, 2), "seeds_beyond": {"300": 1, "600": 1}},
        "full": {"kinds": ("separated", "overlapping", "unequal"), "rows": 50_000,
                 "clusters": (10, 100, 1000, 3000, 10_000), "cluster_sizes": tuple(RATIOS),
                 "rows_per_cluster": 60, "draws_per_cluster": 25,
                 "draws_beyond": {"3000": 10, "10000": 2}, "seeds": (0, 1, 2),
                 "seeds_beyond": {"3000": 1, "10000": 1}},
    },
    measure=measure, tables=tables, picture=picture,
)  # fmt: skip
