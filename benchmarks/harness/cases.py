"""Generated embeddings on which a default must do no harm: missing populations, local effects.

Units are deviations of the noise. Unlike the screens of ``balans_dask.workflows.mixture``, clusters
may lie in some batches only, and batches may shift each part of the space in another way.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.harness.arrays import Bools, Floats, Texts

N_COMPONENTS = 50
RARE_ROWS = 100


@dataclass(frozen=True)
class Case:
    """An embedding that is corrected, and how it is scored.

    Attributes
    ----------
    rows : ndarray of shape (n_rows, n_components)
        Centred.
    batch, label : ndarray of shape (n_rows,)
    across : ndarray of shape (n_rows,)
        Batch across which retrieval is scored.
    control : ndarray of shape (n_rows,), bool
        Negative controls, which are corrected but not scored.
    wells : DataFrame or None
        What is known of real rows whose labels are mechanisms.
    """

    rows: Floats
    batch: Texts
    label: Texts
    across: Texts
    control: Bools
    wells: pd.DataFrame | None = None


@dataclass(frozen=True)
class Clusters:
    """Gaussian clusters in batches, which are drawn anew for every seed.

    Attributes
    ----------
    spread, offset, stretch : float
        Deviations of the means of clusters, of batches' offsets, and of the logarithm of batches'
        factors for a component.
    n_specific : int
        Clusters that lie in one batch each, batches in turn.
    n_homes : int
        Batches in which each cluster lies, drawn for every one; 0 is all.
    size_ratio, batch_ratio : float
        Expected size of the largest cluster, or batch, over that of the smallest.
    local : float
        Deviation of three further offsets of a batch, each weighed by the hyperbolic tangent of the
        row along a direction of its own.
    control_share : float
        Share of rows that lie about the origin, in all batches.
    n_rare : int
        Further clusters, of ``RARE_ROWS`` rows each.
    """

    n_rows: int = 1000
    n_clusters: int = 20
    n_batches: int = 5
    spread: float = 0.8
    offset: float = 0.27
    stretch: float = 0.1
    n_specific: int = 0
    n_homes: int = 0
    size_ratio: float = 1.0
    batch_ratio: float = 1.0
    local: float = 0.0
    control_share: float = 0.0
    n_rare: int = 0

    def make(self, seed: int) -> Case:
        """Draw the rows."""
        rng = np.random.default_rng([seed, 21])
        shape = (self.n_batches, N_COMPONENTS)
        n_clusters = self.n_clusters + self.n_rare
        means = rng.normal(scale=self.spread, size=(n_clusters, N_COMPONENTS))
        sizes = rng.permutation(np.geomspace(1.0, self.size_ratio, self.n_clusters))
        cluster = rng.choice(self.n_clusters, size=self.n_rows, p=sizes / sizes.sum())
        cluster[: self.n_rare * RARE_ROWS] = np.arange(self.n_clusters, n_clusters).repeat(
            RARE_ROWS
        )
        batch = self._batches(rng, cluster)
        control = rng.random(self.n_rows) < self.control_share
        batch[control] = rng.integers(self.n_batches, size=int(control.sum()))
        rows = np.where(control[:, None], 0.0, means[cluster])
        rows += rng.normal(size=rows.shape)
        rows += self._local(rng, rows, batch)
        rows *= np.exp(rng.normal(scale=self.stretch, size=shape))[batch]
        rows += rng.normal(scale=self.offset, size=shape)[batch]
        return _case(rows, batch, np.where(control, n_clusters, cluster), control)

    def _batches(self, rng: np.random.Generator, cluster: NDArray[np.int64]) -> NDArray[np.int64]:
        sizes = np.geomspace(1.0, self.batch_ratio, self.n_batches)
        batch = rng.choice(self.n_batches, size=self.n_rows, p=sizes / sizes.sum())
        batch = np.where(cluster < self.n_specific, cluster % self.n_batches, batch)
        if self.n_homes:
            order = rng.permuted(np.tile(np.arange(self.n_batches), (self.n_clusters, 1)), axis=1)
            batch = order[cluster, rng.integers(self.n_homes, size=self.n_rows)]
        return batch

    def _local(self, rng: np.random.Generator, rows: Floats, batch: NDArray[np.int64]) -> Floats:
        moved = np.zeros_like(rows)
        if self.local:
            width = 1.0 / (N_COMPONENTS**0.5 * max(self.spread, 0.3))
            along = rng.normal(scale=width, size=(self.n_batches, N_COMPONENTS, 3))
            towards = rng.normal(scale=self.local, size=(self.n_batches, 3, N_COMPONENTS))
            for number in range(self.n_batches):
                here = batch == number
                moved[here] = np.tanh(rows[here] @ along[number]) @ towards[number]
        return moved


@dataclass(frozen=True)
class Compounds:
    """Plates with one well of every compound; half of the compounds do a fifth of the others."""

    n_compounds: int = 150
    n_plates: int = 4
    rank: int = 20

    def make(self, seed: int) -> Case:
        """Draw the wells."""
        rng = np.random.default_rng([seed, 22])
        axes = np.linalg.qr(rng.normal(size=(N_COMPONENTS, self.rank)))[0]
        strength = np.where(rng.random(self.n_compounds) < 0.5, 1.0, 0.2)[:, None]
        width = 0.5 * (N_COMPONENTS / self.rank) ** 0.5
        means = strength * rng.normal(scale=width, size=(self.n_compounds, self.rank)) @ axes.T
        compound = np.tile(np.arange(self.n_compounds), self.n_plates)
        plate = np.repeat(np.arange(self.n_plates), self.n_compounds)
        variance = np.exp(-np.arange(N_COMPONENTS) / 15.0) + 0.1
        rows = means[compound] + 0.8 * variance**0.5 * rng.normal(size=(len(plate), N_COMPONENTS))
        rows *= np.exp(rng.normal(scale=0.4, size=(self.n_plates, 1)))[plate]
        offsets = rng.normal(scale=0.5, size=(self.n_plates, N_COMPONENTS))
        rows += (offsets * (variance + 0.3) ** 0.5)[plate]
        return _case(rows, plate, compound, np.zeros(len(plate), dtype=bool))


def _case(rows: Floats, batch: NDArray[np.int64], label: NDArray[np.int64], control: Bools) -> Case:
    names = np.char.mod("batch%d", batch)
    return Case(rows - rows.mean(axis=0), names, np.char.mod("label%03d", label), names, control)


_SEPARATED = Clusters(spread=1.5, offset=0.5)
_OVERLAPPING = Clusters()
_NO_EFFECT = Clusters(offset=0.0, stretch=0.0)
_HALF_IN_ONE = 10
SMALL: dict[str, Clusters | Compounds] = {
    "separated": _SEPARATED,
    "overlapping": _OVERLAPPING,
    "large offsets": Clusters(offset=1.0),
    "separated, 10 of 20 in one batch": replace(_SEPARATED, n_specific=_HALF_IN_ONE),
    "overlapping, 10 of 20 in one batch": replace(_OVERLAPPING, n_specific=_HALF_IN_ONE),
    "each in 2 of 5 batches": replace(_OVERLAPPING, n_homes=2),
    "no effect": _NO_EFFECT,
    "no effect, each in one batch": replace(_NO_EFFECT, n_specific=20),
    "unequal sizes": Clusters(size_ratio=10.0, batch_ratio=10.0, n_specific=4),
    "local effects": Clusters(offset=0.2, local=0.6),
    "confounded, with controls": Clusters(offset=0.4, n_homes=1, control_share=0.5, n_batches=8),
    "compounds": Compounds(),
}
"""Twelve of 600 to 1,000 rows."""
_GROWN = (
    "overlapping",
    "each in 2 of 5 batches",
    "overlapping, 10 of 20 in one batch",
    "separated, 10 of 20 in one batch",
    "local effects",
)


def grown(n_rows: int) -> dict[str, Clusters]:
    """Return those that show what rows change, with more rows."""
    chosen = {name: SMALL[name] for name in _GROWN}
    return {
        f"{name}, {n_rows:,} rows": replace(one, n_rows=n_rows)
        for name, one in chosen.items()
        if isinstance(one, Clusters)
    }
