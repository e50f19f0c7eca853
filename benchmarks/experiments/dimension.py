"""Many features and a signal of low or high rank: what principal components lose."""

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from balans_dask import Balans
from balans_dask.evaluate.neighbours import neighbour_shares
from balans_dask.workflows.mixture import Mixture
from benchmarks.experiments.dimension_reading import reading
from benchmarks.experiments.dimension_report import ALL, RAW, SIGNAL, picture, tables
from benchmarks.harness.experiment import Experiment, Setting
from benchmarks.harness.findings import Findings
from benchmarks.harness.profile_sets import ProfileSet, generated
from benchmarks.harness.scoring import rows_of_every_label, scores

__all__ = ["EXPERIMENT"]

N_NEIGHBORS = 5
BASE_FEATURES = 50
SPREAD, OFFSET = 0.6, 0.5
"""At that many features; larger means would be told apart by whatever is kept of them."""
SIZES: dict[str, dict[str, Any]] = {
    "tiny": {"seeds": [0, 1], "clusters": 25, "batches": 2, "components": [10],
             "operators": ["displace"], "labels": 10, "each": 10,
             "cases": [{"features": 60, "ranks": [3, 20], "rows": 250, "seeds": 2}]},
    "small": {"seeds": [0, 1], "clusters": 210, "batches": 2, "components": [10, 50, 200],
              "operators": ["displace"], "labels": 20, "each": 10,
              "cases": [{"features": 50, "ranks": [5, 40], "rows": 3150, "seeds": 2},
                        {"features": 500, "ranks": [5, 200], "rows": 3150, "seeds": 2},
                        {"features": 5000, "ranks": [50], "rows": 2100, "seeds": 1}]},
    "full": {"seeds": [0, 1, 2], "clusters": 250, "batches": 4,
             "components": [10, 50, 100, 200], "operators": ["smooth", "displace"],
             "labels": 50, "each": 20,
             "cases": [{"features": 50, "ranks": [5, 20, 50], "rows": 10_000, "seeds": 3},
                       {"features": 500, "ranks": [5, 50, 200], "rows": 10_000, "seeds": 2},
                       {"features": 5000, "ranks": [5, 50, 200], "rows": 5000, "seeds": 2}]},
}  # fmt: skip
ABOUT = """The package takes distances in 50 principal components of the standardised features. What
does that lose where there are many features, and where the signal has a high rank? Gaussian
mixtures whose cluster means lie in a random subspace of the features, of dimension *rank*; with
independent noise in all features, of which real profiles' is not; and with batch offsets in all
features. Squared distances of clusters and of batches grow with the square root of the number of
features, as the fluctuations of squared distances do, so that distances in all features tell
clusters apart equally well for any number of them: what is left to differ is what components do.
At 50 features means have a standard deviation of 0.6 and offsets of 0.5, in units of the noise.

- *signal kept*: variance of the standardised cluster means within the components, as a share of
  all of it; *could be kept*: the largest share that as many components can keep, from the singular
  values of the means themselves. What lies between is lost to components of noise and batches.
- *same-label share*: of the 5 nearest neighbours of every row, before a correction and after it, in
  the components in which it was made.
- *total*: 0.4 batch + 0.6 biology, on as many rows of each of some of the clusters.
- *all features*: distances in all standardised features, no components. *signal alone*: distances
  in the subspace of the means, which nobody knows of real profiles: the bound.

Components are scikit-learn's of the standardised features, computed once and handed over as an
embedding; those that the package computes are the same (a test holds that). With as many components
as features they are all features, and are not listed. Figures are medians and ranges over seeds,
differences paired by seed. Few dimensions leave many clusters less room, whatever is done: compare
within a rank, not across ranks. Ranks, and how distances grow, are our choice."""


def measure(findings: Findings, setting: Setting) -> None:
    """Correct every case by components of every number."""
    for case in setting.sizes["cases"]:
        for seed in setting.sizes["seeds"][: case["seeds"]]:
            for rank in case["ranks"]:
                screen = Screen(setting, case, rank, seed)
                for components, method in screen.corrections():
                    run = {"features": case["features"], "rank": rank, "components": components,
                           "method": method, "seed": seed}  # fmt: skip
                    findings.measure(run, functools.partial(screen.scored, components, method))


