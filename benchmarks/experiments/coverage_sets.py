"""Mixtures on which samplers are compared, and those of more and more clusters."""

from collections.abc import Iterator, Mapping
from typing import Any

from balans_dask.workflows.mixture import Mixture
from benchmarks.harness.mixtures import SPREADS

__all__ = [
    "FAR",
    "RATIOS",
    "SIZE_RATIO",
    "UNEQUAL",
    "many_clusters",
    "mixtures_of",
]

SIZE_RATIO = 100.0
"""Largest over smallest cluster of the unequal mixture that samplers are compared on."""
FAR = 3.0
"""Deviation of cluster means that lie far apart."""
UNEQUAL = 10.0
"""Largest over smallest of many clusters."""
RATIOS = {"equal": 1.0, "unequal": UNEQUAL}


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
