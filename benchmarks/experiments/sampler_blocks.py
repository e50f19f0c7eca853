"""Does it matter that rows are drawn in blocks: clusters of the landmarks, and final scores."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from balans_dask import Balans
from balans_dask.evaluate.neighbours import neighbour_shares
from balans_dask.workflows.mixture import Mixture
from benchmarks.experiments.sampler_reading import reading
from benchmarks.experiments.sampler_tables import picture, tables
from benchmarks.harness.dense_operators import (
    DenseRows,
    affinity_rows,
    batch_scales,
    smooth,
    squared_distances,
)
from benchmarks.harness.dense_sampler import draw_landmarks
from benchmarks.harness.embedded import Embedded, generated
from benchmarks.harness.experiment import Experiment, Setting
from benchmarks.harness.findings import Findings
from benchmarks.harness.mixtures import SPREADS
from benchmarks.harness.scoring import scores

Rows = NDArray[np.int64]
N_NEIGHBORS = 5
PER_BLOCK = 1_000_000
"""Seeds of one block size are apart from those of all others, so that runs are independent."""
ABOUT = """The paper draws one row at a time; here `block_rows` rows (default 64) are drawn before
coverage is updated. Is the outcome the same? Block sizes are compared with one row at a time, over
many seeds of the draws, on one mixture of each kind (20 clusters in 5 batches, the largest about 20
times the smallest; separated and overlapping).

- Runs are those of the sampler on a dense affinity matrix (no guard, patience 50), written without
  our kernels but with the random numbers of `Balans`. The first run of every block size is compared
  with `Balans` itself row by row; single rows may differ, as a k-th neighbour lies at u = 1, on an
  edge of the elbow's bins, and rounding decides its side. Different block sizes use different
  seeds: groups are independent.
- *After so many rows*: share of the landmarks in the smallest quarter of the clusters, clusters
  with a landmark, rows not yet covered, and the scores of `smooth` with these landmarks. The first
  64 rows are one uniform block with blocks of 64 and of 256. *At the stop*: rows drawn and scores.
  Scores: shares of the 30 nearest neighbours with the same label, and from other batches over what
  is expected; and the total, where it was computed.
- *Clusters*: the mean numbers of landmarks in all clusters, by a permutation test over runs.
- Every figure: Welch's t-test of the means and Kolmogorov-Smirnov's of the distributions; all
  p-values of the experiment are corrected together (Holm) and read at 5 %. *Detectable*: the
  difference of means that is found with a power of 80 % at the corrected level. *Equivalent*: two
  one-sided tests at 5 % exclude a difference as large as the margin. Margins are our choice: 0.01
  for scores, 0.02 for shares of rows or landmarks, half a cluster, and 5 % of the rows drawn."""


def measure(findings: Findings, setting: Setting) -> None:
    """Run all seeds of every block size; those of one take seconds, so they are one case."""
    sizes = setting.sizes
    for kind, spread in SPREADS.items():
        mixture = Mixture(sizes["rows"], cluster_spread=spread, size_ratio=sizes["size_ratio"])
        given = generated(mixture)
        everywhere = np.arange(len(given.rows))
        squared = squared_distances(given.rows, everywhere)
        scales = batch_scales(squared, everywhere, given.batch, N_NEIGHBORS)
        dense = affinity_rows(squared, everywhere, scales)
        for block in sizes["blocks"]:
            findings.measure(
                {"mixture": kind, "block_rows": block},
                lambda block=block, dense=dense, given=given: _group(dense, given, block, sizes),
            )


def _group(dense: DenseRows, given: Embedded, block: int, sizes: Any) -> dict[str, Any]:
    runs = []
    for number, seed in enumerate(sizes["seeds"]):
        with_total = number < sizes["n_totals"]
        runs.append(_run(dense, given, block, PER_BLOCK * block + seed, sizes, with_total))
    found = {name: [run[name] for run in runs if name in run] for name in runs[0]}
    sizes_of = np.unique(given.label, return_counts=True)[1]
    return found | {
        "cluster_sizes": sizes_of.tolist(),
        "as_package": _as_package(dense, given, block, sizes),
    }


def _run(
    dense: DenseRows, given: Embedded, block: int, seed: int, sizes: Any, with_total: bool
) -> dict[str, Any]:
    drawn = draw_landmarks(dense.kept, block, seed, least=max(sizes["after"]))
    label = np.unique(given.label, return_inverse=True)[1]
    counts = np.bincount(label)
    small = np.argsort(counts)[: len(counts) // 4]
    found: dict[str, Any] = {"rows_drawn": drawn.n_stop}
    for n_rows in sizes["after"]:
        first = drawn.rows[:n_rows]
        of_cluster = np.bincount(label[first], minlength=len(counts))
        found[f"clusters_{n_rows}"] = of_cluster.tolist()
        found[f"small_{n_rows}"] = float(of_cluster[small].sum() / n_rows)
        found[f"hit_{n_rows}"] = int((of_cluster > 0).sum())
        found[f"uncovered_{n_rows}"] = float((dense.kept[first].sum(axis=0) == 0).mean())
        found |= _scores(dense, first, given, sizes, f"_{n_rows}")
    return found | _scores(dense, drawn.rows[: drawn.n_stop], given, sizes, "", with_total)


def _scores(
    dense: DenseRows, rows: Rows, given: Embedded, sizes: Any, when: str, with_total: bool = False
) -> dict[str, float]:
    corrected = smooth(DenseRows(rows, dense.u[rows], dense.kept[rows]), given.rows)
    if with_total:
        every = scores(corrected, given.rows, given.batch, given.label)
        total = {"total": every["total"]} if "total" in every else {}
    else:
        total = {}
    shares = neighbour_shares(corrected, given.label, given.batch, max_rows=sizes["scored"])
    return {
        f"same_label{when}": round(shares.same_label, 5),
        f"mixing{when}": round(shares.batch_mixing, 5),
    } | total


def _as_package(dense: DenseRows, given: Embedded, block: int, sizes: Any) -> float:
    """Share of the first rows that `Balans` draws, too, in the same order."""
    seed, n_rows = PER_BLOCK * block + sizes["seeds"][0], sizes["compared"]
    model = Balans(
        n_neighbors=N_NEIGHBORS,
        n_components=None,
        max_scale_ratio=None,
        block_rows=block,
        max_rows=n_rows,
        random_state=seed,
    ).fit(given.rows, batch=given.batch)
    theirs: Sequence[int] = model.sampled_rows_
    ours = draw_landmarks(dense.kept, block, seed, least=n_rows).rows[: len(theirs)]
    return float(np.mean(ours == theirs))


EXPERIMENT = Experiment(
    name="sampler_blocks",
    title="Rows drawn one at a time, and in blocks",
    about=ABOUT,
    sizes={
        "tiny": {
            "rows": 300, "size_ratio": 20.0, "blocks": [1, 64], "seeds": list(range(8)),
            "after": [64], "scored": 100, "n_totals": 0, "compared": 10,
        },
        "small": {
            "rows": 2000, "size_ratio": 20.0, "blocks": [1, 16, 64, 256],
            "seeds": list(range(60)), "after": [64, 256], "scored": 500, "n_totals": 0,
            "compared": 100,
        },
        "full": {
            "rows": 5000, "size_ratio": 20.0, "blocks": [1, 16, 64, 256],
            "seeds": list(range(120)), "after": [64, 256], "scored": 1000, "n_totals": 10,
            "compared": 300,
        },
    },
    measure=measure,
    tables=tables,
    picture=picture,
    reading=reading,
)  # fmt: skip

if __name__ == "__main__":
    EXPERIMENT.main()