class Screen:
    """A mixture, its embeddings and what keeps how much of the signal; made when asked for."""

    def __init__(self, setting: Setting, case: dict[str, Any], rank: int, seed: int) -> None:
        self._sizes, self._seed, self._n_features = setting.sizes, seed, case["features"]
        smaller = (self._n_features / BASE_FEATURES) ** -0.25
        self.mixture = Mixture(
            case["rows"],
            self._n_features,
            n_clusters=setting.sizes["clusters"],
            n_batches=setting.sizes["batches"],
            cluster_spread=SPREAD * smaller,
            batch_offset=OFFSET * smaller,
            signal_rank=rank,
            seed=seed,
        )

    def corrections(self) -> Iterator[tuple[str, str]]:
        """Name every embedding and method."""
        few = [f"{n}" for n in self._sizes["components"] if n < self._n_features]
        for components in (*few, ALL, SIGNAL):
            yield from ((components, method) for method in (RAW, *self._sizes["operators"]))

    @functools.cached_property
    def profiles(self) -> ProfileSet:
        """Rows of the mixture."""
        return generated("", self.mixture, self._sizes["each"])

    @functools.cached_property
    def _scored_rows(self) -> NDArray[np.int64]:
        label = self.profiles.label
        some = np.unique(label)[: self._sizes["labels"]]
        rows = rows_of_every_label(label, self._sizes["each"], self._seed)
        return rows[np.isin(label[rows], some)]

    @functools.cached_property
    def _scaler(self) -> StandardScaler:
        return StandardScaler().fit(self.profiles.values)

    @functools.cached_property
    def _features(self) -> NDArray[np.float64]:
        return self._scaler.transform(self.profiles.values)

    @functools.cached_property
    def _means(self) -> NDArray[np.float64]:
        """Standardised cluster means, as deviations from their mean."""
        means = self.mixture.means()
        return (means - means.mean(axis=0)) / self._scaler.scale_

    @functools.cached_property
    def _axes(self) -> NDArray[np.float64]:
        n_components = max(n for n in self._sizes["components"] if n < self._n_features)
        solver = "covariance_eigh" if self._n_features < len(self._features) else "arpack"
        return PCA(n_components, svd_solver=solver, random_state=0).fit(self._features).components_

    @functools.cached_property
    def _of_means(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        _, values, axes = np.linalg.svd(self._means, full_matrices=False)
        return values**2 / (values**2).sum(), axes[: self.mixture.signal_rank]

    def embedding(self, components: str) -> NDArray[np.float64]:
        """Rows in so many components, in all features or in the space of the means."""
        if components == ALL:
            return self._features
        if components == SIGNAL:
            return self._features @ self._of_means[1].T
        return self._features @ self._axes[: int(components)].T

    def _kept(self, components: str) -> dict[str, float]:
        if components in (ALL, SIGNAL):
            return {"signal_kept": 1.0, "could_be_kept": 1.0}
        within = self._means @ self._axes[: int(components)].T
        return {
            "signal_kept": float((within**2).sum() / (self._means**2).sum()),
            "could_be_kept": float(self._of_means[0][: int(components)].sum()),
        }

    def scored(self, components: str, method: str) -> dict[str, float]:
        """Correct in an embedding, and score there."""
        before = self.embedding(components)
        batch, label = self.profiles.batch, self.profiles.label
        after = before
        if method != RAW:
            model = Balans(n_components=None, operator=method, random_state=self._seed)
            after = model.fit_transform(before, batch=batch)
        rows = self._scored_rows
        found = scores(after[rows], before[rows], batch[rows], label[rows])
        # Of all rows and labels, and of no more neighbours than a label has in a batch.
        shares = vars(neighbour_shares(after, label, batch, N_NEIGHBORS))
        return (
            found
            | {name: round(value, 5) for name, value in shares.items()}
            | self._kept(components)
        )


EXPERIMENT = Experiment(
    name="dimension",
    title="Many features, and signals of low and high rank",
    about=ABOUT,
    sizes=SIZES,
    measure=measure,
    tables=tables,
    picture=picture,
    reading=reading,
)

if __name__ == "__main__":
    EXPERIMENT.main()
