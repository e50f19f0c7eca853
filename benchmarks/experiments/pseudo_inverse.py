"""What it costs to leave the pseudo-inverse out, where clusters are unequal."""

import functools
from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from balans_dask import Balans
from balans_dask.evaluate.neighbours import neighbour_shares
from balans_dask.workflows.mixture import Mixture
from benchmarks.experiments.pseudo_inverse_operators import LIMITS, OPERATORS
from benchmarks.experiments.pseudo_inverse_picture import picture
from benchmarks.experiments.pseudo_inverse_reading import reading
from benchmarks.experiments.pseudo_inverse_tables import tables
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
from benchmarks.harness.findings import Findings
from benchmarks.harness.mixtures import SPREADS

Array = NDArray[np.float64]
N_NEIGHBORS, N_SHOWN = 5, 30
SMALLEST_EIGENVALUE = 1e-3
"""Share of the largest below which the package drops one."""
AMPLIFIED = 10
N_CLUSTERS, N_BATCHES = 6, 3
ABOUT = f"""The paper drops the pseudo-inverse of A_SS from A_S^T (A_SS)^+ A_S and says that this
is exact for clusters of one size and affinity and *may weaken* for unequal ones. Mixtures of
{N_CLUSTERS} clusters in {N_BATCHES} batches (50 features; separated and overlapping), whose largest
cluster is expected to be 1 to 1,000 times the smallest (sizes are geometric), with equal noise, or
with clusters of unequal tightness (*noise* 1:4), so that affinities are unequal too.

- Operators on the landmarks that `Balans` samples (patience 50, no guard), dense, written without
  our kernels, and row-normalised: `smooth`, A_S^T A_S, as the paper computes it; `nystrom`, with
  the pseudo-inverse as the package takes it, without eigenvalues below a thousandth of the largest;
  *nystrom, by row*, which gives up rows whose own weights cancel, as the package does with those
  whose landmarks' weights do: they take the mean of the nearest landmark;
  *landmark-normalised*, A_S^T Lambda A_S with Lambda = diag(1 / (A_S 1)), which lets no landmark
  count more because it has more neighbours. Beside them what they become when every row is a
  landmark: A^T A; A, were it symmetric; and A^T Lambda A, of the dense kept affinities A.
- *Error*: norm of the difference to a dense operator over the norm of the latter (Frobenius), over
  all rows; 1 is that of an operator without weights.
- *Amplified*: share of the rows whose absolute weights sum to more than {AMPLIFIED} (weights sum to
  1): they are differences of large numbers, and may leave the data far behind.
- *Small clusters*: the smaller half of the clusters, each of them counted alike. *Leaked*: share of
  the absolute weights of a row that lies on rows of other clusters. *Same label*: share of a row's
  nearest neighbours with its label, in the corrected profiles; as many neighbours as its cluster
  has other rows, and at most {N_SHOWN}; clusters of one row are left out. *Mixing*: neighbours from
  other batches over what is expected, over all rows. Total scores are not computed: scib-metrics
  compiles itself anew for every size of a cluster.
- That the dense A is the truth is our choice: it is what the theory approximates, but A^T A, a walk
  of two steps, is what `smooth` samples. The smallest clusters of the largest ratio have fewer
  rows than there are neighbours that set the scale: *rows of small clusters* counts them."""


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
    model = Balans(
        n_neighbors=N_NEIGHBORS, n_components=None, max_scale_ratio=None, random_state=mixture.seed
    )
    rows = model.fit(given.rows, batch=given.batch).sampled_rows_
    sampled = DenseRows(rows, dense.u[rows], dense.kept[rows])
    identity = scipy.sparse.eye_array(len(given.rows), format="csc")
    among = sampled.kept[:, rows]
    values = np.linalg.eigvalsh((among + among.T) / 2)
    values /= values[-1]
    applied: tuple[Array, ...] = (
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


def _two_steps(kept: Array, trust: Array) -> Array:
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


def leaked_mass(weights: Array, label: NDArray[np.int64]) -> Array:
    """Share of the absolute weights of every row that lies on rows of other labels."""
    absolute = np.abs(weights)
    own = np.stack([absolute[:, label == each].sum(axis=1) for each in range(label.max() + 1)])
    return 1 - own[label, np.arange(len(label))] / absolute.sum(axis=1)


def error(weights: Array, limit: Array) -> float:
    """Relative difference of two operators in the Frobenius norm."""
    return _rounded(np.linalg.norm(weights - limit) / np.linalg.norm(limit))


def same_label_of(profiles: Array, label: NDArray[np.int64]) -> Array:
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


EXPERIMENT = Experiment(
    name="pseudo_inverse",
    title="Without the pseudo-inverse: unequal clusters",
    about=ABOUT,
    sizes={
        "tiny": {
            "rows": 300, "kinds": ["separated"], "ratios": [1, 100], "noise_ratios": [1],
            "seeds": [0],
        },
        "small": {
            "rows": 1200, "kinds": list(SPREADS), "ratios": [1, 30, 1000],
            "noise_ratios": [1, 4], "seeds": [0, 1, 2],
        },
        "full": {
            "rows": 5000, "kinds": list(SPREADS), "ratios": [1, 10, 100, 1000],
            "noise_ratios": [1, 4], "seeds": [0, 1],
        },
    },
    measure=measure,
    tables=tables,
    picture=picture,
    reading=reading,
)  # fmt: skip

if __name__ == "__main__":
    EXPERIMENT.main()
