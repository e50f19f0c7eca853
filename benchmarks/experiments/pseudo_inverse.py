"""What it costs to leave the pseudo-inverse out, where clusters are unequal."""

import functools
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import scipy.sparse
from matplotlib.figure import Figure
from sklearn.neighbors import NearestNeighbors

from balans_dask import Balans
from balans_dask.evaluate.neighbours import neighbour_shares
from balans_dask.workflows.mixture import Mixture
from benchmarks.harness.arrays import Floats, Ints
from benchmarks.harness.dense_operators import (
    DenseRows,
    affinity_rows,
    batch_scales,
    landmark_normalised,
    nystrom,
    smooth,
    squared_distances,
)
from benchmarks.harness.embedded import Embedded, generated
from benchmarks.harness.experiment import Experiment, Setting
from benchmarks.harness.findings import Findings, median, spread
from benchmarks.harness.mixtures import SPREADS
from benchmarks.harness.pictures import COLOURS, grid
from benchmarks.harness.tables import lines

LIMIT_OF = {
    "smooth": "A^T A",
    "landmark-normalised": "A^T Lambda A",
    "nystrom": "A",
    "nystrom, by row": "A",
}
"""What each operator becomes when every row is a landmark."""
OPERATORS = tuple(LIMIT_OF)
LIMITS = tuple(dict.fromkeys(LIMIT_OF.values()))
N_NEIGHBORS, N_SHOWN = 5, 30
SMALLEST_EIGENVALUE = 1e-3
"""Share of the largest below which the package drops one."""
AMPLIFIED = 10
N_CLUSTERS, N_BATCHES = 6, 3
FIGURES = {
    "amplified": "amplified",
    "small_leaked": "leaked, small clusters",
    "small_same_label": "same label, small clusters",
    "leaked": "leaked, all",
    "same_label": "same label, all",
    "mixing": "mixing",
}
PANELS = {
    "error": "error against the dense A",
    "small_leaked": "leaked weight, small clusters",
    "small_same_label": "same-label share, small clusters",
}


def known(runs: list[dict[str, Any]], name: str) -> list[float]:
    """One figure of the runs that have it; the error is that against the dense A."""
    if name == "error":
        return [run["errors"]["A"] for run in runs]
    return [run[name] for run in runs if run.get(name) is not None]


def measure(findings: Findings, setting: Setting) -> None:
    """Measure every operator on every mixture."""
    sizes = setting.sizes
    cases = product(sizes["seeds"], SPREADS, sizes["ratios"], sizes["noise_ratios"])
    for seed, clusters, ratio, noise_ratio in cases:
        if clusters in sizes["kinds"]:
            mixture = Mixture(
                sizes["rows"],
                n_clusters=N_CLUSTERS,
                n_batches=N_BATCHES,
                cluster_spread=SPREADS[clusters],
                size_ratio=float(ratio),
                noise_ratio=float(noise_ratio),
                seed=seed,
            )
            operators = functools.cache(partial(_operators, mixture))
            for operator in ("raw", *OPERATORS, *LIMITS):
                case = {"clusters": clusters, "ratio": ratio, "noise_ratio": noise_ratio,
                        "seed": seed, "operator": operator}  # fmt: skip
                findings.measure(case, partial(_run, operators, operator))


def _operators(mixture: Mixture) -> tuple[Embedded, dict[str, Any]]:
    """Every operator as a matrix, which is what it makes of the identity."""
    given = generated(mixture)
    everywhere = np.arange(len(given.rows))
    squared = squared_distances(given.rows, everywhere)
    scales = batch_scales(squared, everywhere, given.batch, N_NEIGHBORS)
    dense = affinity_rows(squared, everywhere, scales)
    model = Balans.paper(n_neighbors=N_NEIGHBORS, n_components=None, random_state=mixture.seed)
    rows = model.fit(given.rows, batch=given.batch).sampled_rows_
    sampled = DenseRows(rows, dense.u[rows], dense.kept[rows])
    identity = scipy.sparse.eye_array(len(given.rows), format="csc")
    among = sampled.kept[:, rows]
    values = np.linalg.eigvalsh((among + among.T) / 2)
    values /= values[-1]
    applied: tuple[Floats, ...] = (
        smooth(sampled, identity),
        landmark_normalised(sampled, identity),
        nystrom(sampled, identity),
        nystrom(sampled, identity, by_row=True),
    )
    found: dict[str, Any] = dict(zip(OPERATORS, applied, strict=True))
    sums = dense.kept.sum(axis=1)
    limits = (_two_steps(dense.kept, np.ones_like(sums)), _two_steps(dense.kept, 1 / sums),
              dense.kept / sums[:, None])  # fmt: skip
    found |= dict(zip(LIMITS, limits, strict=True))
    facts = {
        "n_landmarks": len(rows),
        "negative_eigenvalues": _rounded((values < -SMALLEST_EIGENVALUE).mean()),
        "most_negative": _rounded(values[0]),
    }
    return given, found | {"raw": None, "facts": facts}


