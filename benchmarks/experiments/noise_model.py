"""Is what affinities hold besides clusters independent exponential noise: the assumption tested."""

import functools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import scipy.sparse.linalg
from numpy.typing import NDArray

from balans_dask import Balans
from balans_dask.workflows.mixture import Mixture
from benchmarks.experiments.noise_laws import Spectrum, block_means, low_rank_removed, spectrum_of
from benchmarks.experiments.noise_reading import reading
from benchmarks.experiments.noise_tables import MATRICES, QUANTILES, SURVIVAL, picture, tables
from benchmarks.harness.dense_operators import affinity_rows, batch_scales, squared_distances
from benchmarks.harness.embedded import REAL, Embedded, generated, real
from benchmarks.harness.experiment import Experiment, Setting
from benchmarks.harness.findings import Findings
from benchmarks.harness.mixtures import SPREADS

Array = NDArray[np.float64]
Rows = NDArray[np.int64]
N_NEIGHBORS = 5
ABOUT = """Assumption 2.3 of the paper: an affinity matrix is one block a cluster plus *exponential
noise*: independent entries of one exponential distribution, whose singular values then behave as
those of a Gaussian orthogonal ensemble. Here the dense affinities of all rows (scales within
batches, no guard, computed without our kernels) are compared with that, on mixtures (20 clusters in
5 batches, 50 features) and on the embeddings (50 principal components) of the real sets, whose
labels are compounds, mechanisms and treatments.

- *before the elbow*: all affinities; *kept*: those before the elbow of their row, which the method
  uses; *landmark rows*: the kept rows A_S of the rows that `Balans` samples, a rectangle.
- *Label means*: the residual is the matrix without the mean of every pair of labels (own entries,
  which are 1 by definition, are left out). *Low rank*: singular values are removed until none lies
  more than 2 % above the edge of the noise that the others would be; it asks least of the
  assumption.
- *KS*: Kolmogorov-Smirnov distance of the residual's singular values to the law of noise of the
  same standard deviation: the quarter circle for square matrices, Marchenko and Pastur's law for
  landmark rows. *Outside*: values above the edge, and their share of the sum of squares. Two
  references get the same treatment: *i.i.d. exponential* entries in a matrix of the same size, and
  *shuffled*, the residual's own entries in random places, which says whether it is the entries or
  their places that do not fit.
- Entries between labels, where the ideal is 0, would be noise alone. Of exponential ones the
  coefficient of variation (standard deviation over mean) is 1, none is 0, and their distance to
  the exponential distribution of the same mean (*KS of entries*) is near 0.
- *Outlier*: the largest singular value, once blocks of one label are lowered to the mean of the
  other entries, over what a positive mean alone predicts (mean times the square root of rows
  times columns). That labels stand for clusters is our choice; treatments without effect share
  one cluster."""


def measure(findings: Findings, setting: Setting) -> None:
    """Measure every matrix of every data set."""
    for seed in setting.sizes["seeds"]:
        for name, given in _data(setting, seed):
            matrices = functools.cache(partial(_matrices, given, seed))
            label = np.unique(given.label, return_inverse=True)[1]
            for matrix in MATRICES:
                run = partial(_of_matrix, matrices, matrix, label, seed)
                findings.measure({"data": name, "matrix": matrix, "seed": seed}, run)


def _data(setting: Setting, seed: int) -> Iterator[tuple[str, Embedded]]:
    for name, spread in SPREADS.items():
        mixture = Mixture(setting.sizes["rows"], cluster_spread=spread, seed=seed)
        yield f"mixture, {name}", generated(mixture)
    if setting.data is not None:
        for name in setting.sizes["real"]:
            yield name, real(REAL[name], setting.data)


