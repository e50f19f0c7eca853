"""A generated screen: a Gaussian mixture with batch effects, written slab by slab."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from balans_dask.io.layout import create_matrix, row_layout, write_annotations
from balans_dask.io.output import OutputStore, write_shards

__all__ = ["Mixture", "write_mixture"]


@dataclass(frozen=True)
class Mixture:
    """Sizes and strengths of a generated screen.

    Every row is the mean of its cluster (a treatment) plus the offset of its batch plus noise, all
    Gaussian; each batch also stretches every feature by its own factor, and may rotate profiles.

    Attributes
    ----------
    n_rows, n_features, n_clusters, n_batches : int
    cluster_spread, batch_offset : float
        Standard deviations of means and offsets, in units of the noise.
    batch_stretch : float
        Standard deviation of the logarithm of a batch's factor for a feature.
    batch_rotation : float
        Angle, in radians, between a profile and what its batch makes of it; every batch rotates by
        that angle in random planes of its own, before it stretches and offsets.
    batch_ratio : float
        Expected size of the largest batch over that of the smallest; sizes are geometric.
    n_batch_specific : int
        Clusters that occur in one batch only, each batch in turn.
    size_ratio : float
        Expected size of the largest cluster over that of the smallest; sizes are geometric.
    noise_ratio : float
        Noise of the widest cluster over that of the tightest; their geometric mean is 1.
    signal_rank : int or None
        Dimension of a random subspace in which all means lie, as far apart as without it; ``None``
        for all features.
    n_rare : int
        Further clusters, each of ``rare_share`` of the rows; their numbers follow the others'.
    rare_share : float
    seed : int
    """

    n_rows: int
    n_features: int = 50
    n_clusters: int = 20
    n_batches: int = 5
    cluster_spread: float = 1.0
    batch_offset: float = 0.5
    batch_stretch: float = 0.1
    batch_rotation: float = 0.0
    batch_ratio: float = 1.0
    n_batch_specific: int = 0
    size_ratio: float = 1.0
    noise_ratio: float = 1.0
    signal_rank: int | None = None
    n_rare: int = 0
    rare_share: float = 1e-4
    seed: int = 0

    @property
    def rare_rows(self) -> int:
        """Rows of every rare cluster."""
        return round(self.rare_share * self.n_rows)

    def annotations(self) -> pd.DataFrame:
        """Batch and treatment of every row, shuffled: no chunk holds a single batch."""
        rng = np.random.default_rng([self.seed, 0])
        batch = self._batches(rng)
        treatment = self._treatments(rng)
        batch = np.where(treatment < self.n_batch_specific, treatment % self.n_batches, batch)
        if self.n_rare:
            rare = rng.choice(self.n_rows, size=(self.n_rare, self.rare_rows), replace=False)
            treatment[rare] = self.n_clusters + np.arange(self.n_rare)[:, None]
        batches = pd.Index([f"batch{i}" for i in range(self.n_batches)])
        treatments = pd.Index([f"treatment{i:02d}" for i in range(self.n_clusters + self.n_rare)])
        frame = pd.DataFrame(
            {
                "Metadata_batch": pd.Categorical.from_codes(list(batch), batches),
                "Metadata_treatment": pd.Categorical.from_codes(list(treatment), treatments),
            }
        )
        frame.index = pd.Index(np.arange(self.n_rows).astype(str))
        return frame

    def means(self) -> NDArray[np.float64]:
        """Mean of every cluster, before any batch changes it."""
        return self._means(np.random.default_rng([self.seed, 1]))

    def _means(self, rng: np.random.Generator) -> NDArray[np.float64]:
        shape = (self.n_clusters + self.n_rare, self.n_features)
        if self.signal_rank is None:
            return rng.normal(scale=self.cluster_spread, size=shape)
        width = self.cluster_spread * (self.n_features / self.signal_rank) ** 0.5
        within = rng.normal(scale=width, size=(shape[0], self.signal_rank))
        axes = np.linalg.qr(rng.normal(size=(self.n_features, self.signal_rank)))[0]
        means: NDArray[np.float64] = within @ axes.T
        return means

    def _batches(self, rng: np.random.Generator) -> NDArray[np.int64]:
        if self.batch_ratio == 1.0:
            return rng.integers(self.n_batches, size=self.n_rows)
        sizes = np.geomspace(1.0, self.batch_ratio, self.n_batches)
        return rng.choice(self.n_batches, size=self.n_rows, p=sizes / sizes.sum())

    def _treatments(self, rng: np.random.Generator) -> NDArray[np.int64]:
        if self.size_ratio == 1.0:
            return rng.integers(self.n_clusters, size=self.n_rows)
        sizes = np.geomspace(1.0, self.size_ratio, self.n_clusters)
        # Specific clusters come first: sizes are dealt so that they are of all kinds.
        sizes = np.random.default_rng([self.seed, 2]).permutation(sizes)
        return rng.choice(self.n_clusters, size=self.n_rows, p=sizes / sizes.sum())

    def slabs(self, slab_rows: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """First row and values of consecutive slabs.

        The same for any ``slab_rows``; to the last bits only where batches do not rotate.
        """
        rng = np.random.default_rng([self.seed, 1])
        means = self._means(rng)
        offsets = rng.normal(scale=self.batch_offset, size=(self.n_batches, self.n_features))
        stretch = np.exp(rng.normal(scale=self.batch_stretch, size=offsets.shape))
        obs = self.annotations()
        batch = obs["Metadata_batch"].cat.codes.to_numpy()
        cluster = obs["Metadata_treatment"].cat.codes.to_numpy()
        width = self._noise()
        for start in range(0, self.n_rows, slab_rows):
            rows = slice(start, min(start + slab_rows, self.n_rows))
            noise = rng.normal(size=(rows.stop - start, self.n_features))
            clean = means[cluster[rows]] + width[cluster[rows], None] * noise
            turned = self._rotated(clean, batch[rows])
            yield start, (turned * stretch[batch[rows]] + offsets[batch[rows]]).astype(np.float32)

    def _noise(self) -> NDArray[np.float64]:
        """Return the standard deviation of the noise of every cluster; 1 of rare ones."""
        widths = np.geomspace(self.noise_ratio**-0.5, self.noise_ratio**0.5, self.n_clusters)
        dealt = np.random.default_rng([self.seed, 3]).permutation(widths)
        return np.concatenate([dealt, np.ones(self.n_rare)])

    def _rotated(
        self, clean: NDArray[np.float64], batch: NDArray[np.generic]
    ) -> NDArray[np.float64]:
        """Turn every row by the angle, in the planes of its batch."""
        if self.batch_rotation == 0.0:
            return clean
        rng = np.random.default_rng([self.seed, 4])
        n_planes = self.n_features // 2
        turned = np.empty_like(clean)
        for number in range(self.n_batches):
            axes = np.linalg.qr(rng.normal(size=(self.n_features, 2 * n_planes)))[0]
            along, across = axes[:, :n_planes], axes[:, n_planes:]
            rows = clean[batch == number]
            x, y = rows @ along, rows @ across
            sine, cosine = np.sin(self.batch_rotation), np.cos(self.batch_rotation)
            change = (cosine - 1) * (x @ along.T + y @ across.T)
            turned[batch == number] = rows + change + sine * (x @ across.T - y @ along.T)
        return turned


def write_mixture(mixture: Mixture, path: str, overwrite: bool = False) -> None:
    """Write a generated screen as an AnnData store, holding one shard at a time."""
    layout = row_layout(mixture.n_rows, 4 * mixture.n_features)
    shape = (mixture.n_rows, mixture.n_features)
    with OutputStore(path, overwrite) as output:
        features = create_matrix(output.root, "X", shape, np.dtype(np.float32), layout)
        for start, rows in mixture.slabs(layout[1]):
            write_shards(features, start, rows)
        names = [f"Cells_Feature_{i:03d}" for i in range(mixture.n_features)]
        write_annotations(
            output.root,
            {"obs": mixture.annotations(), "var": pd.DataFrame(index=pd.Index(names))},
        )
