"""What scales that depend on the batch buy, beside one bandwidth, one scale a row and a graph."""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from balans_dask import Balans
from balans_dask.workflows.mixture import Mixture
from benchmarks.experiments.scale_ablation_reading import reading
from benchmarks.experiments.scale_ablation_report import (
    BY_BATCH,
    GRAPH,
    GUARDED,
    UNCORRECTED,
    picture,
    tables,
)
from benchmarks.harness import dense_operators as dense
from benchmarks.harness.experiment import Experiment, Setting
from benchmarks.harness.findings import Findings
from benchmarks.harness.profile_sets import ProfileSet, generated, real
from benchmarks.harness.scoring import scores

__all__ = ["EXPERIMENT"]

K = 5
MIXTURES: dict[str, dict[str, Any]] = {
    "mixture, equal densities": {},
    "mixture, clusters of unequal width": {"noise_ratio": 4.0},
    "mixture, batches of unequal size": {"batch_ratio": 8.0},
    "mixture, both unequal": {"noise_ratio": 4.0, "batch_ratio": 8.0},
}
CPJUMP = "cpjump1_compound_csn, batch Metadata_Plate"
WEEK, PLATE = (f"bbbc021_well, batch Metadata_{name}" for name in ("week", "Plate"))
SMALL_MIXTURES = ("mixture, equal densities", "mixture, both unequal")
SIZES: dict[str, dict[str, Any]] = {
    "tiny": {"seeds": [0, 1], "rows": 400, "each": 15, "mixtures": SMALL_MIXTURES, "real": ()},
    "small": {"seeds": [0, 1], "rows": 2000, "each": 50, "mixtures": SMALL_MIXTURES,
              "real": (CPJUMP, WEEK)},
    "full": {"seeds": [0, 1, 2], "rows": 5000, "each": 100, "mixtures": tuple(MIXTURES),
             "real": (CPJUMP, WEEK, PLATE)},
}  # fmt: skip
ABOUT = """What do local scales that depend on the batch buy? All variants smooth by the same
landmarks, those that the package draws with the paper's scales, and cut every landmark's row at its
elbow by the same rule; what differs is sigma_ij:

- *one bandwidth, k*: for all pairs the median, over rows, of the distance to the k-th nearest
  neighbour in all batches together; k = 5.
- *one bandwidth, k x batches*: the same of the (k x batches)-th neighbour. A landmark then has as
  many near neighbours as with k in each batch, so that the bandwidth itself is not what differs.
- *one scale a row, k* and *k x batches*: that distance of every landmark itself.
- *a scale a batch*: the paper's Definition 2.1, the k-th neighbour within the batch of j.
- *a scale a batch, guarded*: the package as it is by default; it draws its own landmarks and limits
  scales that reach far beyond a row's smallest.
- *graph per batch*: no landmarks and no affinities: every row becomes the mean of its k nearest
  other rows in each batch, all weighted alike (the layout of BBKNN, row-normalised, times X).

All but the guarded one are computed densely from the equations, not by the package. Mixtures have
20 clusters in 5 batches and 50 features; *unequal width*: the noise of the widest cluster is four
times that of the tightest; *unequal size*: the largest batch has eight times the rows of the
smallest. As many rows of every cluster are scored. Real sets are scored in 50 principal components.
*batch LISI*: inverse Simpson index of batches among 90 neighbours, scaled to 0 to 1 (1: mixed);
*cLISI* likewise of labels (1: apart). *same-label share*: of the 30 nearest neighbours. *mixing*:
their share from other batches, over that expected in the row's label. *total*: 0.4 batch + 0.6
biology. *uncovered*: share of the rows of all that no landmark's affinity reaches; they take the
nearest landmark's mean. Figures are medians and ranges over seeds, which draw mixtures and
landmarks (of real sets: landmarks alone); differences are paired by seed. Which variants there are
and that they share landmarks is our choice: it favours the scales by which these were drawn, and
*uncovered* shows by how much."""


def measure(findings: Findings, setting: Setting) -> None:
    """Correct every set by every variant."""
    for seed in setting.sizes["seeds"]:
        for profiles in _sets(setting, seed):
            for variant, corrected in _variants(profiles, seed).items():
                case = {"set": profiles.name, "variant": variant, "seed": seed}
                findings.measure(case, functools.partial(_scored, profiles, corrected))