def _two_steps(kept: Floats, trust: Floats) -> Floats:
    """A^T diag(trust) A, row-normalised; A has few entries."""
    entries = scipy.sparse.csr_array(kept)
    weights = (entries.T @ scipy.sparse.diags_array(trust) @ entries).toarray()
    return weights / weights.sum(axis=1, keepdims=True)


def _run(operators: Callable[[], tuple[Embedded, dict[str, Any]]], operator: str) -> dict[str, Any]:
    given, found = operators()
    weights = found[operator]
    label = np.unique(given.label, return_inverse=True)[1]
    counts = np.bincount(label)
    small = np.argsort(counts, kind="stable")[: len(counts) // 2]
    corrected = given.rows if weights is None else weights @ given.rows
    shares = neighbour_shares(corrected, given.label, given.batch, N_SHOWN, max_rows=500)
    done: dict[str, Any] = found["facts"] | {
        "small_rows": int(counts[small].sum()),
        "mixing": _rounded(shares.batch_mixing),
    }
    by_row = {"same_label": same_label_of(corrected, label)}
    if weights is not None:
        by_row["leaked"] = leaked_mass(weights, label)
        done["amplified"] = _rounded((np.abs(weights).sum(axis=1) > AMPLIFIED).mean())
        done["errors"] = {limit: error(weights, found[limit]) for limit in LIMITS}
    for name, values in by_row.items():
        of_small = [values[label == each].mean() for each in small if counts[each] > 1]
        done[name] = _rounded(np.nanmean(values))
        done[f"small_{name}"] = _rounded(np.mean(of_small)) if of_small else None
    return done


def leaked_mass(weights: Floats, label: Ints) -> Floats:
    """Share of the absolute weights of every row that lies on rows of other labels."""
    absolute = np.abs(weights)
    own = np.stack([absolute[:, label == each].sum(axis=1) for each in range(label.max() + 1)])
    return 1 - own[label, np.arange(len(label))] / absolute.sum(axis=1)


def error(weights: Floats, limit: Floats) -> float:
    """Relative difference of two operators in the Frobenius norm."""
    return _rounded(np.linalg.norm(weights - limit) / np.linalg.norm(limit))


def same_label_of(profiles: Floats, label: Ints) -> Floats:
    """Share of the nearest neighbours of every row with its label; NaN where it is alone."""
    index = NearestNeighbors(n_neighbors=min(N_SHOWN + 1, len(label)), algorithm="brute")
    found = index.fit(profiles).kneighbors(profiles, return_distance=False)
    # Among exact duplicates a row need not be its own first neighbour.
    others = found != np.arange(len(label))[:, None]
    others[others.all(axis=1), -1] = False
    neighbours = found[others].reshape(len(label), -1)
    wanted = np.minimum(np.bincount(label)[label] - 1, neighbours.shape[1])
    hits = (label[neighbours] == label[:, None]) & (
        np.arange(neighbours.shape[1]) < wanted[:, None]
    )
    return np.where(wanted > 0, hits.sum(axis=1) / np.maximum(wanted, 1), np.nan)


def _rounded(value: Any) -> float:
    return round(float(value), 5)


def tables(findings: Findings) -> list[str]:
    """Write every mixture and operator."""
    shown = [name for name in FIGURES if any(name in run for run in findings.record["runs"])]
    head = ["sizes, noise, operator", *(f"error, {limit}" for limit in LIMITS),
            *(FIGURES[name] for name in shown), "rows of small clusters", "landmarks"]  # fmt: skip
    parts = []
    for clusters in findings.each("clusters"):
        rows = [
            _row(findings.of(clusters=clusters, ratio=ratio, noise_ratio=noise, operator=operator),
                 f"1:{ratio:,}, 1:{noise}, {operator}", shown)
            for ratio in findings.each("ratio")
            for noise in findings.each("noise_ratio")
            for operator in ("raw", *OPERATORS, *LIMITS)
        ]  # fmt: skip
        parts += [f"## {clusters}: median (range) over seeds\n", lines(head, rows)]
    return parts


def _row(runs: list[dict[str, Any]], name: str, shown: Sequence[str]) -> list[str]:
    errors = [
        spread([run["errors"][limit] for run in runs if "errors" in run], 2) for limit in LIMITS
    ]
    figures = [spread(known(runs, each), 3) for each in shown]
    counts = [spread([run[each] for run in runs], 0) for each in ("small_rows", "n_landmarks")]
    return [name, *errors, *figures, *counts]


def picture(findings: Findings) -> Figure:
    """Draw error, leaked weight and same-label share over the imbalance."""
    kinds = findings.each("clusters")
    figure, axes = grid(len(PANELS) * len(kinds), len(PANELS))
    figure.set_size_inches(4 * len(PANELS), 3.4 * len(kinds) + 0.9)
    for number, clusters in enumerate(kinds):
        for axis, (name, text) in zip(axes[len(PANELS) * number :], PANELS.items(), strict=False):
            _panel(axis, findings, clusters, name)
            axis.set_title(f"{clusters} clusters", fontsize=10)
            axis.set_ylabel(text)
    noises = findings.each("noise_ratio")
    for noise, style in zip(noises, ("-", ":"), strict=False):
        axes[0].plot([], [], style, color="black", label=f"noise 1:{noise}")
    handles, labels = axes[2].get_legend_handles_labels()
    more = [handle for handle in axes[0].get_lines() if str(handle.get_label()).startswith("noise")]
    figure.legend(
        [*handles, *more], [*labels, *(str(each.get_label()) for each in more)],
        loc="outside lower center", ncols=7, frameon=False, fontsize=9,
    )  # fmt: skip
    n_seeds = len(findings.each("seed"))
    figure.suptitle(
        f"Smoothing with and without the pseudo-inverse (median and range over {n_seeds} seeds)",
        fontsize=11,
    )
    return figure


def _panel(axis: Any, findings: Findings, clusters: str, name: str) -> None:
    ratios = findings.each("ratio")
    shown = OPERATORS if name == "error" else (*OPERATORS, "A", "raw")
    shown = tuple(each for each in shown if name == "small_same_label" or each != "raw")
    for number, operator in enumerate(shown):
        for noise, style in zip(findings.each("noise_ratio"), ("-", ":"), strict=False):
            found = [
                known(findings.of(
                    clusters=clusters, ratio=ratio, noise_ratio=noise, operator=operator), name)
                for ratio in ratios
            ]  # fmt: skip
            middle = np.array([median(each) for each in found])
            low, high = (np.array([side(each, default=np.nan) for each in found])
                         for side in (min, max))  # fmt: skip
            places = np.array(ratios) * 1.12 ** (number - 2.5)
            colour = {"A": "black", "raw": "0.6"}.get(operator, COLOURS[number])
            label = {"A": "dense A", "raw": "uncorrected"}.get(operator, operator)
            axis.errorbar(places, middle, [middle - low, high - middle], fmt=f"o{style}", ms=3,
                          lw=1.1, capsize=2, color=colour,
                          label=label if style == "-" else None)  # fmt: skip
    axis.set_xscale("log")
    axis.set_xlabel("largest cluster / smallest (expected)")
    if name == "error":
        axis.set_yscale("log")
    else:
        axis.set_ylim(0, 1.05)


EXPERIMENT = Experiment(
    name="pseudo_inverse",
    sizes={
        "tiny": {"rows": 300, "kinds": ["separated"], "ratios": [1, 100], "noise_ratios": [1],
                 "seeds": [0]},
        "small": {"rows": 1200, "kinds": list(SPREADS), "ratios": [1, 30, 1000],
                  "noise_ratios": [1, 4], "seeds": [0, 1, 2]},
        "full": {"rows": 5000, "kinds": list(SPREADS), "ratios": [1, 10, 100, 1000],
                 "noise_ratios": [1, 4], "seeds": [0, 1]},
    },
    measure=measure, tables=tables, picture=picture,
)  # fmt: skip