def _matrices(given: Embedded, seed: int) -> dict[str, tuple[Array, Rows]]:
    """Every matrix, with the rows of which it is."""
    everywhere = np.arange(len(given.rows))
    squared = squared_distances(given.rows, everywhere)
    scales = batch_scales(squared, everywhere, given.batch, N_NEIGHBORS)
    dense = affinity_rows(squared, everywhere, scales)
    model = Balans(
        n_neighbors=N_NEIGHBORS, n_components=None, max_scale_ratio=None, random_state=seed
    )
    landmarks = model.fit(given.rows, batch=given.batch).sampled_rows_
    return {
        "before the elbow": (np.exp(-dense.u), everywhere),
        "kept": (dense.kept, everywhere),
        "landmark rows": (dense.kept[landmarks], landmarks),
    }


def _of_matrix(
    matrices: Callable[[], dict[str, tuple[Array, Rows]]], name: str, label: Rows, seed: int
) -> dict[str, Any]:
    matrix, rows = matrices()[name]
    rng = np.random.default_rng([seed, 9])
    residual = _residual(matrix, label, rows)
    observed = spectrum_of(residual)
    spectra = {
        "label means": observed,
        "low rank": low_rank_removed(matrix),
        "shuffled": spectrum_of(rng.permuted(residual.ravel()).reshape(residual.shape)),
    }
    noise = rng.exponential(size=matrix.shape)
    spectra["exponential, label means"] = spectrum_of(_residual(noise, label, rows))
    spectra["exponential, low rank"] = low_rank_removed(noise)
    between = matrix[label[rows][:, None] != label]
    found = {"shape": list(matrix.shape), "quantiles": _quantiles(observed)}
    found |= {which: _figures(spectrum) for which, spectrum in spectra.items()}
    return found | _entries(between) | {"outlier": _outlier(matrix, label, rows, between.mean())}


def _residual(matrix: Array, label: Rows, rows: Rows) -> Array:
    residual = matrix - block_means(matrix, label[rows], label, rows)
    residual[np.arange(len(rows)), rows] = 0.0
    return residual


def _figures(spectrum: Spectrum) -> dict[str, float]:
    return {
        "ks": round(spectrum.distance(), 5),
        "n_outside": spectrum.n_outside,
        "energy_outside": round(spectrum.energy_outside, 5),
    }


def _quantiles(spectrum: Spectrum) -> list[float]:
    return np.quantile(spectrum.values, QUANTILES).round(5).tolist()


def _entries(entries: Array) -> dict[str, Any]:
    in_order, mean = np.sort(entries), float(entries.mean())
    steps = np.arange(len(entries) + 1) / len(entries)
    expected = -np.expm1(-in_order / mean)
    # Before an entry, and with all that are equal to it: 0 is often there.
    above = np.searchsorted(in_order, in_order, side="right") / len(entries)
    before = steps[np.searchsorted(in_order, in_order, side="left")]
    return {
        "mean": mean,
        "zero_share": round(float((entries == 0).mean()), 5),
        "variation": round(float(entries.std() / mean), 4),
        "ks_entries": round(float(max((above - expected).max(), (expected - before).max())), 5),
        "survival": [float((entries > times * mean).mean()) for times in SURVIVAL],
    }


def _outlier(matrix: Array, label: Rows, rows: Rows, mean: float) -> float:
    """Largest singular value of the matrix with its blocks lowered, over what its mean predicts."""
    inside = label[rows][:, None] == label
    means = block_means(matrix, label[rows], label, rows)
    lowered = matrix - np.where(inside, means - mean, 0.0)
    lowered[np.arange(len(rows)), rows] = mean
    largest = scipy.sparse.linalg.svds(lowered, k=1, return_singular_vectors=False, rng=0)[0]
    return round(float(largest / (mean * np.sqrt(matrix.size))), 4)


EXPERIMENT = Experiment(
    name="noise_model",
    title="Are affinities between clusters independent exponential noise?",
    about=ABOUT,
    sizes={
        "tiny": {"rows": 240, "seeds": [0], "real": []},
        "small": {"rows": 1200, "seeds": [0, 1], "real": list(REAL)},
        "full": {"rows": 4000, "seeds": [0, 1], "real": list(REAL)},
    },
    measure=measure,
    tables=tables,
    picture=picture,
    reading=reading,
)

if __name__ == "__main__":
    EXPERIMENT.main()