def _sets(setting: Setting, seed: int) -> Iterator[ProfileSet]:
    for name in setting.sizes["mixtures"]:
        mixture = Mixture(setting.sizes["rows"], seed=seed, **MIXTURES[name])
        yield generated(name, mixture, setting.sizes["each"])
    yield from real(setting.data, setting.sizes["real"])


Corrected = Callable[[], tuple[NDArray[np.float64], dict[str, float]]]


def _scored(profiles: ProfileSet, corrected: Corrected) -> Mapping[str, Any]:
    values, facts = corrected()
    rows = profiles.scored
    return facts | scores(
        values[rows], profiles.values[rows], profiles.batch[rows], profiles.label[rows]
    )


def _variants(profiles: ProfileSet, seed: int) -> dict[str, Corrected]:
    """Name every variant, with what makes of the profiles their correction and facts of it."""
    scales = Scales(profiles, seed)
    many = K * len(np.unique(profiles.batch))
    return {
        UNCORRECTED: lambda: (profiles.values, {}),
        "one bandwidth, k": lambda: scales.smoothed(scales.bandwidth(K)),
        "one bandwidth, k x batches": lambda: scales.smoothed(scales.bandwidth(many)),
        "one scale a row, k": lambda: scales.smoothed(scales.of_rows(K)),
        "one scale a row, k x batches": lambda: scales.smoothed(scales.of_rows(many)),
        BY_BATCH: lambda: scales.smoothed(scales.of_batches()),
        GUARDED: lambda: _package(profiles, seed),
        GRAPH: lambda: (
            dense.graph_per_batch(profiles.values, profiles.batch, K, profiles.values),
            {},
        ),
    }


class Scales:
    """Squared scales of every kind for the landmarks of one draw, and what they smooth to."""

    def __init__(self, profiles: ProfileSet, seed: int) -> None:
        self._profiles, self._seed = profiles, seed

    @functools.cached_property
    def _rows(self) -> NDArray[np.int64]:
        model = Balans(n_components=None, max_scale_ratio=None, random_state=self._seed)
        return model.fit(self._profiles.values, batch=self._profiles.batch).sampled_rows_

    @functools.cached_property
    def _squared(self) -> NDArray[np.float64]:
        return dense.squared_distances(self._profiles.values, self._rows)

    def bandwidth(self, k: int) -> NDArray[np.float64]:
        """Median over all rows of the distance to the k-th neighbour."""
        every = np.arange(len(self._profiles.values))
        squared = dense.squared_distances(self._profiles.values, every)
        return np.median(dense.kth_squared_distance(squared, every, k), keepdims=True)

    def of_rows(self, k: int) -> NDArray[np.float64]:
        """Distance of every landmark to its k-th neighbour in all batches."""
        return dense.kth_squared_distance(self._squared, self._rows, k)[:, None]

    def of_batches(self) -> NDArray[np.float64]:
        """Definition 2.1."""
        return dense.batch_scales(self._squared, self._rows, self._profiles.batch, K)

    def smoothed(self, scales: NDArray[np.float64]) -> tuple[NDArray[np.float64], dict[str, float]]:
        """Smooth by the affinities of some scales."""
        floor = 2.0**-40 * self._profiles.values.var(axis=0).sum()
        found = dense.affinity_rows(self._squared, self._rows, scales, floor)
        facts = {
            "n_landmarks": len(self._rows),
            "uncovered": float(1 - found.covered.mean()),
            "kept_a_landmark": float(np.median((found.kept > 0).sum(axis=1))),
        }
        return dense.smooth(found, self._profiles.values), facts


def _package(profiles: ProfileSet, seed: int) -> tuple[NDArray[np.float64], dict[str, float]]:
    model = Balans(n_components=None, random_state=seed)
    corrected = model.fit_transform(profiles.values, batch=profiles.batch)
    facts = {
        "n_landmarks": len(model.sampled_rows_),
        "uncovered": float((model.coverage_ == 0).mean()),
    }
    return corrected, facts


EXPERIMENT = Experiment(
    name="scale_ablation",
    title="Scales that depend on the batch, beside others",
    about=ABOUT,
    sizes=SIZES,
    measure=measure,
    tables=tables,
    picture=picture,
    reading=reading,
)

if __name__ == "__main__":
    EXPERIMENT.main()
